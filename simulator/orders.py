"""Reading what the control interface is asked for; whatever does not fit raises `BadOrder`."""

from __future__ import annotations

import json

from simulator.settings import Span
from simulator.wire import Request

Body = dict[str, object]


class BadOrder(Exception):
    """The request cannot be followed; the message says why, `status` is what HTTP says."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read_json(request: Request) -> object:
    """Return the JSON of the body."""
    try:
        content: object = json.loads(request.body)
    except ValueError as error:
        raise BadOrder("the body is not JSON") from error
    return content


def read_object(request: Request) -> Body:
    """Return the JSON object of the body."""
    content = read_json(request)
    if not isinstance(content, dict):
        raise BadOrder("the body must be a JSON object")
    return content


def text(order: Body, name: str, default: str | None = None) -> str:
    """Return the named text; without `default` it must be there."""
    value = order.get(name, default)
    if not isinstance(value, str):
        raise BadOrder(f"{name}: a text is needed")
    return value


def optional_text(order: Body, name: str) -> str | None:
    """Return the named text, or None where it is missing or null."""
    return None if order.get(name) is None else text(order, name)


def span(order: Body, name: str) -> Span | None:
    """Return the named span of seconds, or None where it is missing or null."""
    try:
        return None if order.get(name) is None else Span.parse(order[name])
    except ValueError as error:
        raise BadOrder(f"{name}: {error}") from error
