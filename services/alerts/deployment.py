"""Alerts about the deployment as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from domain.restore import Sign
from storage.alerts import AlertSpec

#: The one incident of a database that was put back to an older state.
RESTORED_CAUSE: Final = "deployment:restored"
_SIGNS: Final = {
    Sign.OTHER_IDENTITY: "it is another server, timeline or database than the one that was last accepted",
    Sign.LINES_MISSING: "activity is missing that was seen before",
    Sign.WAL_MISSING: "its write-ahead log ends before where it was seen to be",
    Sign.DECLARED: "an operator says so",
}


def signs_in_words(signs: Sequence[str]) -> str:
    """Return the signs of a restore in a sentence's words."""
    return "; ".join(_SIGNS[Sign(sign)] for sign in signs)


def restored(found: Mapping[str, object]) -> AlertSpec:
    """The database looks like a restored backup: what rotates is not presented until somebody answers."""
    signs = [str(sign) for sign in cast("list[object]", found["signs"])]
    return AlertSpec(
        cause=RESTORED_CAUSE,
        kind="restored",
        severity="critical",
        title="The database looks like a restored backup; providers that rotate tokens are not refreshed",
        help=f"What was found: {signs_in_words(signs)}. The refresh tokens of a backup have been spent "
        "since, and presenting them can kill grants that live. Nothing is presented to rotating providers "
        "until you run `evergrant doctor --after-restore`, which says what it found and what it will do. All "
        "other providers go on. If the database was put back by mistake, stop the workers and bring the "
        "newer one back first.",
        provider_id=None,
        connection_id=None,
        detail=dict(found),
    )
