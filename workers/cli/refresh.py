"""`evergrant refresh`: ask for a refresh, as any other service would."""

from __future__ import annotations

import json as json_codec
from typing import Annotated
from uuid import UUID

import typer
from celery.exceptions import TimeoutError as ResultTimeout
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from domain.errors import EvergrantError, ServiceUnavailable
from tasks.names import ON_DEMAND, REFRESH_TOKEN
from workers.celery_app import make_app
from workers.cli import session
from workers.cli.app_maker import single
from workers.cli.output import stdout

#: An on-demand task's patience, a deadline, and the queue.
WAIT_SECONDS = 45
_GOOD = frozenset({"refreshed", "fresh"})


def refresh(
    connection_id: Annotated[UUID, typer.Argument(help="The connection's id.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcome and print it.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Refresh even though the token is fresh.")] = False,
) -> None:
    """Ask a worker to refresh a connection's token.

    With --wait the exit status is 0 only if there is a fresh token afterwards.
    """
    settings, servers = session.load()
    app = make_app(settings, servers)
    try:
        result = app.send_task(
            REFRESH_TOKEN,
            kwargs={"connection_id": str(connection_id), "force": force, "reason": "command line"},
            queue=ON_DEMAND,
            ignore_result=not wait,
        )
        if not wait:
            stdout.print(f"sent {result.id}")
            return
        outcome = result.get(timeout=WAIT_SECONDS)
    except (OperationalError, RedisError) as error:
        raise ServiceUnavailable(
            f"Redis does not take the task ({type(error).__name__}); check EVERGRANT_REDIS_URL, or start "
            "`evergrant up`"
        ) from None
    except ResultTimeout:
        raise EvergrantError(
            f"no worker answered within {WAIT_SECONDS} s; the task stays queued. Is a worker for the queue "
            f"{ON_DEMAND!r} running?"
        ) from None
    typer.echo(json_codec.dumps(outcome))
    if outcome["outcome"] not in _GOOD:
        raise typer.Exit(code=1)


app = single(refresh)
