"""Where browsers reach us, and where they may be sent afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_plus, urlencode, urlsplit, urlunsplit

from services.origins import origin_of

#: What is told to whoever asked for a link, in the query of `redirect_to`.
TOLD: Final = frozenset({"connection", "status", "missing_scopes"})


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
    """Return the address with what happened added to its query; a fragment stays where it is.

    What the query says under our names already is left out: whoever reads the first of two would be told by
    somebody else.
    """
    parts = urlsplit(redirect_to)
    pairs = (pair for pair in parts.query.split("&") if pair)
    given = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]) not in TOLD]
    query = "&".join((*given, urlencode(words)))
    return urlunsplit(parts._replace(query=query))
