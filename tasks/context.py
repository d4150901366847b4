"""What a task finds on its app: the services that the process was wired with."""

from __future__ import annotations

from typing import cast

from celery import Celery, Task

from services.wiring import Services


def attach(app: Celery, services: Services) -> None:
    """Give the app's tasks their services. Called once, when the worker process boots."""
    app.evergrant_services = services


def services_of(task: Task) -> Services:
    """Return the services of the process that runs the task."""
    return cast("Services", task.app.evergrant_services)
