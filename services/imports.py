"""Importing connections: one JSON object a line, bad lines reported, good ones kept, memory constant."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import IO, Annotated, Final
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)

from domain.errors import ConfigurationError
from domain.lifetimes import refresh_token_end
from domain.provider import GrantKind, Rotation
from domain.schedule import after_import
from domain.token import Credentials
from providers.definition import ProviderDefinition
from providers.requests import metadata_problem
from providers.tenants import tenant_of
from services.events import EventDigests
from services.providers import ProviderDesk
from storage.importing import Importer as BatchWriter
from storage.importing import ImportOutcome, ImportResult, NewConnection

#: Lines committed together; a killed import loses at most this much work, and repeating it is harmless.
BATCH: Final = 1000
#: A line longer than this is no connection; it is reported and not parsed.
LONGEST_LINE: Final = 256 * 1024

_Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
#: RFC 6749 appendix A.12 and A.17: tokens are made of visible ASCII characters and the space.
_TOKEN: Final = re.compile(r"[\x20-\x7e]+")
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:.+")
#: Outside of these years an expiry is a mistake, and arithmetic with it overflows.
_YEARS: Final = range(1970, 9999)
#: Names of fields that a message may repeat; anything else in a name's place may be a value.
_FIELD: Final = re.compile(r"[a-z0-9_]{1,40}")


def _token(value: SecretStr) -> SecretStr:
    if _TOKEN.fullmatch(value.get_secret_value()) is None:
        raise ValueError("is empty or holds characters that no token has")
    return value


def _iso(value: object) -> object:
    # Pydantic would also take numbers, and guess whether they are seconds or milliseconds.
    if value is not None and not (isinstance(value, str) and _INSTANT.fullmatch(value)):
        raise ValueError("must be ISO 8601 with an offset, such as 2030-01-31T12:00:00+00:00, or null")
    return value


def _utc(value: datetime) -> datetime:
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        moment = None
    if moment is None or moment.year not in _YEARS:
        raise ValueError(f"must lie between the years {_YEARS.start} and {_YEARS.stop - 1}")
    return moment


_Secret = Annotated[SecretStr, Field(max_length=65536), AfterValidator(_token)]
_Instant = Annotated[AwareDatetime, BeforeValidator(_iso), AfterValidator(_utc)]

_REFUSALS: Final = {
    "spent_refresh_token": (
        "refresh_token: is known to be spent; presenting it could kill the living grant. "
        "Leave the line out, or let the user connect again"
    ),
    "unstorable_text": (
        "account_id, scope or metadata: holds what Postgres cannot store (NUL, half of a surrogate pair, or "
        "a number that JSON does not have)"
    ),
}


class ImportLine(BaseModel):
    """One line of the import format.

    Attributes:
        refresh_token: None where the provider issued none.
        expires_at: ISO 8601 with an offset; None: unknown or never, as the provider's definition says.
        refresh_expires_at: When the refresh token dies by itself; None: as the definition says.
        connected_at: When the user consented; None: now, as far as anybody knows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    user_id: _Name
    provider_id: _Name
    account_id: Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    access_token: _Secret
    refresh_token: _Secret | None = None
    expires_at: _Instant | None = None
    refresh_expires_at: _Instant | None = None
    connected_at: _Instant | None = None
    scope: list[_Name] = Field(default_factory=list, max_length=500)
    metadata: dict[str, object] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not imported. `reason` holds no part of a token."""

    line: int
    reason: str


@dataclass(slots=True)
class ImportReport:
    """How many lines came to what."""

    outcomes: Counter[ImportOutcome] = field(default_factory=Counter)
    rejected: int = 0

    @property
    def lines(self) -> int:
        """Lines read, blank ones not counted."""
        return self.rejected + self.outcomes.total()


class Importer:
    """Reads lines, judges each by its provider's definition, and stores them batch by batch."""

    def __init__(
        self,
        writer: BatchWriter,
        desk: ProviderDesk,
        digests: EventDigests,
        *,
        clock: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Take the stores.

        Args:
            clock: Postgres\' clock.
        """
        self._writer = writer
        self._desk = desk
        self._digests = digests
        self._clock = clock
        self._jitter = jitter

    def run(
        self,
        lines: Iterable[bytes],
        *,
        replace: bool,
        on_rejected: Callable[[Rejected], None],
        on_progress: Callable[[int], None],
    ) -> ImportReport:
        """Import every line that can be imported.

        Args:
            replace: Replace the credentials of existing connections too (never by a spent refresh token).
            on_rejected: Called for each bad line, as it is met.
            on_progress: Called with the bytes read since the last call.

        Raises:
            ServiceUnavailable: Postgres is away; what was reported is stored, and repeating is harmless.
        """
        report = ImportReport()

        def reject(line: int, reason: str) -> None:
            report.rejected += 1
            on_rejected(Rejected(line, reason))

        numbered = ((number, line) for number, line in enumerate(lines, start=1))
        while batch := list(islice(numbered, BATCH)):
            now = self._clock()
            accepted: list[tuple[int, NewConnection]] = []
            for number, line in batch:
                try:
                    connection = self._judge(line, now)
                except ConfigurationError as error:
                    reject(number, str(error))
                else:
                    if connection is not None:
                        accepted.append((number, connection))
            self._store(accepted, replace=replace, report=report, reject=reject)
            on_progress(sum(len(line) for _, line in batch))
        return report

    def _store(
        self,
        accepted: list[tuple[int, NewConnection]],
        *,
        replace: bool,
        report: ImportReport,
        reject: Callable[[int, str], None],
    ) -> None:
        results = self._writer.import_batch([new for _, new in accepted], replace_credentials=replace)
        for (number, _), result in zip(accepted, results, strict=True):
            if result.outcome == "refused":
                reject(number, _REFUSALS[result.reason or "spent_refresh_token"])
            else:
                report.outcomes[result.outcome] += 1
        self._note(accepted, results)

    def _note(self, accepted: list[tuple[int, NewConnection]], results: Sequence[ImportResult]) -> None:
        """Let the refresh tokens that came be found by what providers push."""
        came: dict[str, list[UUID]] = {}
        for (_, new), result in zip(accepted, results, strict=True):
            if result.outcome in ("created", "replaced") and result.connection_id is not None:
                came.setdefault(new.provider_id, []).append(result.connection_id)
        for provider_id, connection_ids in came.items():
            self._digests.note(provider_id, connection_ids)

    def _judge(self, line: bytes, now: datetime) -> NewConnection | None:
        """Return the connection of one line; None for a blank one.

        Raises:
            ConfigurationError: Says what is wrong with the line, naming its fields and never their values.
        """
        if not line.strip():
            return None
        if len(line) > LONGEST_LINE:
            raise ConfigurationError(f"longer than {LONGEST_LINE} bytes")
        try:
            parsed = ImportLine.model_validate_json(line)
        except ValidationError as error:
            raise ConfigurationError("; ".join(_problems(error))) from None
        catalogue = self._desk.catalogue
        if parsed.provider_id not in catalogue:
            # Not the catalogue's own message: it repeats the id, which in a muddled file may be a token.
            known = ", ".join(catalogue.ids)
            raise ConfigurationError(f"provider_id: no definition has this id; known are {known}")
        definition = catalogue.get(parsed.provider_id)
        tenant = _require(definition, parsed)
        facts = definition.facts
        refreshable = facts.grant is GrantKind.CLIENT_CREDENTIALS or (
            facts.grant is GrantKind.REFRESH_TOKEN and parsed.refresh_token is not None
        )
        rotates = facts.rotation is not Rotation.NONE
        connected_at = None if parsed.connected_at is None else min(parsed.connected_at, now)
        refresh_expires_at = parsed.refresh_expires_at
        if refresh_expires_at is None and parsed.refresh_token is not None:
            # Where it rotates nobody knows when this one was issued: it lives no longer than from now on.
            began_at = now if rotates or connected_at is None else connected_at
            refresh_expires_at = refresh_token_end(facts, began_at=began_at, told=None, renewed=True)
        return NewConnection(
            user_id=parsed.user_id,
            provider_id=parsed.provider_id,
            account_id=parsed.account_id,
            credentials=Credentials(parsed.access_token, parsed.refresh_token),
            scope=tuple(parsed.scope),
            metadata=parsed.metadata,
            tenant=tenant,
            refreshable=refreshable,
            rotates=rotates,
            refresh_expires_at=refresh_expires_at,
            connected_at=connected_at,
            schedule=after_import(
                facts,
                now=now,
                expires_at=parsed.expires_at,
                refreshable=refreshable,
                jitter=self._jitter(),
                refresh_expires_at=refresh_expires_at if rotates else None,
            ),
        )


def bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file's lines; of a line that is far too long only its beginning, which is then refused."""
    while line := file.readline(LONGEST_LINE + 2):
        rest = line
        while not rest.endswith(b"\n") and len(rest) == LONGEST_LINE + 2:
            rest = file.readline(LONGEST_LINE + 2)
        yield line


def _require(definition: ProviderDefinition, parsed: ImportLine) -> str | None:
    """Refuse a line that could never be kept fresh, and say what it lacks; return its tenant, if any."""
    problem = metadata_problem(definition, parsed.metadata)
    if problem is not None:
        raise ConfigurationError(f"metadata: {problem}")
    try:
        return tenant_of(definition, parsed.metadata)
    except ConfigurationError as error:
        raise ConfigurationError(f"metadata: metadata.{error}") from None


def _problems(error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        parts = [str(part) for part in item["loc"]]
        place = ".".join(part if _FIELD.fullmatch(part) else "(an unknown field)" for part in parts)
        message = str(item["msg"]).removeprefix("Value error, ")
        yield f"{place}: {message}" if place else message
