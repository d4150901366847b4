"""Starts the server as a process and stops it, and asks its authorization endpoint as a browser would."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.authserver.store import Client
from tests.support.waiting import eventually

REDIRECT_URI = "https://evergrant.example/oauth/callback"
SCOPES = ("profile", "reports.read")
#: One client for each way of saying who one is; the public one has no secret to send.
CLIENTS = {
    method: Client(f"client-{number}", f"s3cret-{number}-0123456789", method, (REDIRECT_URI,), SCOPES)
    for number, method in enumerate(("client_secret_basic", "client_secret_post", "none"), start=1)
}


@dataclass(frozen=True)
class Callback:
    """Where the authorization endpoint sent the browser, and with what."""

    status: int
    location: str

    @property
    def parameters(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.location).query))


class AuthServer:
    """A running server; as a context manager it is stopped at the end."""

    def __init__(self, folder: Path, *, clients: tuple[Client, ...] = tuple(CLIENTS.values())) -> None:
        rows, port_file = folder / "clients.json", folder / "port"
        rows.write_text(json.dumps([asdict(client) for client in clients]))
        self._complaints = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.authserver", str(rows), str(port_file)],
            cwd=Path(__file__).resolve().parents[3],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
        )

        def listens() -> bool:
            assert self.process.poll() is None, (folder / "stderr").read_text()
            return port_file.exists()

        eventually(listens, what="the authorization server listens")
        self.port = int(port_file.read_text())
        self.base_url = f"http://127.0.0.1:{self.port}"

    def authorize(self, client: Client, **parameters: str) -> Callback:
        """Ask as a browser would that the user lets the client in; nothing is followed."""
        asked = {"response_type": "code", "client_id": client.client_id, "redirect_uri": REDIRECT_URI}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/authorize?{urlencode({**asked, **parameters})}")
            answer = connection.getresponse()
            answer.read()
            return Callback(answer.status, answer.getheader("Location") or "")
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._complaints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
