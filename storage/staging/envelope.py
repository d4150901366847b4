"""The form in which an answer is staged: ids in the clear, everything else in one sealed blob."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from domain.errors import SealBroken
from domain.schedule import Schedule
from domain.token import Credentials
from storage.activity import Note
from storage.sealing import RowRef, Sealer, key_id_of
from storage.tokens.landing import Landing

_FORMAT: Final = 1
_SCHEDULE: Final = Schedule.__slots__


@dataclass(frozen=True, slots=True)
class Envelope:
    """A staged answer. `repr` shows ids alone.

    Attributes:
        owner: The process that received it, as `tokens.lease_owner` names it.
        blob: The sealed answer; it opens for this connection and attempt alone.
    """

    connection_id: UUID
    attempt_id: UUID
    owner: str
    blob: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """The id of the key that sealed it."""
        return key_id_of(self.blob, self._place)

    @property
    def _place(self) -> RowRef:
        return RowRef("staged_answers", "answer", self.connection_id, self.attempt_id)

    def open(self, sealer: Sealer) -> Landing:
        """Return the answer.

        Raises:
            KeyMissing: The key that sealed it is not in the ring.
            SealBroken: It is damaged, or of a form that this version does not know.
        """
        plain = sealer.open(self.blob, self._place)
        try:
            return _landing(json.loads(plain.get_secret_value()), self)
        except (KeyError, TypeError, ValueError, AttributeError):
            # `from None`: the parser's message quotes what it could not read.
            raise SealBroken(f"{self._place} is not in a form that this version knows") from None

    def resealed(self, sealer: Sealer) -> Envelope:
        """Return the same answer sealed with the key that seals now; raises as `open`."""
        return replace(self, blob=sealer.seal(sealer.open(self.blob, self._place), self._place))

    def encode(self) -> bytes:
        """Return the bytes that are kept."""
        shown = {
            "format": _FORMAT,
            "connection_id": str(self.connection_id),
            "attempt_id": str(self.attempt_id),
            "owner": self.owner,
            "answer": base64.b64encode(self.blob).decode("ascii"),
        }
        return json.dumps(shown).encode("ascii")

    @classmethod
    def decode(cls, content: bytes) -> Envelope:
        """Read what `encode` wrote.

        Raises:
            SealBroken: It is damaged, or of a later version.
        """
        try:
            shown = json.loads(content)
            blob = base64.b64decode(shown["answer"], validate=True)
            known = shown["format"] == _FORMAT
            read = cls(UUID(shown["connection_id"]), UUID(shown["attempt_id"]), str(shown["owner"]), blob)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, binascii.Error):
            # AttributeError: an id that is no text; RecursionError: brackets without end.
            known = False
        if not known:
            raise SealBroken("a staged answer is damaged, or was written by a later version")
        return read


def seal_answer(landing: Landing, owner: str, sealer: Sealer) -> Envelope:
    """Return the answer as it is staged."""
    envelope = Envelope(landing.connection_id, landing.attempt_id, owner, b"")
    plain = SecretStr(json.dumps(_plain(landing)))
    return replace(envelope, blob=sealer.seal(plain, envelope._place))  # noqa: SLF001 - this module's own


def _plain(landing: Landing) -> dict[str, object]:
    refresh = landing.credentials.refresh_token
    return {
        "grant_id": str(landing.grant_id),
        "presented_version": landing.presented_version,
        "access_token": landing.credentials.access_token.get_secret_value(),
        "refresh_token": None if refresh is None else refresh.get_secret_value(),
        "keep_refresh": landing.keep_refresh,
        "schedule": {name: _text(getattr(landing.schedule, name)) for name in _SCHEDULE},
        "scope": None if landing.scope is None else list(landing.scope),
        "refresh_expires_at": _text(landing.refresh_expires_at),
        "note": {"kind": landing.note.kind, "code": landing.note.code, "detail": dict(landing.note.detail)},
    }


def _landing(plain: Mapping[str, Any], envelope: Envelope) -> Landing:
    refresh, note, scope = plain["refresh_token"], plain["note"], plain["scope"]
    times = {name: _instant(plain["schedule"][name]) for name in _SCHEDULE}
    return Landing(
        connection_id=envelope.connection_id,
        grant_id=UUID(plain["grant_id"]),
        presented_version=int(plain["presented_version"]),
        attempt_id=envelope.attempt_id,
        credentials=Credentials(
            SecretStr(plain["access_token"]), None if refresh is None else SecretStr(refresh)
        ),
        keep_refresh=bool(plain["keep_refresh"]),
        schedule=Schedule(**times),  # type: ignore[arg-type]  # `issued_at` is never null where it was written
        scope=None if scope is None else tuple(scope),
        refresh_expires_at=_instant(plain["refresh_expires_at"]),
        note=Note(note["kind"], note["code"], {**note["detail"], "staged": True}),
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
