"""Groups: whose grants share a scope, as statements ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Group:
    """Whose grants share a scope, and so a verdict hold.

    Attributes:
        scope: The scope's key.
        provider_id: One of the group's providers, for the words about it.
        whole: Providers all of whose grants belong to it.
        tenanted: Providers of whose grants those of `tenant` belong to it.
        tenant: None with `tenanted`: the grants of no tenant.
    """

    scope: str
    provider_id: str
    whole: tuple[str, ...] = ()
    tenanted: tuple[str, ...] = ()
    tenant: str | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """What statements with `MEMBER` in them expect."""
        return {
            "providers": [*self.whole, *self.tenanted],
            "whole": list(self.whole),
            "tenanted": list(self.tenanted),
            "tenant": self.tenant,
        }


#: Whether the row `t` of `tokens` belongs to the group. The first condition is there for the indexes.
MEMBER: Final = """
        t.provider_id = ANY (CAST(:providers AS text[]))
    AND (t.provider_id = ANY (CAST(:whole AS text[]))
         OR t.provider_id = ANY (CAST(:tenanted AS text[]))
            AND t.tenant IS NOT DISTINCT FROM CAST(:tenant AS text))
"""
