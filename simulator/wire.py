"""What travels: a request that was read whole, an answer, and the refusal that carries one."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read to the end of its body. Header names are lower case.

    Headers, query and body stay out of `repr`, because they carry tokens and client secrets.
    """

    method: str
    path: str
    query: str = field(repr=False)
    headers: dict[bytes, bytes] = field(repr=False)
    body: bytes = field(repr=False)
    peer: str

    @property
    def media_type(self) -> str:
        """Return the content type without its parameters, in lower case; empty where none was sent."""
        return self.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower().decode("latin-1")

    @property
    def bearer(self) -> str | None:
        """Return the token of ``Authorization: Bearer`` (RFC 6750 §2.1), or None where there is none."""
        scheme, _, token = self.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None

    def query_parameters(self) -> dict[str, str]:
        """Return the query's parameters; of a repeated one the last stands."""
        return dict(parse_qsl(self.query))


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer with its whole body, which stays out of `repr` because it may carry tokens."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = "application/json"
    headers: Headers = ()


class Refusal(Exception):
    """A request ends here with an answer of the dialect; `result` is its class in the report."""

    def __init__(self, answer: Answer, result: str) -> None:
        super().__init__(result)
        self.answer = answer
        self.result = result


_encode = json.JSONEncoder(separators=(",", ":")).encode


def json_answer(status: int, content: object, headers: Headers = ()) -> Answer:
    """Return an answer whose body is `content` as JSON."""
    return Answer(status, _encode(content).encode(), headers=headers)


_dates: dict[int, bytes] = {}


def http_date() -> bytes:
    """Return the present time as an HTTP-date, formatted once a second."""
    now = int(time.time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True).encode()
    return _dates[now]


_reasons = {status.value: status.phrase.encode() for status in HTTPStatus}


def reason_of(status: int) -> bytes:
    """Return the reason phrase of a status, empty for one without."""
    return _reasons.get(status, b"")
