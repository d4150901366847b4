"""The control interface under ``/_sim/``: mint, revoke, configure, break, and ask what happened.

====================================  ======================================================================
call                                  body → answer
====================================  ======================================================================
``GET /_sim/healthz``                 → ``{"simulator": true, "status": "ok"}``; needs no token
``GET /_sim/dialects``                → each dialect's paths, client and settings
``PATCH /_sim/dialects/{dialect}``    settings (`simulator.settings.DialectSettings`) → the dialect
``POST /_sim/grants``                 ``dialect``, if wanted ``count, lifetime, first_lifetime, user, owner,
                                      scope, client_id``
                                      → ``{"grants": [...]}``, streamed; lifetimes in seconds or [least, most]
``GET /_sim/grants/{id}[?tokens=1]``  → the grant with its history, and on request its current tokens
``POST /_sim/revoke``                 ``grant_ids``, or ``dialect, random[, owner, seed]``
                                      → ``{"revoked": [...], "already_dead": [...]}``
``POST /_sim/faults``                 a fault (`simulator.faults.KINDS`) or a list of them → what was queued
``GET /_sim/faults``                  → the faults that wait
``DELETE /_sim/faults[/{id},{id}…]``  → ``{"cleared": n}``; without ids all that wait
``GET /_sim/report[?owner=]``         → `simulator.report.build`
``GET /_sim/incidents``               → concurrent presentations, reuses and replays, one by one
``GET /_sim/presentations[?owner=]``  → ``{"presentations": [...]}``, streamed: every remembered one
``GET /_sim/lives[?owner=]``          → ``{"lives": [...]}``, streamed: every grant in a line, without history
``POST /_sim/reset-counters``         → ``{}``; grants and their histories stay
``POST /_sim/restore-settings``       → ``{}``; every dialect's settings as documented
``POST /_sim/events``                 an event to sign and push (`simulator.pushing`) → what the receiver said
``GET /_sim/event-keys``              → ``{"kids": [...], "fetches": n}``: the signer's keys
``POST /_sim/event-keys``             → the same; a new key took the place of the others
====================================  ======================================================================

Only loopback may call it. With a control token, ``Authorization: Bearer …`` is asked for. What is wrong with
a request comes back as ``{"error": "…"}`` with status 400, 401, 403 or 404.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from random import Random

from simulator import report
from simulator.connection import Exchange
from simulator.dialects import fresh_states
from simulator.dialects.base import Dialect
from simulator.faults import FaultQueue
from simulator.grants import Grant
from simulator.orders import BadOrder, Body, optional_text, read_json, read_object, span, text
from simulator.pushing import Pusher
from simulator.wire import Answer, Request, json_answer
from simulator.world import World

_MINT_MOST = 1_000_000
_MINT_BLOCK = 500
_MINT_FIELDS = {"dialect", "count", "lifetime", "first_lifetime", "user", "owner", "scope", "client_id"}


class Control:
    """Answers every request under ``/_sim/``."""

    def __init__(
        self,
        world: World,
        dialects: dict[str, Dialect],
        faults: FaultQueue,
        token: str | None,
        pusher: Pusher,
    ) -> None:
        self._pusher = pusher
        self._world = world
        self._dialects = dialects
        self._faults = faults
        self._token = token
        self._handlers: dict[tuple[str, str], Callable[[Request, str], Answer]] = {
            ("GET", "dialects"): self._list_dialects,
            ("PATCH", "dialects"): self._configure,
            ("GET", "grants"): self._show_grant,
            ("POST", "revoke"): self._revoke,
            ("POST", "faults"): self._queue_faults,
            ("GET", "faults"): self._list_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "report"): self._report,
            ("GET", "incidents"): self._incidents,
            ("POST", "reset-counters"): self._reset_counters,
            ("POST", "restore-settings"): self._restore_settings,
        }
        self._streams: dict[str, Callable[..., Iterator[dict[str, object]]]] = {
            "presentations": report.presentations,
            "lives": report.lives,
        }

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        request = exchange.request
        noun, _, name = request.path.removeprefix("/_sim/").partition("/")
        try:
            if (request.method, noun) == ("GET", "healthz"):
                exchange.reply(json_answer(200, {"simulator": True, "status": "ok"}))
                return
            self._admit(request)
            if (request.method, noun, name) == ("POST", "grants", ""):
                await self._mint(exchange)
                return
            if noun in ("events", "event-keys"):
                exchange.reply(await self._pusher.handle(request, noun))
                return
            if request.method == "GET" and noun in self._streams:
                await self._stream(exchange, noun)
                return
            exchange.reply(self._handler(request.method, noun)(request, name))
        except BadOrder as error:
            exchange.reply(json_answer(error.status, {"error": str(error)}))

    def _handler(self, method: str, noun: str) -> Callable[[Request, str], Answer]:
        if (method, noun) not in self._handlers:
            raise BadOrder(f"there is no {method} /_sim/{noun}; see simulator.control", 404)
        return self._handlers[method, noun]

    def _admit(self, request: Request) -> None:
        if not ipaddress.ip_address(request.peer).is_loopback:
            raise BadOrder("the control interface is open to loopback only", 403)
        given = (request.bearer or "").encode()
        if self._token is not None and not hmac.compare_digest(self._token.encode(), given):
            raise BadOrder("send the control token as 'Authorization: Bearer …'", 401)

    # Dialects.

    def _list_dialects(self, _request: Request, _name: str) -> Answer:
        return json_answer(
            200, {name: report.describe_dialect(dialect) for name, dialect in self._dialects.items()}
        )

    def _configure(self, request: Request, name: str) -> Answer:
        dialect = self._dialect(name)
        try:
            settings = dialect.state.settings.patched(read_object(request))
        except ValueError as error:
            raise BadOrder(str(error)) from error
        self._world.configure(name, settings)
        return json_answer(200, report.describe_dialect(dialect))

    # Grants.

    async def _mint(self, exchange: Exchange) -> None:
        order = read_object(exchange.request)
        if unknown := set(order) - _MINT_FIELDS:
            raise BadOrder(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(_MINT_FIELDS))}")
        dialect = self._dialect(text(order, "dialect"))
        count = order.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MINT_MOST:
            raise BadOrder(f"count: a whole number from 1 to {_MINT_MOST} is needed")
        labels = {name: text(order, name, default) for name, default in (("user", "user-{n}"), ("owner", ""))}
        scope, client_id = (optional_text(order, name) for name in ("scope", "client_id"))
        lifetime, first_lifetime = (span(order, name) for name in ("lifetime", "first_lifetime"))
        exchange.start_stream("application/json")
        separator = b'{"grants":['
        for done in range(0, count, _MINT_BLOCK):
            now = time.time()
            numbers = self._world.mint(
                dialect.name,
                min(_MINT_BLOCK, count - done),
                now=now,
                **labels,
                scope=scope,
                client_id=client_id,
                lifetime=lifetime,
                first_lifetime=first_lifetime,
            )
            rows = (self._minted(dialect, dialect.state.grants[number], now) for number in numbers)
            await exchange.stream(separator + ",".join(map(json.dumps, rows)).encode())
            separator = b","
            if exchange.gone:
                return
            # The providers go on serving while a hundred thousand grants are made.
            await asyncio.sleep(0)
        await exchange.stream(b"]}")
        exchange.end_stream()

    async def _stream(self, exchange: Exchange, noun: str) -> None:
        """Send many rows in pieces, between which the providers go on serving."""
        owner = exchange.request.query_parameters().get("owner")
        rows = self._streams[noun](self._world, owner=owner)
        exchange.start_stream("application/json")
        await exchange.stream(f'{{"{noun}":['.encode())
        separator = b""
        while block := list(islice(rows, _MINT_BLOCK)):
            if exchange.gone:
                return
            await exchange.stream(separator + ",".join(map(json.dumps, block)).encode())
            separator = b","
            await asyncio.sleep(0)
        await exchange.stream(b"]}")
        exchange.end_stream()

    def _minted(self, dialect: Dialect, grant: Grant, now: float) -> Body:
        expires_at = grant.access_expires_at
        return {
            "grant_id": grant.grant_id,
            "dialect": grant.dialect,
            "user": grant.user,
            "owner": grant.owner,
            "access_token": self._world.access_token(grant),
            "refresh_token": self._world.refresh_token(grant) if dialect.has_refresh_token else None,
            "expires_in": None if expires_at is None else int(expires_at - now),
            "expires_at": None if expires_at is None else datetime.fromtimestamp(expires_at, UTC).isoformat(),
            "scope": grant.scope.split(),
            "metadata": dialect.metadata(grant),
        }

    def _show_grant(self, request: Request, name: str) -> Answer:
        grant = self._grant(name)
        shown = report.describe(grant)
        if request.query_parameters().get("tokens") == "1":
            dialect = self._dialects[grant.dialect]
            shown["access_token"] = self._world.access_token(grant)
            shown["refresh_token"] = self._world.refresh_token(grant) if dialect.has_refresh_token else None
        return json_answer(200, shown)

    def _revoke(self, request: Request, _name: str) -> Answer:
        order = read_object(request)
        ids = order.get("grant_ids")
        if isinstance(ids, list):
            grants = [self._grant(str(grant_id)) for grant_id in ids]
        else:
            grants = self._draw(order)
        now = time.time()
        answer: dict[str, list[str]] = {"revoked": [], "already_dead": []}
        for grant in grants:
            killed = self._world.kill(grant, "revoked", now=now)
            answer["revoked" if killed else "already_dead"].append(grant.grant_id)
        return json_answer(200, answer)

    def _draw(self, order: Body) -> list[Grant]:
        """Return as many living grants, chosen at random, as the order says."""
        number, owner = order.get("random"), optional_text(order, "owner")
        if not isinstance(number, int) or number < 0:
            raise BadOrder("give grant_ids (a list), or dialect and random (how many)")
        seed = order.get("seed")
        rng = Random(seed if isinstance(seed, int) else None)  # noqa: S311 - whom a test hits, no secret
        state = self._dialect(text(order, "dialect")).state
        living = [grant for grant in state.grants if grant.alive and owner in (None, grant.owner)]
        return rng.sample(living, min(number, len(living)))

    # Faults and figures.

    def _queue_faults(self, request: Request, _name: str) -> Answer:
        orders = read_json(request)
        queued = []
        for order in orders if isinstance(orders, list) else [orders]:
            if not isinstance(order, dict):
                raise BadOrder("a fault is a JSON object")
            try:
                queued.append(self._faults.add(order, set(self._dialects)).as_json())
            except ValueError as error:
                raise BadOrder(str(error)) from error
        return json_answer(200, queued)

    def _list_faults(self, _request: Request, _name: str) -> Answer:
        return json_answer(200, [fault.as_json() for fault in self._faults.waiting])

    def _clear_faults(self, _request: Request, name: str) -> Answer:
        ids = {int(part) for part in name.split(",") if part.isdecimal()}
        return json_answer(200, {"cleared": self._faults.withdraw(ids) if name else self._faults.clear()})

    def _report(self, request: Request, _name: str) -> Answer:
        return json_answer(200, report.build(self._world, owner=request.query_parameters().get("owner")))

    def _incidents(self, _request: Request, _name: str) -> Answer:
        return json_answer(200, report.incidents(self._world))

    def _reset_counters(self, _request: Request, _name: str) -> Answer:
        self._world.reset_counters()
        return json_answer(200, {})

    def _restore_settings(self, _request: Request, _name: str) -> Answer:
        for name, state in fresh_states().items():
            self._world.configure(name, state.settings)
        return json_answer(200, {})

    # Names.

    def _dialect(self, name: str) -> Dialect:
        if name not in self._dialects:
            raise BadOrder(f"there is no dialect {name!r}; there are: {', '.join(self._dialects)}", 404)
        return self._dialects[name]

    def _grant(self, grant_id: str) -> Grant:
        name, _, number = grant_id.rpartition("-")
        grant = self._dialect(name).state.grant(int(number)) if number.isdecimal() else None
        if grant is None:
            raise BadOrder(f"there is no grant {grant_id!r}", 404)
        return grant
