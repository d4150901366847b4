"""Beat's ticks: schedule what is due, keep house, revoke what was disconnected, watch incidents and
capacity, forecast what will die."""

from __future__ import annotations

import structlog
from celery import Task, shared_task
from kombu.exceptions import OperationalError

from domain.errors import ServiceUnavailable
from services.scheduling import Work
from tasks.bulk import BulkQueue
from tasks.context import services_of
from tasks.names import (
    FORECAST,
    HOUSEKEEPING,
    PROCESS_REVOCATIONS,
    SCHEDULE_CHECKS,
    SCHEDULE_REFRESHES,
    WATCH_CAPACITY,
    WATCH_INCIDENTS,
)

log = structlog.get_logger(__name__)


@shared_task(bind=True, name=SCHEDULE_REFRESHES)
def schedule_refreshes(self: Task) -> int:
    """Publish the refreshes that are due, as many as the queue should hold. Returns how many."""
    return _tick(self, Work.REFRESH)


@shared_task(bind=True, name=SCHEDULE_CHECKS)
def schedule_checks(self: Task) -> int:
    """Publish the health checks that are due, as many as the queue should hold. Returns how many."""
    return _tick(self, Work.HEALTH)


@shared_task(bind=True, name=HOUSEKEEPING)
def housekeeping(self: Task) -> None:
    """Tell of connections whose provider cannot be called; take it back when it can."""
    try:
        services_of(self).housekeeping.run()
    except ServiceUnavailable as error:
        log.warning("tick_skipped", task=HOUSEKEEPING, error=str(error))


@shared_task(bind=True, name=PROCESS_REVOCATIONS)
def process_revocations(self: Task) -> int:
    """Revoke what waits in the outbox and is due. Returns how many revocations are done with."""
    try:
        return services_of(self).revocations.drain()
    except ServiceUnavailable as error:
        log.warning("tick_skipped", task=PROCESS_REVOCATIONS, error=str(error))
        return 0


@shared_task(bind=True, name=WATCH_INCIDENTS)
def watch_incidents(self: Task) -> None:
    """See whether a wave of refusals has begun or is over."""
    try:
        services_of(self).incidents.watch()
    except ServiceUnavailable as error:
        log.warning("tick_skipped", task=WATCH_INCIDENTS, error=str(error))


@shared_task(bind=True, name=WATCH_CAPACITY)
def watch_capacity(self: Task) -> str | None:
    """See whether workers keep up with what becomes due. Returns how it stands."""
    try:
        return str(services_of(self).capacity.watch())
    except ServiceUnavailable as error:
        log.warning("tick_skipped", task=WATCH_CAPACITY, error=str(error))
        return None


@shared_task(bind=True, name=FORECAST)
def forecast(self: Task) -> int | None:
    """Tell of grants that will die, and take back what will not. Returns how many will."""
    try:
        return services_of(self).forecast.look()
    except ServiceUnavailable as error:
        log.warning("tick_skipped", task=FORECAST, error=str(error))
        return None


def _tick(task: Task, work: Work) -> int:
    try:
        return services_of(task).scheduler.tick(work, BulkQueue(task.app, work)).published
    except (ServiceUnavailable, OperationalError) as error:
        # The next tick does what this one could not: what is due stays due.
        log.warning("tick_skipped", work=str(work), error=type(error).__name__)
        return 0
