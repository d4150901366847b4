"""`evergrant beat`: the ticks."""

from __future__ import annotations

from workers.celery_app import make_app
from workers.cli import session
from workers.cli.app_maker import single
from workers.embedded.layout import DataFolder
from workers.signs_of_life import heartbeat_file


def beat() -> None:
    """Run beat, which ticks the scheduling tasks; a second one does no harm."""
    settings, servers = session.load()
    app = make_app(settings, servers)
    app.conf.evergrant_beat_heartbeat = str(heartbeat_file(DataFolder(settings.data_dir), "beat"))
    # No pid file: the supervisor or the container knows the process, and a stale one would stop the next.
    app.start(["beat", "--loglevel", settings.log_level, "--pidfile", ""])


app = single(beat)
