"""Writes the answer of an exchange, with made-up tokens filled in."""

from __future__ import annotations

from simulator.playing.id_tokens import with_id_tokens
from simulator.playing.known import Known
from simulator.playing.transcript import Exchange
from simulator.wire import Answer


def answer_of(exchange: Exchange, known: Known) -> Answer:
    """Return what goes over the wire."""
    told = exchange.answer
    again = exchange.means.refresh_token == "same"  # noqa: S105 - a word
    body = with_id_tokens(told.body, {"aud": known.client_id})
    body = body.replace("{access_token}", known.new_access_token)
    body = body.replace("{refresh_token}", known.refresh_token if again else known.new_refresh_token)
    headers = {name.lower(): value for name, value in told.headers.items()}
    usual = "application/json" if body.lstrip()[:1] in ("{", "[", '"') else "text/html"
    return Answer(
        told.status,
        body.encode(),
        headers.pop("content-type", usual),
        tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()),
    )
