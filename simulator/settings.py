"""The knobs of one dialect, what they may be set to, and how a change is checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from random import Random

from simulator.latency import Latency

UNTIL_SUCCESSOR_USED = "until_successor_used"
UNLIMITED = "unlimited"


@dataclass(frozen=True, slots=True)
class Span:
    """A number of seconds, drawn evenly between `low` and `high`."""

    low: float
    high: float

    def draw(self, rng: Random) -> float:
        """Return one number of seconds."""
        return self.low if self.low == self.high else rng.uniform(self.low, self.high)

    @classmethod
    def parse(cls, value: object) -> Span:
        """Read ``3600`` or ``[60, 120]``.

        Raises:
            ValueError: it is neither, or below one second.
        """
        low, high = value if isinstance(value, list) and len(value) == 2 else (value, value)
        low, high = _number(low), _number(high)
        if not 1 <= low <= high:
            raise ValueError("give seconds of at least 1, or [least, most]")
        return cls(low, high)

    def as_json(self) -> object:
        """Return what `parse` would read back."""
        return self.low if self.low == self.high else [self.low, self.high]


@dataclass(frozen=True, slots=True)
class DialectSettings:
    """Everything about a dialect that a test may turn.

    Attributes:
        client_id: the app that the dialect's grants were minted for, unless a grant names another.
        client_secret: that app's secret; ignored by dialects without one (Wix headless).
        other_clients: further apps, id → secret, for tests with several tenants.
        lifetime: of an access token; None means that tokens never expire.
        rotation: ``none`` (the refresh token stays), ``single_use``, or ``window`` (see below).
        window: how long the previous refresh token may be presented again under ``window``: seconds, counted
            from the arrival of the request that rotated it; ``until_successor_used`` (until the new refresh
            token is presented or the new access token used); ``unlimited`` (any older one, for ever). A
            replay gets the SAME successor again, with a fresh access token. Outside, it is reuse.
        reuse_kills: whether reuse kills the grant with all its tokens (RFC 9700 §4.14.2) or is only refused.
        send_refresh_token: whether an unrotated refresh token is repeated in the answer.
        first_refresh_token: whether the answer to a consent has a refresh token.
        expires_in: how the answer says it: ``int``, ``string`` or ``missing``.
        grant_life: seconds from its minting after which a grant is dead; what is left of them every token
            answer tells as ``refresh_token_expires_in``. None means for ever, and nothing is told.
        idle_life: seconds after which a refresh token that was not used is dead; None: none dies so.
        latency: before a request is acted on.
        check_latency: the same for checks; None means as `latency`.
        rate_limit: requests a second over all endpoints, with a burst of one second; None means no limit.
        retry_after: what a throttled client is told to wait, in seconds.
        errors_in_200: whether errors of the token endpoint come with status 200, as GitHub's do.
        dead_grant_status: HTTP status for a dead or unknown refresh token; Atlassian uses 403.
        dead_grant_error: its error code; Semrush said ``invalid_request``.
        accept_snake_case: Wix headless only: also take ``grant_type``, ``refresh_token``, ``client_id``.
        token_paths: Bing only: which token URL works: ``both``, ``oauth/token`` or ``token``.
    """

    client_id: str
    client_secret: str = field(repr=False)
    other_clients: dict[str, str] = field(default_factory=dict, repr=False)
    lifetime: Span | None = Span(3600, 3600)
    rotation: str = "none"
    window: float | str = 30.0
    reuse_kills: bool = True
    send_refresh_token: bool = True
    first_refresh_token: bool = True
    expires_in: str = "int"
    grant_life: float | None = None
    idle_life: float | None = None
    latency: Latency = field(default_factory=Latency)
    check_latency: Latency | None = None
    rate_limit: float | None = None
    retry_after: float = 1.0
    errors_in_200: bool = False
    dead_grant_status: int = 400
    dead_grant_error: str = "invalid_grant"
    accept_snake_case: bool = False
    token_paths: str = "both"  # noqa: S105 - which paths, no secret

    def secret_of(self, client_id: str) -> str | None:
        """Return the secret of that app, or None if the provider does not know it."""
        return self.client_secret if client_id == self.client_id else self.other_clients.get(client_id)

    def patched(self, changes: dict[str, object]) -> DialectSettings:
        """Return settings with `changes` made.

        Raises:
            ValueError: an unknown name or a value that does not fit; the text names both.
        """
        parsed: dict[str, object] = {}
        for name, value in changes.items():
            if name not in _PARSERS:
                raise ValueError(f"there is no setting {name!r}; there are: {', '.join(sorted(_PARSERS))}")
            try:
                parsed[name] = _PARSERS[name](value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"setting {name!r}: {error}") from error
        return replace(self, **parsed)  # type: ignore[arg-type]  # each parser returns its field's type

    def as_json(self) -> dict[str, object]:
        """Return all settings as `patched` reads them, secrets included: they are the simulator's own."""
        plain = {name: getattr(self, name) for name in asdict(self)}
        return {
            name: value.as_json() if isinstance(value, Span | Latency) else value
            for name, value in plain.items()
        }


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError("a finite number is needed")


def _text(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise ValueError("a text that is not empty is needed")


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("true or false is needed")


def _one_of(*words: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value in words:
            return str(value)
        raise ValueError(f"one of {', '.join(words)} is needed")

    return parse


def _positive(value: object) -> float:
    if (number := _number(value)) > 0:
        return number
    raise ValueError("a number above 0 is needed")


def _not_negative(value: object) -> float:
    if (number := _number(value)) >= 0:
        return number
    raise ValueError("a number of at least 0 is needed")


def _or_null(parse: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: None if value is None else parse(value)


def _window(value: object) -> float | str:
    return str(value) if value in (UNTIL_SUCCESSOR_USED, UNLIMITED) else _not_negative(value)


def _status(value: object) -> int:
    if isinstance(value, int) and 400 <= value <= 599:
        return value
    raise ValueError("an HTTP status from 400 to 599 is needed")


def _clients(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        return {_text(client_id): _text(secret) for client_id, secret in value.items()}
    raise ValueError("an object of client id to secret is needed")


_PARSERS: dict[str, Callable[[object], object]] = {
    "client_id": _text,
    "client_secret": _text,
    "other_clients": _clients,
    "lifetime": _or_null(Span.parse),
    "rotation": _one_of("none", "single_use", "window"),
    "window": _window,
    "reuse_kills": _truth,
    "send_refresh_token": _truth,
    "first_refresh_token": _truth,
    "expires_in": _one_of("int", "string", "missing"),
    "grant_life": _or_null(_positive),
    "idle_life": _or_null(_positive),
    "latency": Latency.parse,
    "check_latency": _or_null(Latency.parse),
    "rate_limit": _or_null(_positive),
    "retry_after": _not_negative,
    "errors_in_200": _truth,
    "dead_grant_status": _status,
    "dead_grant_error": _text,
    "accept_snake_case": _truth,
    "token_paths": _one_of("both", "oauth/token", "token"),
}
