"""Where browsers reach us, and where they may be sent afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from services.origins import origin_of


@dataclass(frozen=True, slots=True)
class Face:
    """The public address of the HTTP face, and the origins that `redirect_to` may name beside its own.

    Attributes:
        url: Without a slash at its end.
    """

    url: str
    allowed: tuple[str, ...] = ()

    @property
    def secure(self) -> bool:
        """Whether browsers reach us by https alone."""
        return self.url.startswith("https://")

    def callback(self, provider_id: str) -> str:
        """Return the one redirect URI of a provider: each has its own, so that none can answer for
        another."""
        return f"{self.url}/oauth/{provider_id}/callback"

    def link(self, provider_id: str, token: str) -> str:
        """Return the address of a connect link."""
        return f"{self.url}/oauth/{provider_id}/begin?link={quote(token, safe='')}"

    def may_send_to(self, url: str) -> bool:
        """Say whether a browser may be sent there when a connection was made."""
        origin = origin_of(url)
        return origin is not None and origin in (*self.allowed, origin_of(self.url))


def told(redirect_to: str, **words: str) -> str:
    """Return the address with what happened added to its query; a fragment stays where it is."""
    parts = urlsplit(redirect_to)
    query = "&".join(filter(None, (parts.query, urlencode(words))))
    return urlunsplit(parts._replace(query=query))
