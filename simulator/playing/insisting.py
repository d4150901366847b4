"""Compares a request with what a provider insists on, and says each difference so that it can be mended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from simulator.playing.identifying import problem
from simulator.playing.known import Known
from simulator.playing.transcript import ANY, Exchange, Scalar, Wanted
from simulator.wire import Request

About = Literal["method", "url", "query", "client_auth", "body_format", "field", "header"]
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One thing that the client did otherwise than the provider insists on.

    Attributes:
        name: Of the field, parameter or header; "" where it is about none.
        insists, did: To be read after "the provider insists on" and "the definition makes it".
        instead: The name under which the value was sent; "" where that is not known.
    """

    about: About
    name: str
    insists: str
    did: str
    instead: str = ""

    def __str__(self) -> str:
        return f"insists on {self.insists}; got {self.did}"


def discrepancies(exchange: Exchange, request: Request, known: Known) -> list[Discrepancy]:
    """Return every difference; empty: the provider takes the request."""
    wanted = exchange.request
    found: list[Discrepancy] = []
    if request.method != wanted.method:
        found.append(Discrepancy("method", "", wanted.method, request.method))
    here, there = _address(f"https:/{request.path}"), _address(known.fill(wanted.url))
    if here != there:
        found.append(Discrepancy("url", "", there, here))
    body, unreadable = _body(wanted, request)
    if unreadable is not None:
        return [*found, unreadable]
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    found += _compared("query", wanted.parameters, query, known)
    found += _compared("field", wanted.members, body, known)
    found += _twice(request, wanted)
    for name in wanted.absent:
        if name in body or name in query:
            found.append(Discrepancy("field", name, f"no {name}", f"{name}, sent"))
    found += _headers(wanted, request, known)
    if (wrong := problem(wanted, request, {**query, **body}, known)) is not None:
        found.append(Discrepancy("client_auth", "", *wrong))
    return found


def _address(url: str) -> str:
    """Return host and path, as a client asks for them: no path is the path ``/``."""
    parts = urlsplit(url)
    return f"https://{parts.netloc.lower()}{parts.path or '/'}"


def _body(wanted: Wanted, request: Request) -> tuple[dict[str, object], Discrepancy | None]:
    """Read the body in the format that is insisted on."""
    insists = {"form": f"a form ({_FORM})", "json": "a JSON object (application/json)", "none": "no body"}
    media = request.media_type

    def otherwise(did: str) -> tuple[dict[str, object], Discrepancy]:
        return {}, Discrepancy("body_format", "", insists[wanted.body_format], did)

    if wanted.body_format == "none":
        return ({}, None) if not request.body else otherwise(f"{len(request.body)} bytes of {media or '?'}")
    expected = _FORM if wanted.body_format == "form" else "application/json"
    if not request.body and not wanted.fields and wanted.client_auth != "body":
        return {}, None
    if not request.body:
        return otherwise("no body")
    if media != expected:
        return otherwise(media or "a body without a content type")
    if wanted.body_format == "form":
        return dict(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True)), None
    try:
        document = json.loads(request.body)
    except ValueError:
        return otherwise("what is no JSON")
    return (document, None) if isinstance(document, dict) else otherwise("JSON that is no object")


def _twice(request: Request, wanted: Wanted) -> Iterator[Discrepancy]:
    """RFC 6749 §3.2: request parameters must not be included more than once."""
    names = [name for name, _ in parse_qsl(request.query, keep_blank_values=True)]
    if wanted.body_format == "form":
        names = [name for name, _ in parse_qsl(request.body.decode("latin-1"), keep_blank_values=True)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Discrepancy("field", name, f"one {name}", f"{name}, sent {names.count(name)} times")


def _compared(
    about: Literal["query", "field"], wanted: Mapping[str, Scalar], sent: Mapping[str, object], known: Known
) -> Iterator[Discrepancy]:
    for name, value in wanted.items():
        found = sent.get(name)
        if found is None:
            others = ", ".join(sorted(sent)) or "nothing"
            instead = _named_otherwise(value, wanted, sent, known)
            did = f"no {name} (sent: {others})"
            yield Discrepancy(about, name, _insisted(name, value), did, instead)
        elif value == ANY:
            must = known.presented(name)
            if found == "" or (must is not None and found != must):
                what = "an empty one" if found == "" else "another value than the client holds"
                yield Discrepancy(about, name, f"{name} with a value", what)
        elif not _same(known.fill(value) if isinstance(value, str) else value, found):
            yield Discrepancy(about, name, _insisted(name, value), f"{name} = {_shown(found, known)}")


def _named_otherwise(
    value: Scalar, wanted: Mapping[str, Scalar], sent: Mapping[str, object], known: Known
) -> str:
    """Return the one name under which a value was sent that nobody wanted there; "" where there is none."""
    if value == ANY:
        return ""
    filled = known.fill(value) if isinstance(value, str) else value
    names = [name for name, found in sent.items() if name not in wanted and _same(filled, found)]
    return names[0] if len(names) == 1 else ""


def _insisted(name: str, value: Scalar) -> str:
    return name if value == ANY else f"{name} = {value}"


def _same(wanted: Scalar, sent: object) -> bool:
    """Compare as a form would: a provider that writes 1 takes "1" in a form, and true is "true"."""
    if isinstance(wanted, bool) and isinstance(sent, str):
        return sent.lower() == str(wanted).lower()
    return wanted == sent or (not isinstance(wanted, bool) and str(wanted) == sent)


def _shown(value: object, known: Known) -> str:
    """Show a value, and a made-up secret by its name alone."""
    for name in known.__slots__:
        if value == getattr(known, name):
            return f"{{{name}}}"
    return str(value)


def _headers(wanted: Wanted, request: Request, known: Known) -> Iterator[Discrepancy]:
    for name, text in wanted.headers.items():
        sent = request.headers.get(name.lower().encode("latin-1"))
        if sent is None:
            yield Discrepancy("header", name, f"the header {name}: {text}", "no such header")
        elif text != ANY and sent.decode("latin-1") != known.fill(text):
            yield Discrepancy(
                "header", name, f"the header {name}: {text}", _shown(sent.decode("latin-1"), known)
            )
