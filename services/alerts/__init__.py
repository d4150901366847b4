"""The alerts that the services raise: one cause each, in words for the person who is woken by it."""

from services.alerts.capacity import (
    CAPACITY,
    CAPACITY_CAUSE,
    RATE_TOO_LOW,
    capacity,
    rate_cause,
    rate_too_low,
)
from services.alerts.connecting import connect_cause, connect_refused, not_renewable, scope_shortfall
from services.alerts.connections import failing, needs_reauth, not_revoked, unreadable
from services.alerts.deployment import RESTORED_CAUSE, restored, signs_in_words
from services.alerts.endings import (
    GRANTS_NEAR_LIMIT,
    grants_near_limit,
    many_will_die,
    will_die,
    will_die_cause,
)
from services.alerts.providers import (
    NOT_CONFIGURED,
    named,
    not_configured,
    provider_cause,
    provider_held,
    wave,
    wave_cause,
)
from services.alerts.staging import (
    ANSWERS_UNSAFE,
    PROCESS_LOST,
    STAGED_REFUSED,
    STAGED_UNREADABLE,
    answers_unsafe,
    process_lost,
    staged_damaged,
    staged_refused,
    staged_unreadable,
)

__all__ = [
    "ANSWERS_UNSAFE",
    "CAPACITY",
    "CAPACITY_CAUSE",
    "GRANTS_NEAR_LIMIT",
    "NOT_CONFIGURED",
    "PROCESS_LOST",
    "RATE_TOO_LOW",
    "RESTORED_CAUSE",
    "STAGED_REFUSED",
    "STAGED_UNREADABLE",
    "answers_unsafe",
    "capacity",
    "connect_cause",
    "connect_refused",
    "failing",
    "grants_near_limit",
    "many_will_die",
    "named",
    "needs_reauth",
    "not_configured",
    "not_renewable",
    "not_revoked",
    "process_lost",
    "provider_cause",
    "provider_held",
    "rate_cause",
    "rate_too_low",
    "restored",
    "scope_shortfall",
    "signs_in_words",
    "staged_damaged",
    "staged_refused",
    "staged_unreadable",
    "unreadable",
    "wave",
    "wave_cause",
    "will_die",
    "will_die_cause",
]
