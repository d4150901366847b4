"""The per-token tasks: refresh one token, check one token."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from celery import Task, shared_task, states

from domain.asks import Outcome
from domain.errors import ServiceUnavailable
from domain.health import CheckOutcome
from services.checks import CheckResult
from services.refresh import RefreshResult
from services.refresh.together import Told
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
def refresh_token(self: Task, **arguments: object) -> dict[str, object] | None:
    """Refresh one connection's token where it is due or asked for: `evergrant.refresh_token`."""
    given = parse(RefreshArguments, arguments)
    services = services_of(self)
    try:
        connection_id = _connection(services, given)
        if connection_id is None:
            return RefreshResult(Outcome.NOT_FOUND, None, code="not_found").as_json()
        if given.reason is not None:
            log.info("refresh_asked", connection_id=str(connection_id), reason=given.reason)
        if given.scheduled:
            return services.refresh.refresh(
                connection_id, given.ask, provider_id=given.provider_id, tenant=given.tenant
            ).as_json()
        return _on_demand(self, services, connection_id, given)
    except ServiceUnavailable as error:
        log.warning("task_deferred", task=REFRESH_TOKEN, error=str(error))
        return _away(given.connection_id)


def _on_demand(
    task: Task, services: Services, connection_id: UUID, given: RefreshArguments
) -> dict[str, object] | None:
    """Refresh for a caller. Of many who want the same one has a thread; the others' tasks end here with None,
    and their results are stored when they are there.
    """
    request = task.request
    task_id, nobody_listens = request.id, request.ignore_result
    if request.callbacks or request.errbacks or request.chain or request.chord:
        # What Celery does after a task it does only for one that ends with its result.
        return services.refresh.refresh(connection_id, given.ask, patience=PATIENCE).as_json()

    def then(told: Told) -> None:
        result = told.as_json() if isinstance(told, RefreshResult) else _away(connection_id)
        if not nobody_listens:
            task.backend.store_result(task_id, result, states.SUCCESS)

    result = services.refresh.refresh_or_hear(connection_id, given.ask, patience=PATIENCE, then=then)
    if result is None:
        # What this returns is no result: Celery is to store none.
        request.ignore_result = True
        return None
    return result.as_json()


def _away(connection_id: UUID | None) -> dict[str, object]:
    return RefreshResult(Outcome.DEFERRED, connection_id, code=AWAY).as_json()


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
