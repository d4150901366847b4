"""One grant and the rules by which a provider lets its refresh token be spent. Pure: no clock, no I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from simulator.settings import UNLIMITED, UNTIL_SUCCESSOR_USED, DialectSettings, Span


class Verdict(StrEnum):
    """What a presentation of a genuine refresh token of a known grant comes to."""

    REFRESHED = "refreshed"
    """The current token was presented: a new access token, and under rotation a successor."""
    REPLAYED = "replayed"
    """The previous token, inside the window: the same successor once more."""
    REUSE = "reuse"
    """A spent token, outside any window. Kills the grant where the settings say so."""
    DEAD = "dead"
    """A token of a grant that no longer lives."""


class Presentation(NamedTuple):
    """One finished presentation in a grant's history. Instants are Unix time in seconds.

    `concurrent` says that another presentation of the same grant was under way when this one arrived;
    `answered` says that the answer was written out whole; `fault` names what was done to it on the wire, None
    where nothing was.
    """

    started_at: float
    ended_at: float
    generation: int
    result: str
    concurrent: bool
    answered: bool
    fault: str | None = None


@dataclass(slots=True)
class Grant:
    """A user's consent, as the provider keeps it.

    Attributes:
        number: counts the grants of a dialect from 0; the grant's id is ``<dialect>-<number>``.
        user: label of the account holder; Google revokes all grants of one user and client together.
        owner: label of whoever had it minted, for reports on a share of the grants.
        scope: what the user agreed to, separated by spaces.
        client_id: the app it was made for; None means the dialect's present `client_id`.
        lifetime: of its access tokens; None means as the dialect's settings say.
        generation: how many times the refresh token was rotated; the current token is of this generation.
        rotated_at: when the request arrived that made the current generation; None before the first rotation.
        successor_used: whether anything of the current generation has come back to the provider.
        serial: how many access tokens were made.
        access_expires_at: when the newest access token ends; None means never.
        used_at: when its refresh token was last honoured; None before the first time.
        dead_reason: why it is dead (``revoked``, ``revoked_by_client``, ``reuse``, ``lived_out``, ``idle``);
            None while it lives.
        under_way: presentations that have arrived and are not finished. Not kept across restarts.
    """

    dialect: str
    number: int
    user: str
    owner: str
    scope: str
    client_id: str | None
    lifetime: Span | None
    minted_at: float
    generation: int = 0
    rotated_at: float | None = None
    successor_used: bool = False
    serial: int = 0
    access_expires_at: float | None = None
    used_at: float | None = None
    dead_reason: str | None = None
    died_at: float | None = None
    presentations: int = 0
    under_way: int = 0
    history: deque[Presentation] | None = field(default=None, repr=False)

    @property
    def grant_id(self) -> str:
        """Return the id by which the control interface names this grant."""
        return f"{self.dialect}-{self.number}"

    @property
    def alive(self) -> bool:
        """Return whether the provider still honours it."""
        return self.dead_reason is None

    def as_row(self) -> dict[str, object]:
        """Return all that a journal must keep."""
        row: dict[str, object] = {name: getattr(self, name) for name in _KEPT}
        row["lifetime"] = None if self.lifetime is None else self.lifetime.as_json()
        row["history"] = [] if self.history is None else list(self.history)
        return row

    @classmethod
    def from_row(cls, row: dict[str, object], history_length: int) -> Grant:
        """Return the grant that `as_row` described."""
        lifetime = row["lifetime"]
        history = row["history"]
        fields = dict(row)
        fields["lifetime"] = None if lifetime is None else Span.parse(lifetime)
        fields["history"] = (
            deque((Presentation(*item) for item in history), maxlen=history_length)
            if isinstance(history, list) and history
            else None
        )
        return cls(**fields)  # type: ignore[arg-type]  # the row was written by as_row


_KEPT = tuple(name for name in Grant.__slots__ if name not in ("under_way", "history", "lifetime"))


def lived_out(grant: Grant, settings: DialectSettings, *, at: float) -> str | None:
    """Return why the grant's time is over at `at`, or None while it is not."""
    if settings.grant_life is not None and at >= grant.minted_at + settings.grant_life:
        return "lived_out"
    if settings.idle_life is not None and at >= (grant.used_at or grant.minted_at) + settings.idle_life:
        return "idle"
    return None


def judge(grant: Grant, generation: int, settings: DialectSettings, *, arrived_at: float) -> Verdict:
    """Return what presenting the refresh token of `generation` at `arrived_at` comes to.

    A spent token of a dead grant is still `REUSE`: the report must count it whether it killed or not.
    """
    spent = settings.rotation != "none" and generation < grant.generation
    replayable = spent and _in_window(grant, generation, settings, arrived_at=arrived_at)
    if spent and not replayable:
        return Verdict.REUSE
    if not grant.alive:
        return Verdict.DEAD
    return Verdict.REPLAYED if replayable else Verdict.REFRESHED


def _in_window(grant: Grant, generation: int, settings: DialectSettings, *, arrived_at: float) -> bool:
    if settings.rotation != "window":
        return False
    if settings.window == UNLIMITED:
        return True
    if generation != grant.generation - 1 or grant.rotated_at is None:
        return False
    if settings.window == UNTIL_SUCCESSOR_USED:
        return not grant.successor_used
    return isinstance(settings.window, float) and arrived_at <= grant.rotated_at + settings.window
