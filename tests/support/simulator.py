"""The provider simulator as a fixture: one real process a session, wiped clean before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulator.process import SimulatorProcess


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[SimulatorProcess]:
    """A simulator that runs until the end of the session. Settings and faults of other tests may linger."""
    with SimulatorProcess(control_token="control-token-of-the-tests") as process:
        yield process


@pytest.fixture
def simulator(simulator_process: SimulatorProcess) -> SimulatorProcess:
    """The session's simulator with documented settings, no faults and all counts at zero."""
    client = simulator_process.client
    client.clear_faults()
    client.restore_settings()
    client.reset_counters()
    return simulator_process
