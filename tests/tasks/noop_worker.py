"""A worker whose tasks do next to nothing, with this project's settings and event pacing; run as a module."""

from __future__ import annotations

import os
import time

from celery import Celery
from pydantic import SecretStr

from services.wiring import Servers
from workers import paced_events
from workers.celery_app import bare_app

QUEUE = "on_demand"


def make_app(redis_url: str) -> Celery:
    """The app that both the worker and the test use."""
    nowhere = SecretStr("postgresql://u:p@127.0.0.1/d")
    app = bare_app("noop", Servers(nowhere, SecretStr(redis_url), SecretStr("k")))
    app.conf.imports = []

    def wait(seconds: float) -> None:
        time.sleep(seconds)

    app.task(name="noop.wait")(wait)
    return app


if __name__ == "__main__":
    made = make_app(os.environ["NOOP_REDIS_URL"])
    paced_events.use_in_worker(made)
    made.worker_main(
        ["worker", "-Q", QUEUE, "-n", "noop@%h", "-c", "4", "--without-gossip", "--without-mingle",
         "--loglevel", "WARNING"]
    )  # fmt: skip
