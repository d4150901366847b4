"""What a worker tells over Celery's remote control, beyond what Celery itself tells."""

from __future__ import annotations

from typing import Any, Final, cast

from celery.worker.control import inspect_command

from services.wiring import Services

CALLABLE_PROVIDERS: Final = "evergrant_callable_providers"


@inspect_command(name=CALLABLE_PROVIDERS, alias=None)
def callable_providers(state: Any) -> list[str]:  # noqa: ANN401 - Celery publishes no types
    """Return the ids of the providers that this worker can call as it was started."""
    services = cast("Services", state.app.evergrant_services)
    return sorted(ready.definition.id for ready in services.desk.callable_providers())
