"""The Celery application of this deployment."""

from __future__ import annotations

from celery import Celery, signals

from services.settings import Settings
from services.wiring import Servers
from workers import logs
from workers.broker.transport import BatchingAMQP
from workers.celery_config import celery_settings
from workers.impatient_events import ImpatientEvents


def bare_app(name: str, servers: Servers) -> Celery:
    """Return an app with this deployment's settings, transport and events, and without tasks.

    Its `imports` name them; they come with `loader.import_default_modules`, and in a worker by themselves.
    """
    app = Celery(name, amqp=BatchingAMQP, events=ImpatientEvents, set_as_current=True)
    app.conf.update(celery_settings(servers))
    return app


def make_app(settings: Settings, servers: Servers) -> Celery:
    """Return the app with its settings and tasks; nothing is connected yet."""
    # Celery configures logging of its own unless somebody takes the signal.
    signals.setup_logging.connect(_keep_our_logs, weak=False)
    logs.configure(settings)
    app = bare_app("evergrant", servers)
    app.loader.import_default_modules()
    return app


def _keep_our_logs(**_: object) -> None:
    """Leave logging as `workers.logs` set it up."""
