"""A visitor of Flower, with or without a sign-in."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, ClassVar


class FlowerVisit:
    """Asks for Flower's pages and calls."""

    PAGES: ClassVar = ("/", "/workers", "/tasks", "/broker")
    CALLS: ClassVar = (
        "/api/workers",
        "/api/tasks",
        "/api/task/types",
        "/api/queues/length",
        "/tasks/datatable",
    )

    def __init__(self, url: str, sign_in: str | None = None) -> None:
        self._url = url
        self._sign_in = sign_in

    def ask(self, path: str, *, method: str = "GET", sign_in: str | None = None) -> tuple[int, bytes]:
        """Give status and content."""
        request = urllib.request.Request(self._url + path, method=method)  # noqa: S310 - our own http URL
        if method == "POST":
            request.data = b"{}"
        sign_in = sign_in or self._sign_in
        if sign_in is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(sign_in.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def status(self, path: str, *, sign_in: str | None = None) -> int:
        """Give the status alone."""
        return self.ask(path, sign_in=sign_in)[0]

    def post(self, path: str) -> int:
        """Try to change something; give the status."""
        return self.ask(path, method="POST")[0]

    def json(self, path: str) -> Any:
        """Give the content of a call that must succeed."""
        status, content = self.ask(path)
        assert status == 200, f"{path}: {status} {content[:500]!r}"
        return json.loads(content)

    def everything(self) -> dict[str, bytes]:
        """Give every page, with the page of each worker and of some tasks of every name."""
        tasks = self.json("/api/tasks?limit=10000")
        some: dict[str, list[str]] = {}
        for task_id, task in tasks.items():
            some.setdefault(task["name"] + task["state"], []).append(task_id)
        # The query that the page of tasks itself sends.
        table = "/tasks/datatable?" + urllib.parse.urlencode(
            {
                "draw": 1, "start": 0, "length": 10000, "search[value]": "",
                "order[0][column]": 0, "order[0][dir]": "asc", "columns[0][data]": "name",
            }
        )  # fmt: skip
        paths = [*self.PAGES, "/api/workers?refresh=true", "/api/task/types", "/api/queues/length", table]
        paths += ["/api/tasks?limit=10000", "/metrics", "/healthcheck"]
        for worker in self.json("/api/workers?refresh=true"):
            paths.append(f"/worker/{worker}")
        for ids in some.values():
            for task_id in ids[:3]:
                paths += [f"/task/{task_id}", f"/api/task/info/{task_id}", f"/api/task/result/{task_id}"]
        found = {}
        for path in paths:
            status, content = self.ask(path)
            assert status == 200 or path.startswith("/api/task/result/"), f"{path}: {status}"
            found[path] = content
        return found
