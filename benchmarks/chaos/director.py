"""Carries the schedule out, each fault in a thread of its own, and writes down what was done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

from benchmarks.chaos import wire_faults
from benchmarks.chaos.competing import Competing
from benchmarks.chaos.disk import SPOOL, SmallDisk
from benchmarks.chaos.plan import Strike
from benchmarks.chaos.record import Deed
from benchmarks.chaos.strikes import Skipped, Strikes
from benchmarks.chaos.world import World
from simulator.client import SimulatorError

#: How long a fault on the wire waits for requests.
WIRE_SECONDS: Final = 8.0
#: How much longer one stroke of it waits where none was met: on a slow machine, or in the middle of an outage
#: of ours, few requests are made in so many seconds, and a campaign that nothing strikes shows nothing.
LONGER_SECONDS: Final = 30.0

Act = Callable[[Strike, Random], dict[str, object]]


class Director:
    """Runs one campaign's schedule."""

    def __init__(self, world: World, disk: SmallDisk, say: Callable[[str], None]) -> None:
        self._world = world
        self._disk = disk
        self._say = say
        self._strikes = Strikes(world)
        self._competing = Competing(world)

    def run(self, schedule: Sequence[Strike]) -> tuple[float, float]:
        """Make every fault at its time; return from when until when that was, Unix time."""
        began, zero = time.time(), time.monotonic()
        threads = []
        for strike in schedule:
            time.sleep(max(0.0, zero + strike.at - time.monotonic()))
            thread = threading.Thread(target=self._make, args=(strike, zero), name=strike.kind, daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        self._world.simulator.client.clear_faults()
        return began, time.time()

    def _make(self, strike: Strike, zero: float) -> None:
        began = round(time.monotonic() - zero, 2)
        did: dict[str, object] = {}
        skipped = None
        try:
            did = self._act(strike.kind)(strike, Random(strike.dice))  # noqa: S311 - where a fault strikes, no secret
        except Skipped as reason:
            skipped = str(reason)
        except Exception as error:  # noqa: BLE001 - one fault that cannot be made must not end the campaign
            skipped = f"the harness failed: {error!r}"
        self._world.record.deed(Deed(strike.at, began, strike.kind, did, skipped))
        self._say(f"{began:7.1f}  {strike.kind:<26} {skipped or did}")

    def _act(self, kind: str) -> Act:
        if kind in wire_faults.KINDS:
            return self._wire_fault
        if kind == "disk_full":
            return self._disk_full
        made: Act | None = getattr(self._strikes, kind, None) or getattr(self._competing, kind, None)
        if made is None:
            raise Skipped("nobody knows how to make it")
        return made

    def _wire_fault(self, strike: Strike, dice: Random) -> dict[str, object]:
        client = self._world.simulator.client
        orders = wire_faults.orders(strike.kind, dice, sparing=self._world.dose.name == "short")
        queued: dict[str, list[int]] = {}
        try:
            for order in orders:
                fault = client.fault(**order)  # type: ignore[arg-type]  # the kind is a str
                queued[str(order["dialect"])] = [int(fault["fault_id"]), int(fault["remaining"])]
            # What nobody met by then is taken back: faults that pile up at a provider that is held back would
            # strike every one of its probes, and its outage would be as long as the queue.
            time.sleep(WIRE_SECONDS)
            unmet = self._unmet(queued)
            client.clear_faults(*(fault_id for fault_id, _ in queued.values()))
            did: dict[str, object] = {dialect: most for dialect, (_, most) in queued.items()}
            if unmet:
                did["once_more_at"] = self._stroke(wire_faults.one_stroke(strike.kind, dice))
        except SimulatorError as error:
            raise Skipped(str(error)) from error
        return did

    def _unmet(self, queued: Mapping[str, list[int]]) -> bool:
        """Say whether no request has met any of these faults."""
        waiting = self._waiting()
        return all(waiting.get(fault_id) == most for fault_id, most in queued.values())

    def _stroke(self, order: Mapping[str, object]) -> object:
        """Queue one stroke until a request meets it, or for `LONGER_SECONDS`; give where."""
        client = self._world.simulator.client
        fault = client.fault(**order)  # type: ignore[arg-type]  # the kind is a str
        fault_id = int(fault["fault_id"])
        until = time.monotonic() + LONGER_SECONDS
        while fault_id in self._waiting() and time.monotonic() < until:
            time.sleep(0.5)
        client.clear_faults(fault_id)
        return order["dialect"]

    def _waiting(self) -> dict[int, int]:
        """Return how many strokes of each fault wait at the simulator, by its id."""
        listed = self._world.simulator.client.faults()
        return {int(fault["fault_id"]): int(fault["remaining"]) for fault in listed}

    def _disk_full(self, strike: Strike, dice: Random) -> dict[str, object]:
        """Fill the spool's disk while Postgres is away."""
        with self._world.record.away(SPOOL, strike.kind), self._disk.full():
            return self._strikes.kill_postgres(strike, dice)
