"""The per-token tasks: refresh one token, check one token."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from celery import Task, shared_task

from domain.asks import Outcome
from domain.errors import ServiceUnavailable
from domain.health import CheckOutcome
from services.checks import CheckResult
from services.refresh import RefreshResult
from services.wiring import Services
from tasks.arguments import CheckArguments, RefreshArguments, WhichConnection, parse
from tasks.context import services_of
from tasks.names import CHECK_TOKEN, REFRESH_TOKEN

log = structlog.get_logger(__name__)

#: How long an on-demand task waits for an answer that another worker is about to bring: a provider's
#: deadline and a little.
PATIENCE: Final = timedelta(seconds=18)
#: `error.code` where Postgres was away; the row is taken up again by a later tick.
AWAY: Final = "database_unavailable"


@shared_task(bind=True, name=REFRESH_TOKEN)
def refresh_token(self: Task, **arguments: object) -> dict[str, object]:
    """Refresh one connection's token where it is due or asked for: `evergrant.refresh_token`."""
    given = parse(RefreshArguments, arguments)
    services = services_of(self)
    try:
        connection_id = _connection(services, given)
        if connection_id is None:
            return RefreshResult(Outcome.NOT_FOUND, None, code="not_found").as_json()
        if given.reason is not None:
            log.info("refresh_asked", connection_id=str(connection_id), reason=given.reason)
        return services.refresh.refresh(
            connection_id,
            given.ask,
            provider_id=given.provider_id if given.scheduled else None,
            tenant=given.tenant,
            patience=timedelta(0) if given.scheduled else PATIENCE,
        ).as_json()
    except ServiceUnavailable as error:
        log.warning("task_deferred", task=REFRESH_TOKEN, error=str(error))
        return RefreshResult(Outcome.DEFERRED, given.connection_id, code=AWAY).as_json()


@shared_task(bind=True, name=CHECK_TOKEN)
def check_token(self: Task, **arguments: object) -> dict[str, object]:
    """Check one connection's token at its provider: `evergrant.check_token`."""
    given = parse(CheckArguments, arguments)
    services = services_of(self)
    try:
        connection_id = _connection(services, given)
        if connection_id is None:
            return CheckResult(CheckOutcome.NOT_FOUND, None, code="not_found").as_json()
        return services.checks.check(connection_id, scheduled=given.scheduled).as_json()
    except ServiceUnavailable as error:
        log.warning("task_deferred", task=CHECK_TOKEN, error=str(error))
        return CheckResult(CheckOutcome.DEFERRED, given.connection_id, code=AWAY).as_json()


def _connection(services: Services, given: WhichConnection) -> UUID | None:
    if given.connection_id is not None:
        return given.connection_id
    if given.user_id is None or given.provider_id is None:
        raise AssertionError("unreachable: the arguments were validated")
    return services.tokens.find(given.user_id, given.provider_id, given.account_id)
