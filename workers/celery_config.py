"""Celery's settings, each with its reason. The broker carries ids; Postgres alone is the truth."""

from __future__ import annotations

from kombu.entity import Queue

from beat_schedule import BEAT_SCHEDULE
from services.wiring import Servers
from tasks.names import (  # fmt: skip
    CHECK_TOKEN,
    CONTROL,
    HOUSEKEEPING,
    ON_DEMAND,
    PROCESS_REVOCATIONS,
    QUEUES,
    REFRESH_TOKEN,
    SCHEDULE_CHECKS,
    SCHEDULE_REFRESHES,
    WATCH_CAPACITY,
    WATCH_INCIDENTS,
)

#: Longer than the longest task (an on-demand caller's patience and a deadline), shorter than patience with a
#: lost worker. A message that is delivered twice is harmless: the second worker finds the lease taken.
VISIBILITY_TIMEOUT = 300


def celery_settings(servers: Servers) -> dict[str, object]:
    """Return the settings of every Celery process: workers, beat, Flower, and whoever sends tasks."""
    url = servers.redis_url.get_secret_value()
    transport = {
        # Unacknowledged messages come back after this. It must be the same wherever the broker is opened.
        "visibility_timeout": VISIBILITY_TIMEOUT,
        # Without these the sweep for lost messages runs about every 100 seconds.
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        # A hung Redis would otherwise block a publisher for ever.
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        # Finds connections that died without a word.
        "health_check_interval": 10,
    }
    return {
        "broker_url": url,
        "broker_transport_options": transport,
        # Redis being slow to start, or away for an hour, is weather: workers wait for it as long as it takes.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A publisher that cannot have a connection says so instead of waiting without end.
        "broker_pool_acquire_timeout": 10,
        # Results are read only by callers who ask for them (`ignore_result=False`), and soon.
        "result_backend": url,
        "result_backend_transport_options": transport,
        "result_expires": 600,
        "task_ignore_result": True,
        # Arguments would be stored a second time, for longer.
        "result_extended": False,
        # JSON alone: a message can name a task, but never make a worker run code of its own.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Acknowledged when done: a killed worker's messages come back. The lease makes repeats harmless.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A worker takes what its threads can begin now; the order stays where it is decided, in Postgres.
        # Bulk workers take a little more (`workers.cli.worker`).
        "worker_prefetch_multiplier": 1,
        # Cancelling a refresh on a broker hiccup could lose an answer that is already on its way.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # No task of ours carries an ETA; one that does, from elsewhere, cannot fill a worker's memory.
        "worker_eta_task_limit": 1000,
        # Threads: the work is waiting for HTTP and Postgres, and answers must not die with a killed child.
        "worker_pool": "threads",
        # What Flower lives on. The sent event would double the traffic and says nothing new.
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        # The process writes structured logs of its own.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "task_queues": [Queue(name) for name in QUEUES],  # type: ignore[no-untyped-call]  # kombu has no types
        "task_default_queue": ON_DEMAND,
        # A misspelt queue is an error at the sender and not a queue that nobody reads.
        "task_create_missing_queues": False,
        "task_routes": {
            REFRESH_TOKEN: {"queue": ON_DEMAND},
            CHECK_TOKEN: {"queue": ON_DEMAND},
            SCHEDULE_REFRESHES: {"queue": CONTROL},
            SCHEDULE_CHECKS: {"queue": CONTROL},
            HOUSEKEEPING: {"queue": CONTROL},
            PROCESS_REVOCATIONS: {"queue": CONTROL},
            WATCH_INCIDENTS: {"queue": CONTROL},
            WATCH_CAPACITY: {"queue": CONTROL},
        },
        "imports": ["tasks.tokens", "tasks.control", "workers.remote_control"],
        "timezone": "UTC",
        "enable_utc": True,
        "beat_schedule": BEAT_SCHEDULE,
        # The schedule is intervals of seconds: remembering it over a restart would only need a file.
        "beat_scheduler": "workers.heartbeat:BeatingScheduler",
        "beat_max_loop_interval": 1,
    }
