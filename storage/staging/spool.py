"""The spool: a folder of this machine, one file an answer, written through to the disk before it counts."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from domain.errors import ConfigurationError, SealBroken
from storage.files import sync_folder
from storage.staging.envelope import Envelope

log = structlog.get_logger(__name__)

_SUFFIX: Final = ".staged"
_PART: Final = ".part"
#: Writing takes milliseconds; what is still a part after this long has no writer.
_ABANDONED_SECONDS: Final = 3600.0


class Spool:
    """Keeps envelopes in a folder that only its owner can read. Processes of one machine may share it.

    A file is complete or not there: it is written under another name, synchronised, and renamed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def prepare(self) -> None:
        """Make the folder, open to its owner alone.

        Raises:
            ConfigurationError: It cannot be made, or is not ours alone; names the variable and the mend.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            known = self._folder.stat()
            if known.st_uid != os.geteuid():
                raise ConfigurationError(
                    f"{self._folder} belongs to another user; let EVERGRANT_DATA_DIR name a folder of the "
                    "user that runs the workers"
                )
            if known.st_mode & 0o077:
                self._folder.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(
                f"{self._folder} cannot be used for answers that Postgres does not take: {error.strerror}; "
                "let EVERGRANT_DATA_DIR name a folder that the workers can write"
            ) from None

    def put(self, envelope: Envelope) -> None:
        """Keep an answer; when this returns it is on the disk.

        Raises:
            OSError: It could not be written: the disk is full, read-only or broken. Nothing is left of it.
        """
        place = self._path(envelope.connection_id, envelope.attempt_id)
        # Drawn, not numbered by process: containers that share the folder have the same process ids.
        part = place.with_name(f"{place.name}.{secrets.token_hex(8)}{_PART}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            descriptor = os.open(part, flags, 0o600)
        except FileNotFoundError:
            # Somebody has removed the folder under a running worker.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(part, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(envelope.encode())
                file.flush()
                os.fsync(file.fileno())
            part.replace(place)
            # Without this a renamed file may be gone after a crash.
            sync_folder(self._folder)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise

    def remove(self, connection_id: UUID, attempt_id: UUID) -> None:
        """Forget an answer; harmless when it is not there.

        Raises:
            OSError: The disk is read-only or broken. It stays, and its landing recognises itself.
        """
        self._path(connection_id, attempt_id).unlink(missing_ok=True)

    def envelopes(self, connection_id: UUID | None = None) -> Iterator[Envelope]:
        """Yield what is kept, of one connection or of all; what cannot be read is left where it is.

        Raises:
            OSError: The folder cannot be read.
        """
        for path, found in self._looked_at(connection_id):
            if isinstance(found, Envelope):
                yield found
            else:
                log.error("staged_answer_unreadable", file=path.name, error=type(found).__name__)

    def attempts(self) -> frozenset[UUID]:
        """Return the attempts whose answers are kept.

        Raises:
            OSError: The folder cannot be read.
        """
        found = set()
        for path in self._files(None):
            with suppress(ValueError):
                found.add(UUID(path.name.removesuffix(_SUFFIX).rpartition(".")[2]))
        return frozenset(found)

    def unreadable(self, connection_id: UUID | None = None) -> list[str]:
        """Return the names of files, of one connection or of all, that are no envelope of ours.

        Raises:
            OSError: The folder cannot be read.
        """
        looked_at = self._looked_at(connection_id)
        return [path.name for path, found in looked_at if not isinstance(found, Envelope)]

    def _looked_at(
        self, connection_id: UUID | None
    ) -> Iterator[tuple[Path, Envelope | SealBroken | OSError]]:
        """Yield each file with what it holds, or with why it cannot be read."""
        for path in self._files(connection_id):
            found: Envelope | SealBroken | OSError
            try:
                found = self._read(path)
            except FileNotFoundError:
                continue  # Landed by somebody else meanwhile.
            except (SealBroken, OSError) as error:
                # One bad file, or one bad block of the disk, does not keep the others.
                found = error
            yield path, found

    def tidy(self) -> None:
        """Remove what killed processes had begun to write: never whole, so never an answer.

        Raises:
            OSError: The folder cannot be read.
        """
        for part in self._folder.glob(f"*{_PART}"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                    part.unlink()

    def _read(self, path: Path) -> Envelope:
        envelope = Envelope.decode(path.read_bytes())
        if path != self._path(envelope.connection_id, envelope.attempt_id):
            # Landing it would remove the file of its true name, and leave this one to be landed for ever.
            raise SealBroken(f"{path.name} holds the staged answer of another name")
        return envelope

    def _files(self, connection_id: UUID | None) -> list[Path]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        prefix = "" if connection_id is None else f"{connection_id}."
        return [
            self._folder / name
            for name in sorted(names)
            if name.endswith(_SUFFIX) and name.startswith(prefix)
        ]

    def _path(self, connection_id: UUID, attempt_id: UUID) -> Path:
        return self._folder / f"{connection_id}.{attempt_id}{_SUFFIX}"
