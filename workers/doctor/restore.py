"""The doctor's look at restores: is the database the one that it was, and how old are the marks outside?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from services.alerts import signs_in_words
from services.restore.findings import find
from services.restore.marks import OutsideMarks
from storage.deployment import DeploymentStore
from storage.engine import Engine
from workers.doctor.finding import Finding, fail, ok, warn

#: Living workers renew a mark every fifteen seconds.
STALE: Final = timedelta(minutes=1)


def examine_restore(engine: Engine, outside: OutsideMarks) -> Iterator[Finding]:
    """Say whether the database looks like a restored backup, and how high the marks are."""
    findings = find(DeploymentStore(engine), outside)
    if findings.restored:
        since = findings.present.guarded_since
        found = "" if since is None else f", found by the workers at {since:%Y-%m-%d %H:%M:%SZ}"
        yield fail(
            "restore guard",
            f"the database looks like a restored backup ({signs_in_words(findings.signs)}){found}; nothing "
            "is presented to providers that rotate tokens",
            "run `evergrant doctor --after-restore`",
        )
    else:
        yield ok("restore guard", "the database goes on where it left off")
    for place, mark in sorted(findings.marks.items()):
        age = findings.present.now - mark.at
        words = f"{place}: line {mark.line}, {max(0.0, age.total_seconds()):.0f} s old"
        if age > STALE:
            yield warn("high-water mark", words, "fine while no worker runs; else look for mark_unreachable")
        else:
            yield ok("high-water mark", words)
    if not findings.marks:
        yield warn(
            "high-water mark",
            "there is none, in the data folder or in Redis",
            "fine before the first start of a worker; without one only another server, timeline or database "
            "is noticed",
        )
