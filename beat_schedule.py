"""What beat ticks, and how often: names and seconds, nothing of ours is imported.

Beat only ticks. Two beats, or none for a while, do no harm: ticks that come together count as one. Their
messages carry no expiry on purpose: where clocks differ by more than it, no tick would be carried out.
"""

from typing import Final

#: The scheduling tasks mark what is due in Postgres and publish one message per token.
SECONDS_BETWEEN_REFRESH_TICKS: Final = 1.0
SECONDS_BETWEEN_HEALTH_TICKS: Final = 2.0
#: Housekeeping looks for connections whose provider cannot be called, and tells.
SECONDS_BETWEEN_HOUSEKEEPING: Final = 60.0
#: Tokens of disconnected grants that the provider has not taken back yet.
SECONDS_BETWEEN_REVOCATIONS: Final = 10.0
#: How soon the end of a wave of refusals is seen. Two small reads where nothing is refused.
SECONDS_BETWEEN_LOOKS_AT_INCIDENTS: Final = 10.0
#: How soon it is seen that workers do not keep up, or do so again. Two bounded reads.
SECONDS_BETWEEN_LOOKS_AT_CAPACITY: Final = 10.0
#: How soon it is told that a grant will die, days before, and taken back when the date has moved.
SECONDS_BETWEEN_FORECASTS: Final = 120.0

BEAT_SCHEDULE: Final = {
    "schedule-refreshes": {
        "task": "evergrant.schedule_refreshes",
        "schedule": SECONDS_BETWEEN_REFRESH_TICKS,
        "options": {"queue": "control"},
    },
    "schedule-checks": {
        "task": "evergrant.schedule_checks",
        "schedule": SECONDS_BETWEEN_HEALTH_TICKS,
        "options": {"queue": "control"},
    },
    "housekeeping": {
        "task": "evergrant.housekeeping",
        "schedule": SECONDS_BETWEEN_HOUSEKEEPING,
        "options": {"queue": "control"},
    },
    "process-revocations": {
        "task": "evergrant.process_revocations",
        "schedule": SECONDS_BETWEEN_REVOCATIONS,
        "options": {"queue": "control"},
    },
    "watch-incidents": {
        "task": "evergrant.watch_incidents",
        "schedule": SECONDS_BETWEEN_LOOKS_AT_INCIDENTS,
        "options": {"queue": "control"},
    },
    "watch-capacity": {
        "task": "evergrant.watch_capacity",
        "schedule": SECONDS_BETWEEN_LOOKS_AT_CAPACITY,
        "options": {"queue": "control"},
    },
    "forecast": {
        "task": "evergrant.forecast",
        "schedule": SECONDS_BETWEEN_FORECASTS,
        "options": {"queue": "control"},
    },
}
