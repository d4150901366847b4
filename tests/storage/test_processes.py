"""The register of processes: what each says of itself, and what others make sure of."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from storage.processes import ProcessReport, ProcessStore
from tests.storage.making import Bench

pytestmark = pytest.mark.servers


@pytest.fixture
def register(bench: Bench) -> ProcessStore:
    return ProcessStore(bench.engine)


def test_a_report_is_kept_as_it_was_told(register: ProcessStore) -> None:
    """Counts and keys are the last report's; the time that it returns is later than the one it tells."""
    now = register.register("p", role="bulk", host="h", key_ids=["k2", "k1"])

    later = register.report("p", ProcessReport(now, staged=2, unsafe=1, staged_key_ids=("k1",)))

    process = register.find("p")
    assert process is not None
    assert later is not None
    assert later > now
    assert (process.settled_until, process.staged, process.unsafe) == (now, 2, 1)
    assert (process.key_ids, process.staged_key_ids, process.living) == (("k2", "k1"), ("k1",), True)


def test_a_clock_that_was_put_back_takes_the_word_back(register: ProcessStore) -> None:
    """What was settled by a clock that ran ahead is not settled any more once the process says so."""
    now = register.register("p", role="bulk", host="h", key_ids=[])
    register.report("p", ProcessReport(now))

    register.report("p", ProcessReport(now - timedelta(minutes=5)))

    process = register.find("p")
    assert process is not None
    assert process.settled_until == now - timedelta(minutes=5)


def test_dead_is_not_gone_while_something_is_staged(register: ProcessStore) -> None:
    """Gone means: nothing is left to land. A report of its own says that it was not dead at all."""
    now = register.register("p", role="bulk", host="h", key_ids=[])
    register.mark_gone("p", staged=1)
    dead = register.find("p")
    register.mark_gone("p", staged=0)
    gone = register.find("p")
    register.report("p", ProcessReport(now))
    back = register.find("p")

    assert dead is not None
    assert gone is not None
    assert back is not None
    assert (dead.gone_at, dead.staged) == (None, 1)
    assert (gone.gone_at is not None, gone.staged, gone.living) == (True, 0, False)
    assert (back.gone_at, back.living) == (None, True)


def test_only_the_long_silent_without_anything_are_forgotten(bench: Bench, register: ProcessStore) -> None:
    """A day after the last word the row goes, unless something of it is staged."""
    for name in ("new", "old", "old-with-answers"):
        register.register(name, role="bulk", host="h", key_ids=[])
    register.mark_gone("old-with-answers", staged=1)
    with bench.engine.begin() as connection:
        connection.execute(
            text("UPDATE processes SET seen_at = now() - interval '25 hours' WHERE id LIKE 'old%'")
        )

    assert register.forget() == 1

    assert {process.id for process in register.all()} == {"new", "old-with-answers"}


def test_who_is_forgotten_is_told_so(register: ProcessStore) -> None:
    """A report without a row writes nothing."""
    now = register.now()

    assert register.report("nobody", ProcessReport(now)) is None
    assert register.find("nobody") is None
