"""What can be taken out of the protocol, to see that the search finds it missing."""

from __future__ import annotations

from enum import StrEnum


class Mutant(StrEnum):
    """One safeguard less. Each is a single condition of the model.

    The search finds the common ones in seconds; for the rest `test_interleavings.py` holds the moves.
    """

    NO_VERSION_FENCE = "an answer lands whatever the version has become"
    NO_DEATH_FENCE = "a refusal is written although the row has moved on from the refused attempt"
    NO_LEASE_CHECK = "sent without a look at the lease"
    UNRESOLVED_IS_CLAIMED = "a lapsed lease is claimed plainly, its presentation unresolved"
    NO_GRANT_FENCE = "an answer of another grant is taken for one of this grant"
    WALL_CLOCK = "the lease is compared with the machine's own wall clock"
    RIVALS_IGNORED = "what has landed is presented while another presentation may be under way"
    RECOVERY_AS_FOUND = "a doubt is claimed whosever it has become since it was read"
    SETTLED_FROM_CLAIM = "a silent worker is taken to have sent at the moment of its claim"
    NO_SETTLING = "an unanswered presentation is repeated while the provider may be working on it"
