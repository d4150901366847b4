"""The names of tasks and queues that other services, beat and the command line use."""

from __future__ import annotations

from typing import Final

REFRESH_TOKEN: Final = "evergrant.refresh_token"  # noqa: S105 - a task's name
CHECK_TOKEN: Final = "evergrant.check_token"  # noqa: S105 - a task's name
SCHEDULE_REFRESHES: Final = "evergrant.schedule_refreshes"
SCHEDULE_CHECKS: Final = "evergrant.schedule_checks"
HOUSEKEEPING: Final = "evergrant.housekeeping"
PROCESS_REVOCATIONS: Final = "evergrant.process_revocations"
WATCH_INCIDENTS: Final = "evergrant.watch_incidents"
WATCH_CAPACITY: Final = "evergrant.watch_capacity"
FORECAST: Final = "evergrant.forecast"

#: Bulk queues, filled by the scheduler alone.
REFRESH: Final = "refresh"
HEALTH: Final = "health"
#: What a caller waits for; its workers take nothing from the bulk queues.
ON_DEMAND: Final = "on_demand"
#: Beat's ticks.
CONTROL: Final = "control"

QUEUES: Final = (REFRESH, HEALTH, ON_DEMAND, CONTROL)
BULK_QUEUES: Final = (REFRESH, HEALTH)
INTERACTIVE_QUEUES: Final = (ON_DEMAND, CONTROL)
