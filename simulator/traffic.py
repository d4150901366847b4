"""What becomes of a request: it is counted as under way, delayed, struck by a fault or acted on, answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from random import Random

from simulator.connection import Exchange
from simulator.dialects import Routes
from simulator.dialects.base import Call, Dialect, Outcome
from simulator.faults import Fault, FaultQueue
from simulator.grants import Presentation
from simulator.wire import Answer, json_answer
from simulator.world import World

ELSEWHERE = "/elsewhere"


@dataclass(slots=True)
class _Visit:
    """A call under way. `concurrent`: another presentation of its grant was, when it arrived."""

    exchange: Exchange
    call: Call
    concurrent: bool = False


class _Bucket:
    """A rate limit with a burst of one second (at least one request)."""

    def __init__(self) -> None:
        self._tokens, self._at, self._rate = 0.0, 0.0, 0.0

    def admits(self, rate: float) -> bool:
        """Return whether one more request fits into `rate` a second, and take its place."""
        now, burst = time.monotonic(), max(1.0, rate)
        if rate != self._rate:
            self._tokens, self._at, self._rate = burst, now, rate
        self._tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Traffic:
    """Serves every exchange of every connection."""

    def __init__(
        self,
        world: World,
        routes: Routes,
        faults: FaultQueue,
        control: Callable[[Exchange], Awaitable[None]],
        rng: Random,
        documents: Mapping[str, Callable[[], Answer]],
    ) -> None:
        self._documents = documents
        self._world = world
        self._routes = routes
        self._faults = faults
        self._control = control
        self._rng = rng
        self._buckets = {name: _Bucket() for name in world.states}
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, exchange: Exchange) -> None:
        """Take a request that was read whole; answer at once where nothing delays it."""
        request = exchange.request
        methods = self._routes.get(request.path)
        if methods is None:
            self._serve_other(exchange)
            return
        endpoint = methods.get(request.method)
        if endpoint is None:
            allow = ", ".join(methods).encode()
            exchange.reply(Answer(405, b"", "text/plain", ((b"allow", allow),)))
            return
        visit = self._arrive(exchange, endpoint.read(request, time.time()))
        call, settings = visit.call, visit.call.state.settings
        if settings.rate_limit is not None and not self._buckets[call.state.name].admits(settings.rate_limit):
            self._answer(visit, Outcome(call.dialect.throttled(call), "rate_limited"))
            return
        latency = settings.check_latency if call.kind == "check" else None
        seconds = (settings.latency if latency is None else latency).draw(self._rng)
        fault = self._strike(call) if self._faults.waiting else None
        if fault is not None:
            self._spawn(self._suffer(visit, fault, seconds), exchange)
        elif seconds:
            # A provider goes on working when its client has left, so nothing cancels this.
            asyncio.get_running_loop().call_later(seconds, self._act_later, visit)
        else:
            self._answer(visit, self._outcome(visit))

    async def stop(self) -> None:
        """Abandon everything that is still delayed or hanging."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _serve_other(self, exchange: Exchange) -> None:
        path = exchange.request.path
        if exchange.request.method == "GET" and path in self._documents:
            exchange.reply(self._documents[path]())
            return
        if path.startswith("/_sim/"):
            self._spawn(self._control(exchange), exchange)
            return
        name = path.removeprefix(ELSEWHERE + "/")
        if path.startswith(ELSEWHERE + "/") and name in self._world.states:
            self._world.note(name, "elsewhere")
        exchange.reply(
            json_answer(404, {"error": "not_found", "hint": "GET /_sim/dialects lists the endpoints"})
        )

    # Arriving and leaving.

    def _arrive(self, exchange: Exchange, call: Call) -> _Visit:
        grant = call.grant
        if call.kind != "token" or grant is None:
            return _Visit(exchange, call)
        grant.under_way += 1
        return _Visit(exchange, call, concurrent=grant.under_way > 1)

    def _leave(self, visit: _Visit, result: str, *, answered: bool, fault: str | None = None) -> None:
        call = visit.call
        name, grant = call.state.name, call.grant
        if call.kind == "check":
            self._world.note_check(name, result)
        elif call.kind == "revoke":
            self._world.note(name, "revocations")
        elif call.kind != "token":
            # People's pages and what identifies them: nobody asks how often.
            return
        else:
            if grant is not None:
                grant.under_way -= 1
            number = None if grant is None else grant.number
            ended_at = time.time()
            presentation = Presentation(
                call.arrived_at, ended_at, call.generation, result, visit.concurrent, answered, fault
            )
            self._world.note_token_request(name, number, presentation)

    def _outcome(self, visit: _Visit) -> Outcome:
        try:
            return visit.call.outcome(time.time())
        except BaseException:
            self._leave(visit, "simulator_bug", answered=False)
            raise

    def _answer(self, visit: _Visit, outcome: Outcome) -> None:
        answered = visit.exchange.reply(outcome.answer)
        self._leave(visit, outcome.result, answered=answered)

    def _act_later(self, visit: _Visit) -> None:
        try:
            self._answer(visit, self._outcome(visit))
        except Exception:  # noqa: BLE001 - outside any task; said aloud, and the client is not left waiting
            visit.exchange.report_bug()

    def _spawn(self, work: Awaitable[None], exchange: Exchange) -> None:
        task = asyncio.ensure_future(self._guard(work, exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _guard(work: Awaitable[None], exchange: Exchange) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - nobody awaits this task; said aloud, and the client is not left waiting
            exchange.report_bug()

    # Faults.

    def _strike(self, call: Call) -> Fault | None:
        grant = call.grant
        grant_id, owner = (None, None) if grant is None else (grant.grant_id, grant.owner)
        return self._faults.take(call.kind, call.state.name, grant_id, owner)

    async def _suffer(self, visit: _Visit, fault: Fault, latency: float) -> None:
        call = visit.call
        await asyncio.sleep(latency)
        answer = _answer_instead(call, fault)
        if answer is not None:
            result, answered = f"fault:{fault.kind}", visit.exchange.reply(answer)
        elif fault.kind == "drop_before":
            result, answered = f"fault:{fault.kind}", False
            visit.exchange.drop(reset=bool(fault.parameters["reset"]))
        else:
            if fault.kind == "hang_before":
                await asyncio.sleep(fault.seconds())
            outcome = self._outcome(visit)
            result, answered = outcome.result, await _deliver(visit.exchange, outcome.answer, fault)
        self._leave(visit, result, answered=answered, fault=fault.kind)
        self._world.note_fault(call.state.name, fault.kind, answered=answered)


def _answer_instead(call: Call, fault: Fault) -> Answer | None:
    """Return what is answered without acting, or None for faults that leave the request to be acted on."""
    dialect: Dialect = call.dialect
    match fault.kind:
        case "status":
            return _status(fault)
        case "error_in_200":
            content = {"error": fault.text("error"), "error_description": "A simulated error in a 200."}
            return json_answer(200, content)
        case "redirect":
            location = fault.text("location") or f"{ELSEWHERE}/{call.state.name}"
            status = int(fault.seconds("status"))
            return Answer(status, b"", "text/plain", ((b"location", location.encode()),))
        case "invalid_grant" | "invalid_client":
            return dialect.spurious(fault.kind)
        case "provider_error":
            return dialect.provider_error(call, int(fault.seconds("code")))
        case _:
            return None


def _status(fault: Fault) -> Answer:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if fault.parameters["retry_after"] is not None:
        seconds = fault.seconds("retry_after")
        as_date = fault.text("retry_after_as") == "date"
        wait = formatdate(time.time() + seconds, usegmt=True) if as_date else f"{seconds:.0f}"
        headers = ((b"retry-after", wait.encode()),)
    status, error = int(fault.seconds("status")), fault.text("error")
    if error:
        return json_answer(status, {"error": error}, headers)
    return Answer(status, b"<html><body>Simulated failure</body></html>", "text/html", headers)


async def _deliver(exchange: Exchange, answer: Answer, fault: Fault) -> bool:
    """Send the answer as the fault wants it; return whether the client got the whole of it."""
    match fault.kind:
        case "hang_after":
            await exchange.client_left(fault.seconds())
        case "drop_after":
            exchange.drop(reset=bool(fault.parameters["reset"]))
            return False
        case "truncated_body":
            exchange.reply_cut(answer)
            return False
        case "not_http":
            exchange.reply_raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            return False
        case "slow_drip":
            return await exchange.reply_slowly(answer, fault.seconds("bytes_per_second"))
        case "invalid_json":
            # Whole as HTTP, cut as JSON: the length is that of the half.
            answer = replace(answer, body=answer.body[: len(answer.body) * 2 // 3])
        case "wrong_content_type":
            answer = replace(answer, content_type=fault.text("content_type"))
        case _:
            pass
    return exchange.reply(answer)
