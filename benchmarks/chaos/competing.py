"""What people do while refreshes run: connect anew, disconnect, import, revoke, rotate keys, force."""

from __future__ import annotations

import time
from random import Random
from typing import Final

import psycopg

from benchmarks.chaos.asking import ask
from benchmarks.chaos.definitions import import_line
from benchmarks.chaos.plan import PROVIDERS, Strike
from benchmarks.chaos.processes import Single
from benchmarks.chaos.strikes import Skipped
from benchmarks.chaos.world import Entry, World
from simulator.client import MintedGrant
from storage.keys import generate

_FIND: Final = (
    "SELECT c.id, t.status, t.version FROM connections c JOIN tokens t ON t.connection_id = c.id"
    " WHERE c.provider_id = %s AND c.user_id = %s"
)


class Competing:
    """Makes the writes that compete with refreshes; each call is in a thread of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._commands = {
            group: world.cli(*group.split(), "--help").stdout for group in ("connections", "keys")
        }

    def _has(self, group: str, command: str) -> None:
        listed = [line.split() for line in self._commands[group].splitlines()]
        # Rich help boxes its lines.
        if not any(command in words[:2] for words in listed):
            raise Skipped(f"there is no `evergrant {group} {command}`")

    def _draw(
        self, dice: Random, providers: tuple[str, ...], status: str, *, versions: range = range(1, 10_000)
    ) -> tuple[Entry, str, int]:
        """Return one of our connections in that status and of such a version: entry, id and version."""
        for _ in range(25):
            entry = dice.choice(self._world.current(dice.choice(providers)))
            try:
                found = self._world.servers.query(_FIND, entry.provider, entry.user)
            except psycopg.OperationalError as error:
                raise Skipped("Postgres was away") from error
            if not found or found[0][1] != status or entry.ended_how is not None:
                continue
            version = int(str(found[0][2]))
            # The version counts over all grants of a connection: it tells the age of the first alone.
            if version in versions and (versions.stop == 10_000 or entry.how == "imported"):
                return entry, str(found[0][0]), version
        raise Skipped(f"no connection that is {status} was found")

    def revoke(self, _strike: Strike, dice: Random) -> dict[str, object]:
        """Really revoke a grant at the provider."""
        entry, _, _ = self._draw(dice, PROVIDERS, "active")
        entry.ended_how = "revoked"
        self._world.simulator.client.revoke([entry.grant_id])
        return {"grant": entry.grant_id}

    def reconnect(self, _strike: Strike, dice: Random) -> dict[str, object]:
        """Connect a user anew: of one who must, if there is one, or of one who just does."""
        try:
            entry, _, _ = self._draw(dice, ("strict", "window"), "needs_reauth")
        except Skipped:
            entry, _, _ = self._draw(dice, PROVIDERS, "active")
        grant = self._world.mint(entry.provider, 1, dice)[0]
        began = time.time()
        line = import_line(grant, entry.provider, entry.user)
        done = self._world.cli("connections", "import", "--replace-credentials", "-", stdin=line)
        if done.returncode != 0:
            self._world.simulator.client.revoke([grant.grant_id])
            raise Skipped(f"the import could not be made: {done.stderr.strip()[-200:]}")
        with self._world.book_lock:
            entry.until, entry.ended_how = time.time(), entry.ended_how or "replaced"
            self._world.book.append(
                Entry(grant.grant_id, entry.provider, entry.user, began, grant.refresh_token or "",
                      how="reconnected")
            )  # fmt: skip
        return {"old": entry.grant_id, "new": grant.grant_id}

    def import_spent(self, _strike: Strike, dice: Random) -> dict[str, object]:
        """Import a refresh token that was spent long ago: it must be refused."""
        # The first of fewer than the thirty-two that are remembered.
        entry, _, _ = self._draw(dice, ("strict", "window"), "active", versions=range(2, 26))
        spent = MintedGrant(
            entry.grant_id, "", entry.user, "", "sim-at-not-a-token", entry.first_token, None, None, [], {}
        )
        line = import_line(spent, entry.provider, entry.user)
        done = self._world.cli("connections", "import", "--replace-credentials", "-", stdin=line)
        return {
            "grant": entry.grant_id,
            "refused": done.returncode == 1 and "1 rejected" in done.stdout,
            # Not judged: Postgres was away.
            "unknown": done.returncode != 0 and "1 rejected" not in done.stdout,
        }

    def disconnect(self, _strike: Strike, dice: Random) -> dict[str, object]:
        """Disconnect a user."""
        self._has("connections", "disconnect")
        entry, connection_id, _ = self._draw(dice, PROVIDERS, "active")
        done = self._world.cli("connections", "disconnect", connection_id)
        if done.returncode == 0:
            with self._world.book_lock:
                entry.until, entry.ended_how = time.time(), "disconnected"
        return {"grant": entry.grant_id, "status": done.returncode, "said": done.stderr.strip()[-200:]}

    def rotate_keys(self, _strike: Strike, _dice: Random) -> dict[str, object]:
        """Put a new key first, restart every process one after another, and seal everything anew."""
        self._has("keys", "rotate")
        world = self._world
        world.keys = f"{generate('k2')},{world.keys}"
        rolled: list[Single] = [world.supervisor, *world.singles, world.second_beat]
        for single in rolled:
            single.use(EVERGRANT_KEYS=world.keys)
            single.end(world.record, "rotate_keys")
            world.await_true(lambda: all(one.pid is not None for one in rolled), 20)
        world.third_beat.use(EVERGRANT_KEYS=world.keys)
        began = time.monotonic()
        while True:
            done = world.cli("keys", "rotate", seconds=180)
            if done.returncode == 0 or time.monotonic() - began > 120:
                break
            time.sleep(3)
        return {"status": done.returncode, "said": (done.stdout + done.stderr).strip()[-300:]}

    def force(self, _strike: Strike, dice: Random) -> dict[str, object]:
        """Ask for many refreshes at once, some by force, some of one connection by several callers."""
        return ask(self._world, dice, connections=8, callers=3, force=0.7)
