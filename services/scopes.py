"""Scopes: to what a breaker, a verdict hold, a share and a rate belong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Call(StrEnum):
    """What is called in a scope."""

    TOKEN = "token"  # noqa: S105 - an endpoint's name
    CHECK = "check"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Scope:
    """One client id at one endpoint, for one of the provider's tenants.

    Two definitions that share an app at one endpoint share their trouble there, and so the key. Their shares
    and rates are each definition's own, and the same for all of its tenants.

    Attributes:
        key: Names the scope to the other workers; holds no secret.
        pace: Names the share and the rate to the other workers.
        max_concurrency: Calls this process may have under way at most; None: as `domain.share` has it.
        max_per_second: Calls all workers together may begin; None: unbounded.
        max_per_second_of_account: Calls they may begin for one account; None: unbounded.
        account: Names the count of the account that is called for, and does not quote it; None: nobody's.
        tenant: None: the provider has no tenants, or the grant belongs to none of them.
        whole: Names what all tenants share; None: the provider has no tenants.
        call: What is called: refreshes, health checks and revocations have breakers and rates of their own.
    """

    key: str
    pace: str
    provider_id: str
    display_name: str
    max_concurrency: int | None = None
    max_per_second: float | None = None
    max_per_second_of_account: float | None = None
    account: str | None = None
    tenant: str | None = None
    whole: str | None = None
    call: Call = Call.TOKEN

    def of(self, tenant: str | None) -> Scope:
        """Return the scope of one tenant, from the one of those without."""
        return self if tenant is None else replace(self, key=f"{self.key}|{tenant}", tenant=tenant)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the breakers that a call is under: its own, and where there are tenants that of all."""
        return (self.key,) if self.whole is None else (self.key, self.whole)

    @property
    def everybody(self) -> Scope | None:
        """The scope of what stops all tenants alike, such as a dead endpoint; None without tenants."""
        if self.whole is None:
            return None
        name = f"{self.display_name} (all tenants)"
        return replace(self, key=self.whole, whole=None, tenant=None, display_name=name)

    def tenant_of(self, key: str) -> str | None:
        """Return the tenant whose key this is, seen from the scope of those without; None if it is none's."""
        prefix = f"{self.key}|"
        return key.removeprefix(prefix) if key.startswith(prefix) else None
