"""How each fault against our own processes and servers is made. A strike returns what it did."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from random import Random
from typing import Final, TypeVar

import psycopg
import redis

from benchmarks.chaos.asking import ask
from benchmarks.chaos.plan import Strike
from benchmarks.chaos.processes import Single, Supervised, age_of, families, is_stopped, kill_group
from benchmarks.chaos.wire_faults import DIALECTS
from benchmarks.chaos.world import World

Target = TypeVar("Target", Single, Supervised, Single | Supervised)

#: A kill waits this long for something to be under way, and is made anyway then.
_MOMENT_SECONDS: Final = 1.0
#: A process older than this has loaded everything.
LOADED_SECONDS: Final = 6.0
#: How slow a provider is made for a moment.
SLOW_MS: Final = 2000
#: So many calls under way are enough to lose something.
CROWD: Final = 6


class Skipped(Exception):
    """This fault cannot be made now; the text says why."""


class Strikes:
    """Makes faults; each call is in a thread of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopped: set[str] = set()
        self._lock = threading.Lock()

    def _pick(self, dice: Random, targets: Sequence[Target], *, age: float = 0.0) -> tuple[Target, int]:
        """Draw one of those that run, have run for so many seconds, and are not stopped."""
        alive = [
            (target, pid)
            for target in targets
            if (pid := target.pid) and target.name not in self._stopped and age_of(pid) >= age
        ]
        if not alive:
            raise Skipped("none of the processes was alive")
        return dice.choice(alive)

    # Workers.

    def kill_worker(self, strike: Strike, dice: Random) -> dict[str, object]:
        """SIGKILL one worker while something is under way at a provider."""
        target, pid = self._pick(dice, self._world.workers)
        self._await_presentations()
        self._world.record.kill(target.sort, target.name, strike.kind)
        kill_group(pid)
        return {"target": target.name}

    def _await_presentations(self) -> None:
        report = self._world.simulator.client.report
        self._world.await_true(lambda: int(report()["total"]["under_way"]) > 0, _MOMENT_SECONDS, pause=0.005)

    def kill_supervisor(self, strike: Strike, _dice: Random) -> dict[str, object]:
        """SIGKILL `evergrant up` with all its children, all at once."""
        pid = self._world.supervisor.pid
        if pid is None:
            raise Skipped("it was not running")
        names = {child.pid: child for child in self._world.children}
        members = families(pid)
        self._await_presentations()
        self._world.record.kill("supervisor", "supervisor", strike.kind)
        for member in members:
            child = names.get(member.pid)
            if child is not None:
                self._world.record.kill(child.sort, child.name, strike.kind)
            with contextlib.suppress(Exception):  # psutil: it was faster
                member.kill()
        return {"processes": len(members)}

    def terminate_worker(self, strike: Strike, dice: Random) -> dict[str, object]:
        """SIGTERM a worker under load, and see how it ends."""
        # A process that still loads has not installed its handler, and ends as any program does.
        target, _ = self._pick(dice, self._world.singles, age=LOADED_SECONDS)
        self._await_presentations()
        return {"target": target.name, **target.end(self._world.record, strike.kind)}

    def stop_worker(self, strike: Strike, dice: Random) -> dict[str, object]:
        """SIGSTOP a worker past its lease, and let it go on."""
        target, pid = self._pick(dice, self._world.workers, age=LOADED_SECONDS)
        with self._lock:
            self._stopped.add(target.name)
        try:
            self._await_presentations()
            with self._world.record.stopped(target.name, strike.kind):
                os.kill(pid, signal.SIGSTOP)
                time.sleep(float(str(strike.options["seconds"])))
                if target.pid == pid and is_stopped(pid):
                    os.kill(pid, signal.SIGCONT)
        finally:
            with self._lock:
                self._stopped.discard(target.name)
        return {"target": target.name, "seconds": strike.options["seconds"]}

    # Servers.

    def kill_postgres(self, strike: Strike, _dice: Random) -> dict[str, object]:
        """SIGKILL Postgres with all its sessions just after the provider answered."""
        return self._kill_postgres(strike)

    def _kill_postgres(
        self, strike: Strike, *, least: float = 0.0, at_once: bool = False
    ) -> dict[str, object]:
        if not at_once:
            self.await_answer()
        away = max(least, float(str(strike.options["away"])))
        refused = self._world.servers.postgres.kill(away, strike.kind)
        if refused is not None:
            raise Skipped(refused)
        return {"away": away}

    def await_answer(self) -> None:
        """Return right after the provider wrote an answer out."""
        report = self._world.simulator.client.report
        before = int(report()["total"]["answered"])
        self._world.await_true(lambda: int(report()["total"]["answered"]) > before, 2.0, pause=0.002)

    def kill_postgres_and_worker(self, strike: Strike, dice: Random) -> dict[str, object]:
        """SIGKILL Postgres while calls are under way, and then the workers that got their answers."""
        away = float(str(strike.options["away"]))
        killed: list[str] = []

        def kill() -> None:
            for target in self._world.workers:
                pid = target.pid
                if pid and target.name not in self._stopped:
                    self._world.record.kill(target.sort, target.name, strike.kind)
                    kill_group(pid)
                    killed.append(target.name)

        under_way = self._crowd(dice)
        # The answers come within the slowness, and find no Postgres.
        second = threading.Timer(SLOW_MS / 1000 + away / 2, kill)
        second.start()
        try:
            done = self._kill_postgres(strike, least=SLOW_MS / 1000 + away, at_once=True)
        finally:
            second.join()
            p50, p99 = self._world.dose.latency_ms
            for dialect in DIALECTS.values():
                self._world.simulator.client.configure(dialect, latency={"p50": p50, "p99": p99})
        return {**done, "under_way": under_way, "workers": killed}

    def _crowd(self, dice: Random) -> int:
        """Have many calls under way at once: slow providers, and callers who ask for more."""
        client = self._world.simulator.client
        for dialect in DIALECTS.values():
            client.configure(dialect, latency=SLOW_MS)
        ask(self._world, dice, connections=12, callers=1, force=1.0)

        def under_way() -> int:
            return int(client.report()["total"]["under_way"])

        self._world.await_true(lambda: under_way() >= CROWD, SLOW_MS / 1000, pause=0.005)
        return under_way()

    def cut_sessions(self, _strike: Strike, _dice: Random) -> dict[str, object]:
        """End all workers' sessions at Postgres just after an answer, so that some are mid-commit."""
        self.await_answer()
        try:
            return {"sessions": self._world.servers.cut_sessions()}
        except psycopg.OperationalError as error:
            raise Skipped("Postgres was away") from error

    def kill_redis(self, strike: Strike, _dice: Random) -> dict[str, object]:
        """SIGKILL Redis, and start it again from its append-only file."""
        away = float(str(strike.options["away"]))
        refused = self._world.servers.redis.kill(away, strike.kind)
        if refused is not None:
            raise Skipped(refused)
        return {"away": away}

    def freeze_redis(self, strike: Strike, _dice: Random) -> dict[str, object]:
        """SIGSTOP Redis for a while."""
        seconds = float(str(strike.options["seconds"]))
        refused = self._world.servers.redis.freeze(seconds, strike.kind)
        if refused is not None:
            raise Skipped(refused)
        return {"seconds": seconds}

    def flush_redis(self, _strike: Strike, _dice: Random) -> dict[str, object]:
        """FLUSHALL."""
        return self._command("FLUSHALL")

    def cut_redis_clients(self, _strike: Strike, _dice: Random) -> dict[str, object]:
        """CLIENT KILL TYPE normal."""
        return self._command("CLIENT", "KILL", "TYPE", "normal")

    def _command(self, *words: str) -> dict[str, object]:
        try:
            return {"answer": str(self._world.servers.command_redis(*words))}
        except redis.RedisError as error:
            if words[0] == "CLIENT":
                # The command ends its own connection as well.
                return {"answer": type(error).__name__}
            raise Skipped("Redis was away") from error

    # Beats.

    def kill_beat(self, strike: Strike, dice: Random) -> dict[str, object]:
        """SIGKILL one of the two beats."""
        target, pid = self._pick(dice, self._world.beats)
        self._world.record.kill(target.sort, target.name, strike.kind)
        kill_group(pid)
        return {"target": target.name}

    def double_beat(self, strike: Strike, _dice: Random) -> dict[str, object]:
        """Run a third beat beside the two for a while."""
        third = self._world.third_beat
        third.want()
        time.sleep(float(str(strike.options["seconds"])))
        third.unwant()
        return third.end(self._world.record, strike.kind)

    def no_beat(self, strike: Strike, _dice: Random) -> dict[str, object]:
        """Stop every beat for a while; those that are started meanwhile too."""
        until = time.monotonic() + float(str(strike.options["seconds"]))
        stopped: dict[int, str] = {}
        with self._world.record.away("beat", strike.kind):
            while time.monotonic() < until:
                for beat in self._world.beats:
                    pid = beat.pid
                    if pid and pid not in stopped:
                        os.kill(pid, signal.SIGSTOP)
                        stopped[pid] = beat.name
                time.sleep(0.2)
        for pid, name in stopped.items():
            if any(beat.name == name and beat.pid == pid for beat in self._world.beats) and is_stopped(pid):
                os.kill(pid, signal.SIGCONT)
        return {"beats": len(stopped)}
