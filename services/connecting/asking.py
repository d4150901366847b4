"""What is asked of a person: which provider, which account, which scopes; checked before anybody leaves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from domain.connecting import united
from domain.provider import GrantKind
from domain.token import Status
from providers.definition import ProviderDefinition
from providers.toml_values import known_scope
from providers.urls import problem
from services.codes import MESSAGES
from services.connecting.face import Face
from services.connecting.links import LIFETIME, Link, Links
from services.connecting.outcomes import CannotConnect
from services.providers import ProviderDesk, ReadyProvider
from storage.connections import ConnectionStore, ConnectionSummary

#: RFC 6749 §3.3, without the comma, which separates scopes at some providers.
_SCOPE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants a user to connect.

    Attributes:
        account_id: "": the connection without an account id; None: whichever the person chooses.
        scopes: None: the definition's.
        variables: Name -> value, of the definition's URL variables.
    """

    user_id: str
    account_id: str | None = None
    scopes: tuple[str, ...] | None = None
    redirect_to: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """A wish that can be fulfilled."""

    provider: ReadyProvider
    scopes: tuple[str, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ConnectLink:
    """A link to hand to the user's browser, and until when it may be opened."""

    url: str
    expires_at: datetime


class Asking:
    """One per process; thread-safe."""

    def __init__(
        self, desk: ProviderDesk, connections: ConnectionStore, links: Links, clock: Callable[[], datetime]
    ) -> None:
        """Take what it works with.

        Args:
            clock: Postgres' clock.
        """
        self._desk = desk
        self._connections = connections
        self._links = links
        self._clock = clock

    def link(self, provider_id: str, wish: Wish, face: Face) -> ConnectLink:
        """Return a signed link that begins a connection; nothing is stored.

        Raises:
            CannotConnect: It could never come to one; says why.
            ServiceUnavailable: Postgres is away.
        """
        if wish.redirect_to is not None and not face.may_send_to(wish.redirect_to):
            raise CannotConnect(
                "redirect_not_allowed",
                "redirect_to names an address whose origin is neither the public URL's nor one of "
                "EVERGRANT_REDIRECT_ALLOWLIST; add its origin (https://host) there, or leave redirect_to out",
            )
        request = self.request(provider_id, wish, by_browser=True)
        ends = self._clock() + LIFETIME
        link = Link(
            provider_id=provider_id,
            user_id=wish.user_id,
            account_id=wish.account_id,
            scopes=request.scopes,
            redirect_to=wish.redirect_to,
            variables=dict(request.variables),
            expires_at=int(ends.timestamp()),
        )
        token = self._links.write(link)
        if token is None:
            raise CannotConnect(
                "link_too_long", "user_id, redirect_to and scopes together are too long for a link"
            )
        return ConnectLink(face.link(provider_id, token), link.ends)

    def request(self, provider_id: str, wish: Wish, *, by_browser: bool) -> Request:
        """Return what to ask the provider for.

        Args:
            by_browser: By authorization code; otherwise by device code.

        Raises:
            CannotConnect: As `link`.
            ServiceUnavailable: Postgres is away.
        """
        provider = self._desk.ready(provider_id)
        if not isinstance(provider, ReadyProvider):
            raise CannotConnect(provider.code, f"{provider_id}: {MESSAGES[provider.code]}")
        definition = provider.definition
        if definition.grant is GrantKind.CLIENT_CREDENTIALS:
            raise CannotConnect(
                "not_connectable",
                f"{provider_id}: nobody consents in a browser; import the connection instead",
            )
        key, url = (
            ("authorize_url", definition.authorize_url)
            if by_browser
            else ("device_url", definition.device_url)
        )
        if url is None or definition.token_url is None:
            raise CannotConnect("not_connectable", f"{provider_id}: its definition has no {key}")
        existing = self._existing(provider_id, wish)
        return Request(provider, _scopes(definition, wish, existing), _variables(definition, wish, existing))

    def _existing(self, provider_id: str, wish: Wish) -> ConnectionSummary | None:
        """Return the connection that will get the new grant, as far as can be known before the consent."""
        living = [
            found
            for found in self._connections.list(user_id=wish.user_id, provider_id=provider_id)
            if found.status is not Status.DISCONNECTED and wish.account_id in (None, found.account_id)
        ]
        return living[0] if len(living) == 1 else None


def _scopes(
    definition: ProviderDefinition, wish: Wish, existing: ConnectionSummary | None
) -> tuple[str, ...]:
    """Return what was wished for, and what the connection has already: a new grant must not lose it."""
    asked = definition.scopes if wish.scopes is None else wish.scopes
    if wish.scopes is not None and not (asked and all(map(_SCOPE.fullmatch, asked))):
        raise CannotConnect(
            "scope_wrong",
            "scopes: must be one scope or several, of printable ASCII characters without comma, quote and "
            "backslash; leave it out to ask for the definition's",
        )
    known = definition.known_scopes
    if known and (lacking := [scope for scope in asked if not known_scope(scope, known)]):
        raise CannotConnect(
            "scope_unknown", f"scopes: {definition.id} has no scope {', '.join(map(repr, lacking))}"
        )
    # Some scopes are answered under another name, and can be asked for under their own alone.
    usual = {answered: name for name, answered in definition.scope_aliases.items()}
    had = () if existing is None else tuple(usual.get(scope, scope) for scope in existing.scope)
    return united(asked, (scope for scope in had if not known or known_scope(scope, known)))


def _variables(
    definition: ProviderDefinition, wish: Wish, existing: ConnectionSummary | None
) -> Mapping[str, str]:
    """Return what URLs and token requests are filled with: as wished for, else as the connection has it."""
    names = (*definition.variables, *definition.required_metadata)
    if unknown := sorted(set(wish.variables) - set(names)):
        raise CannotConnect("parameter_unknown", f"{definition.id} has no variable {', '.join(unknown)}")
    had = {} if existing is None else existing.metadata
    values = {
        name: str(value) for name in names if (value := wish.variables.get(name, had.get(name))) is not None
    }
    if problems := list(_problems(definition, values)):
        raise CannotConnect("variable_wrong", "; ".join(problems))
    return values


def _problems(definition: ProviderDefinition, values: Mapping[str, str]) -> Iterator[str]:
    for name, variable in definition.variables.items():
        if name not in values and (variable.learned or variable.default is not None):
            continue
        if problem(definition, name, values) is not None:
            example = "" if variable.example is None else f", such as {variable.example}"
            yield f"{name}: {variable.help or 'a part of the provider URLs'}{example}"
    for name in definition.required_metadata:
        value = values.get(name, "")
        if name not in definition.variables and not (value.strip() and value.isprintable()):
            yield f"{name}: {definition.id} needs it to refresh, in printable characters"
