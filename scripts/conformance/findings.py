"""What a conformance run finds: lies of a definition, gaps of a transcript."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: The source of what follows from the definition and the RFCs alone.
ITSELF: Final = "the definition itself"


@dataclass(frozen=True, slots=True)
class Lie:
    """One thing that the definition says otherwise than the provider does.

    Attributes:
        exchange: Name of the transcript's exchange, or what was tried of the definition's own.
        provider: What the provider insists on, or answers; to be read after "the provider".
        definition: What the definition makes of it; to be read after "the definition".
        mend: Key of the definition.
        source: The page that shows it.
    """

    exchange: str
    provider: str
    definition: str
    mend: str
    source: str


@dataclass(slots=True)
class Report:
    """What came of one provider.

    Attributes:
        played: Exchanges of its transcript; 0 where it has none.
        documented: How many of these are on the provider's own pages.
        own: Calls that follow from the definition alone.
        gaps: What a whole transcript would show and this one does not.
    """

    provider_id: str
    has_transcript: bool = False
    played: int = 0
    documented: int = 0
    own: int = 0
    lies: list[Lie] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    @property
    def conforms(self) -> bool:
        """Whether nothing was found to be otherwise; gaps are no lies."""
        return not self.lies
