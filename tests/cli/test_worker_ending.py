"""How `evergrant worker` ends when Celery's worker does."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest
from celery import signals

from domain.errors import EvergrantError
from services.settings import Settings
from workers import heartbeat
from workers.cli import session, worker


@pytest.fixture
def closing(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """The services of a worker that has no servers."""
    services = MagicMock()
    monkeypatch.setattr(session, "load", lambda: (Settings(), MagicMock()))
    monkeypatch.setattr(worker, "wire", lambda *_, **__: services)
    monkeypatch.setattr(worker, "attach", lambda *_: None)
    monkeypatch.setattr(heartbeat, "use_in_worker", lambda *_: None)
    # Celery's signals belong to the process: what is connected here must not outlive the test.
    monkeypatch.setattr(signals.worker_shutdown, "receivers", [])
    return services


@pytest.mark.parametrize(("exit_code", "failed"), [(None, False), (0, False), (1, True)])
def test_a_worker_that_broke_down_is_no_success(
    monkeypatch: pytest.MonkeyPatch, closing: MagicMock, exit_code: int | None, failed: bool
) -> None:
    """Celery swallows what broke its worker and returns; a service manager must see a failure."""
    ended = MagicMock(exitcode=exit_code)
    app = MagicMock(worker_main=lambda _: signals.worker_shutdown.send(sender=ended))
    monkeypatch.setattr(worker, "make_app", lambda *_: app)

    if failed:
        with pytest.raises(EvergrantError, match="bulk broke down"):
            worker.worker(name="bulk")
    else:
        worker.worker(name="bulk")
    closing.close.assert_called_once()
