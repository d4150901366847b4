"""``python -m tests.support.authserver CLIENTS PORT_FILE``: serve until killed. CLIENTS is a JSON file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from tests.support.authserver.app import application
from tests.support.authserver.store import Client, Store


def _client(row: dict[str, Any]) -> Client:
    for name in ("redirect_uris", "scopes"):
        row[name] = tuple(row[name])
    return Client(**row)


def _nothing(environ: dict[str, object], start: object) -> list[bytes]:
    """Stand in until the port is known, which the application's issuer names."""
    raise AssertionError("unreachable: nothing is served yet")


def main(clients: Path, port_file: Path) -> None:
    store = Store(_client(row) for row in json.loads(clients.read_text()))
    server = make_server("127.0.0.1", 0, _nothing, threaded=True)
    server.app = application(store, issuer=f"http://127.0.0.1:{server.server_port}")
    fresh = port_file.with_suffix(".fresh")
    fresh.write_text(str(server.server_port))
    fresh.replace(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
