"""A person's browser, which stops at every redirect, and the person, who decides at the provider."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx2


@dataclass
class Browser:
    """Keeps cookies, follows nothing by itself, and remembers where it was."""

    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(follow_redirects=False, timeout=60))

    def get(self, url: str) -> httpx2.Response:
        return self.client.get(url)

    def leave(self, link: str) -> str:
        """Open a connect link, and give where the provider is."""
        answer = self.get(link)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def decide(self, authorization: str, **decision: str) -> str:
        """Decide at the provider, and give the address of the callback that it sends the browser to."""
        answer = self.get(with_query(authorization, **{"decision": "agree", **decision}))
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    def consent(self, link: str, **decision: str) -> httpx2.Response:
        """Open a link, decide, come back."""
        return self.get(self.decide(self.leave(link), **decision))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


def with_query(url: str, **changed: str | None) -> str:
    """Give an address with some parameters of its query set, or left out where None."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **changed}
    kept = {name: value for name, value in query.items() if value is not None}
    return urlunsplit(parts._replace(query=urlencode(kept)))


def query_of(url: str) -> dict[str, str]:
    """Give the parameters of an address' query."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
