"""Passes over a table's rows, page by page in the order of the primary key, each row by compare-and-swap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, func, select

from domain.errors import SealBroken
from storage.engine import autocommit, single
from storage.resealing.counts import Broken, OnProgress, Resealed, Resealer
from storage.resealing.event_digests import EventDigestResealer
from storage.resealing.tables import BEFORE_ALL, FLOWS, REVOCATIONS, SPARES, TOKENS, SealedTable
from storage.sealing import Sealer, header


class TableResealer:
    """Seals the rows of one table anew. Touches sealed bytes, their digest and the key's id, nothing else.

    A row is written only if it is byte for byte as it was read. So a refresh that lands meanwhile wins, in
    either order, and two rotations at once do no harm. Every write is one statement: killed at any moment,
    each row is whole, and the next run goes on with what is left.
    """

    def __init__(self, engine: Engine, sealer: Sealer, table: SealedTable, name: str) -> None:
        self._auto = autocommit(engine)
        self._sealer = sealer
        self._table = table
        self._name = name

    @property
    def name(self) -> str:
        """What people call the rows."""
        return self._name

    def count(self) -> int:
        """Return how many rows there are. Raises `ServiceUnavailable`."""
        with single(self._auto) as connection:
            return connection.execute(select(func.count()).select_from(self._table.table)).scalar_one()

    def keys(self) -> Mapping[str, int]:
        """Return how many rows need each key. Reads the whole table. Raises `ServiceUnavailable`."""
        counts: Counter[str] = Counter()
        with single(self._auto) as connection:
            for named, *found, rows in connection.execute(self._table.keys):
                needed = {named} | {_text(blob) for blob in found if blob is not None}
                for key_id in needed:
                    if key_id is not None:
                        counts[key_id] += rows
        return counts

    def reseal(self, key_id: str, on_progress: OnProgress) -> Resealed:
        """Pass over all rows once.

        Raises:
            KeyMissing: The ring does not hold this key.
            ServiceUnavailable: Postgres does not answer; what was written so far stays.
        """
        sealer = self._sealer.sealing_with(key_id)
        result = Resealed()
        after = BEFORE_ALL
        wanted = {"wanted_key": key_id, "wanted_header": header(key_id)}
        while True:
            with single(self._auto) as connection:
                page = connection.execute(self._table.page, {**wanted, "after": after}).all()
            if not page:
                return result
            after = page[-1].row_id
            self._write(self._renewed(page, sealer, result), key_id, result)
            result.seen += len(page)
            on_progress(len(page))

    def _renewed(
        self, page: Sequence[Row[Any]], sealer: Sealer, result: Resealed
    ) -> list[tuple[Row[Any], list[bytes | None]]]:
        rows = []
        for row in page:
            if row.done:
                continue
            try:
                rows.append((row, self._reseal_row(row, sealer)))
            except SealBroken as broken:
                result.add_broken(Broken(self._table.table.name, str(row.row_id), str(broken)))
        return rows

    def _reseal_row(self, row: Row[Any], sealer: Sealer) -> list[bytes | None]:
        """Return the columns' new values, in the order of `renewed`."""
        values: list[bytes | None] = []
        digest = None
        connection_id: UUID = self._table.place("", row).connection_id
        for name in self._table.sealed:
            blob: bytes | None = getattr(row, name)
            if blob is None:
                values.append(None)
                continue
            place = self._table.place(name, row)
            plain = sealer.open(blob, place)
            values.append(sealer.seal(plain, place))
            if name == "refresh_token":
                digest = sealer.digest(plain, connection_id)
        return [*values, digest] if self._table.digested else values

    def _write(self, rows: list[tuple[Row[Any], list[bytes | None]]], key_id: str, result: Resealed) -> None:
        if not rows:
            return
        parameters: dict[str, object] = {"wanted_key": key_id, "row_ids": [row.row_id for row, _ in rows]}
        for name in self._table.compared:
            parameters[f"old_{name}"] = [getattr(row, name) for row, _ in rows]
        for place, name in enumerate(self._table.renewed):
            parameters[f"new_{name}"] = [values[place] for _, values in rows]
        with single(self._auto) as connection:
            written = len(connection.execute(self._table.write, parameters).all())
        result.resealed += written
        result.moved += len(rows) - written


def table_resealers(engine: Engine, sealer: Sealer) -> list[Resealer]:
    """Return a resealer for each table that holds sealed values."""
    return [
        TableResealer(engine, sealer, TOKENS, "tokens"),
        TableResealer(engine, sealer, SPARES, "spares"),
        TableResealer(engine, sealer, REVOCATIONS, "revocations"),
        TableResealer(engine, sealer, FLOWS, "flows"),
        # After the tokens, of which they are made.
        EventDigestResealer(engine, sealer),
    ]


def _text(key_id: bytes) -> str | None:
    """Return a key's id from a header; None where the header is damaged."""
    try:
        return bytes(key_id).decode("ascii")
    except UnicodeDecodeError:
        return None
