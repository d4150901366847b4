"""What Postgres believes of the tables' sizes, mended where an import has made it wrong.

A session keeps its prepared plans until somebody counts the tables anew. A plan from the time when they were
empty reads them from end to end: right for a page, ruinous for a million rows, and wrong from the first rows
of an import until autovacuum comes by, about a minute later.
"""

from __future__ import annotations

import contextlib
from typing import Final

from sqlalchemy import Engine, text

from domain.errors import ServiceUnavailable
from storage.engine import autocommit, single

#: Tables that have grown to so many times the size at which they were counted are counted anew. Within it
#: autovacuum is soon enough.
_OUTGROWN: Final = 4
_HAS_OUTGROWN: Final = text(f"""
    SELECT bool_or(pg_relation_size(oid)
                   > {_OUTGROWN} * greatest(relpages, 1) * current_setting('block_size')::bigint)
      FROM pg_class WHERE oid IN ('tokens'::regclass, 'connections'::regclass)
""")  # noqa: S608 - made of one number
# A sample of each, a second at most. Whoever holds the lock is counting already, or will be asked again.
_COUNT: Final = text("ANALYZE (SKIP_LOCKED) tokens, connections, activity")


def keep_counted(engine: Engine) -> bool:
    """Have the tables counted if they have outgrown their last count, so that every session plans anew.

    Returns whether they were. Where Postgres does not answer nothing is done, and nothing is raised: what the
    caller has written is written.
    """
    with contextlib.suppress(ServiceUnavailable), single(autocommit(engine)) as connection:
        if connection.execute(_HAS_OUTGROWN).scalar_one():
            connection.execute(_COUNT)
            return True
    return False
