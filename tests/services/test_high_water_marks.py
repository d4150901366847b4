"""The marks outside the database: merged by their maximum, in two places of which either may be silent."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr
from redis import Redis

from services.restore.marks import FILE, MarkFile, MarkInRedis
from tests.services.restoring import another_process, grown_old, put_rows_back, withheld
from tests.services.world import World

pytestmark = pytest.mark.servers


def test_marks_are_merged_by_their_maximum(world: World) -> None:
    """A process that is behind in its looking lowers neither place, and nobody else can read the file."""
    _, worker = grown_old(world)
    worker.watch.stop()
    file, shared = MarkFile(world.data_dir / FILE), MarkInRedis(SecretStr(world.redis_url))
    for place in (file, shared):
        mark = place.read()
        assert mark is not None
        place.write(replace(mark, line=mark.line - 1, lsn=0, at=mark.at - timedelta(hours=1)))
        assert place.read() == mark
        place.write(replace(mark, line=mark.line + 7))
        assert place.read() == replace(mark, line=mark.line + 7)
    shared.close()
    mode = (world.data_dir / FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_spoilt_mark_says_nothing_and_is_written_anew(world: World) -> None:
    """The other place still speaks; the next mark replaces what cannot be read."""
    connected, worker = grown_old(world)
    file = world.data_dir / FILE
    worker.watch.stop()
    file.write_text("not a mark")

    assert not withheld(world, world.connect("strict"), another_process(world))
    assert MarkFile(file).read() is not None
    put_rows_back(world)
    file.write_text("not a mark")
    assert withheld(world, connected, world.wire())


def test_a_redis_that_is_away_still_says_what_it_said(world: World, closed_url: str) -> None:
    """It is left alone for a while, and its last word counts; a process that never heard it goes without."""
    _, worker = grown_old(world)
    worker.watch.stop()
    outside, mark = worker.outside, worker.guard.own
    assert mark is not None
    known = outside.read()
    nowhere = closed_url.replace("http", "redis")
    outside._redis._client.close()
    outside._redis._client = Redis.from_url(nowhere)

    assert len(known) == 2
    assert outside.read() == known
    assert not outside.write(mark)
    assert list(world.wire(redis_url=nowhere).outside.read()) == [str(world.data_dir / FILE)]
