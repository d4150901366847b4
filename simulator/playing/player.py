"""A real HTTP server on loopback that plays one exchange at a time, as the provider would.

It is asked at ``http://127.0.0.1:PORT/<the provider's host>/<the provider's path>``. A request that the
provider would take gets the exchange's answer; any other is refused with 400 and told why.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from simulator.connection import Connection
from simulator.connection import Exchange as Arrival
from simulator.playing.insisting import Discrepancy, discrepancies
from simulator.playing.known import Known
from simulator.playing.telling import answer_of
from simulator.playing.transcript import Exchange
from simulator.wire import Request, json_answer

_STARTS_WITHIN_SECONDS = 30.0


@dataclass(slots=True)
class Played:
    """One exchange, and what came of it.

    Attributes:
        requests: All that arrived while it was played, in order; the client may send one.
        discrepancies: Of all of them.
    """

    exchange: Exchange
    known: Known
    requests: list[Request] = field(default_factory=list, repr=False)
    discrepancies: list[Discrepancy] = field(default_factory=list)


class Player:
    """The server; as a context manager it listens until the end. Plays for one client at a time.

    Attributes:
        base_url: ``http://127.0.0.1:port``.
        strays: Method and address of requests that came while nothing was played.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.strays: list[str] = []
        self._on_stage: Played | None = None
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(_STARTS_WITHIN_SECONDS):
            raise RuntimeError("the player does not listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    @contextmanager
    def playing(self, exchange: Exchange, known: Known) -> Iterator[Played]:
        """Answer as this exchange does until the block ends."""
        played = self._on_stage = Played(exchange, known)
        try:
            yield played
        finally:
            self._on_stage = None

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve_until_ended())

    async def _serve_until_ended(self) -> None:
        connections: set[Connection] = set()
        server = await self._loop.create_server(
            lambda: Connection(self._serve, connections), "127.0.0.1", 0, backlog=128
        )
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._listening.set()
        await self._ended.wait()
        server.close()
        for connection in list(connections):
            connection.close()

    def _serve(self, arrival: Arrival) -> None:
        played, request = self._on_stage, arrival.request
        if played is None:
            self.strays.append(f"{request.method} {request.path}")
            arrival.reply(json_answer(400, {"error": "player_refuses", "reasons": ["nothing is played now"]}))
            return
        played.requests.append(request)
        found = discrepancies(played.exchange, request, played.known)
        played.discrepancies += found
        if found:
            reasons = [f"the provider {one}" for one in found]
            arrival.reply(json_answer(400, {"error": "player_refuses", "reasons": reasons}))
        else:
            arrival.reply(answer_of(played.exchange, played.known))
