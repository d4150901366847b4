"""A driver of the simulator's control interface, with the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

_MINT_BLOCK = 5_000
_TIMEOUT_SECONDS = 120.0

Json = Any  # the simulator's own answers; callers index into them


class SimulatorError(Exception):
    """The simulator refused an order or could not be reached; the message says which and why."""


@dataclass(frozen=True, slots=True)
class MintedGrant:
    """A fresh grant with its tokens, as an authorization would have given them.

    Attributes:
        refresh_token: None for dialects without one.
        expires_in: seconds from minting; None means never, as does `expires_at`.
        expires_at: ISO 8601 with offset.
        metadata: what else a connection needs, such as ``instance_id`` of ``wix-app``.
    """

    grant_id: str
    dialect: str
    user: str
    owner: str
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int | None
    expires_at: str | None
    scope: list[str]
    metadata: dict[str, Any]


class SimulatorClient:
    """Talks to ``/_sim/``. Threads may share it."""

    def __init__(self, base_url: str, control_token: str | None = None) -> None:
        """Remember where the simulator is: ``http://host:port``."""
        self.base_url = base_url.rstrip("/")
        self._address = urlsplit(self.base_url).netloc
        self._headers = {} if control_token is None else {"Authorization": f"Bearer {control_token}"}

    def mint(self, dialect: str, count: int = 1, **order: object) -> list[MintedGrant]:
        """Return `count` fresh grants; for very many, `iter_mint` needs less memory.

        Args:
            dialect: whose.
            count: how many.
            order: ``lifetime`` (of every access token of these grants) and ``first_lifetime`` (of the one
                that is given out now), each seconds or [least, most]; ``user`` (``{n}`` becomes a number),
                ``owner``, ``scope``, ``client_id``.
        """
        return list(self.iter_mint(dialect, count, **order))

    def iter_mint(self, dialect: str, count: int, **order: object) -> Iterator[MintedGrant]:
        """Yield fresh grants, asked for in blocks."""
        for done in range(0, count, _MINT_BLOCK):
            block = {"dialect": dialect, "count": min(_MINT_BLOCK, count - done), **order}
            for row in self.call("POST", "grants", block)["grants"]:
                yield MintedGrant(**row)

    def revoke(self, grant_ids: list[str]) -> Json:
        """Kill these grants; return ``{"revoked": [...], "already_dead": [...]}``."""
        return self.call("POST", "revoke", {"grant_ids": grant_ids})

    def revoke_random(
        self, dialect: str, number: int, *, owner: str | None = None, seed: int | None = None
    ) -> list[str]:
        """Kill `number` living grants of the dialect and return their ids."""
        order = {"dialect": dialect, "random": number, "owner": owner, "seed": seed}
        revoked: list[str] = self.call("POST", "revoke", order)["revoked"]
        return revoked

    def fault(self, kind: str, **order: object) -> Json:
        """Queue a fault of `simulator.faults.KINDS` and return it as queued.

        Args:
            kind: what happens.
            order: the kind's own parameters, and ``endpoint`` (``token``), ``dialect``, ``grant_id``,
                ``owner``, ``count`` (1; None: until cleared), ``probability`` (1), ``seed``.
        """
        return self.call("POST", "faults", {"kind": kind, **order})[0]

    def faults(self) -> Json:
        """Return the faults that wait."""
        return self.call("GET", "faults")

    def clear_faults(self, *fault_ids: int) -> int:
        """Drop the faults that wait, or those of them that are named, and return how many there were."""
        which = "/" + ",".join(map(str, fault_ids)) if fault_ids else ""
        cleared: int = self.call("DELETE", f"faults{which}")["cleared"]
        return cleared

    def configure(self, dialect: str, **settings: object) -> Json:
        """Change settings of a dialect (`simulator.settings.DialectSettings`) and return the dialect."""
        return self.call("PATCH", f"dialects/{dialect}", settings)

    def dialects(self) -> Json:
        """Return each dialect's paths and settings, its client id and secret among them."""
        return self.call("GET", "dialects")

    def report(self, owner: str | None = None) -> Json:
        """Return what happened (`simulator.report.build`)."""
        return self.call("GET", "report" if owner is None else "report?" + urlencode({"owner": owner}))

    def incidents(self) -> Json:
        """Return concurrent presentations, reuses and window replays, one by one."""
        return self.call("GET", "incidents")

    def presentations(self, owner: str | None = None) -> list[dict[str, Any]]:
        """Return every remembered presentation with its ``grant_id`` (`simulator.grants.Presentation`)."""
        return self._rows("presentations", owner)

    def lives(self, owner: str | None = None) -> list[dict[str, Any]]:
        """Return every grant without history and tokens."""
        return self._rows("lives", owner)

    def _rows(self, what: str, owner: str | None) -> list[dict[str, Any]]:
        path = what if owner is None else f"{what}?" + urlencode({"owner": owner})
        rows: list[dict[str, Any]] = self.call("GET", path)[what]
        return rows

    def grant(self, grant_id: str, *, tokens: bool = False) -> Json:
        """Return a grant with its history; with `tokens`, also its current tokens at the provider."""
        return self.call("GET", f"grants/{grant_id}" + ("?tokens=1" if tokens else ""))

    def reset_counters(self) -> None:
        """Set every count to zero; grants and their histories stay."""
        self.call("POST", "reset-counters", {})

    def restore_settings(self) -> None:
        """Give every dialect the settings it started with."""
        self.call("POST", "restore-settings", {})

    def push(self, url: str, **order: object) -> Json:
        """Sign an event and push it to a receiver; return what it said (`simulator.pushing`)."""
        return self.call("POST", "events", {"url": url, **order})

    def event_keys(self, *, rotate: bool = False) -> Json:
        """Return the signer's key ids, and how often they were fetched; on request with a new key first."""
        return self.call("POST" if rotate else "GET", "event-keys", {} if rotate else None)

    def healthy(self) -> bool:
        """Return whether a simulator answers at the address."""
        try:
            return bool(self.call("GET", "healthz")["simulator"])
        except SimulatorError:
            return False

    def call(self, method: str, what: str, order: object = None) -> Json:
        """Send one order and return the answer's JSON.

        Raises:
            SimulatorError: it was refused, or nobody answered.
        """
        body = None if order is None else json.dumps(order)
        try:
            status, answer = self._exchange(method, f"/_sim/{what}", body)
        except (OSError, HTTPException, ValueError) as error:
            raise SimulatorError(
                f"no simulator answers at {self.base_url}: {error!r}; start it first"
            ) from error
        if status != 200:
            raise SimulatorError(f"the simulator refused {method} /_sim/{what}: {answer['error']}")
        return answer

    def _exchange(self, method: str, path: str, body: str | None) -> tuple[int, Json]:
        # One connection an order: none can be lost to the idle limit, and threads share nothing.
        connection = HTTPConnection(self._address, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        return response.status, answer
