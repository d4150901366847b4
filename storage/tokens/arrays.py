"""Several rows' values as parameters: one array a column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Subquery, bindparam, column, func, select
from sqlalchemy.types import TypeEngine

_MICROSECOND: Final = timedelta(microseconds=1)
_ESCAPED: Final = re.compile(r'(["\\])')


def unnested(name: str, **columns: TypeEngine[Any]) -> Subquery:
    """Return a table made of parameters: each column is an array of that column's name, as `array` gives it.

    The planner is to find the rows that these name by their primary key, one by one, whatever it knows of the
    table and however many they are; and with one plan, prepared once. So the arrays are read by sub-selects,
    which hide their lengths: else it would take groups of one or two for cheaper than what it has prepared,
    and plan each of them anew. And the limit, which takes nothing away, has it expect a single row: of an
    unknown limit it expects a tenth of what there is, and of an unknown array ten elements.
    """
    arrays = {each: bindparam(each, type_=ARRAY(type_)) for each, type_ in columns.items()}
    made = func.unnest(*(select(each).scalar_subquery() for each in arrays.values())).table_valued(
        *(column(each, type_) for each, type_ in columns.items())
    )
    length = select(func.cardinality(next(iter(arrays.values())))).scalar_subquery()
    return select(made.render_derived(name="arrays")).limit(length).subquery(name)


def array(values: Iterable[object]) -> str:
    """Return the text of a Postgres array of these values, of which each may be None.

    psycopg would look for a type first and then dump value by value, in Python: four times as long. And an
    array of nothing but nulls has no type, so that a statement would be prepared once for each column that
    happened to have none. The statement says of what type each array is.
    """
    return "{" + ",".join(["NULL" if value is None else _TEXTS[type(value)](value) for value in values]) + "}"


def _bytes(value: bytes) -> str:
    return f'"\\\\x{value.hex()}"'


def _text(value: str) -> str:
    return '"' + _ESCAPED.sub(r"\\\1", value) + '"'


_TEXTS: Final[dict[type, Callable[[Any], str]]] = {
    UUID: lambda value: value.hex,
    str: _text,
    bytes: _bytes,
    bool: str,
    int: str,
    datetime: datetime.isoformat,
    timedelta: lambda value: f'"{value // _MICROSECOND} microseconds"',
}
