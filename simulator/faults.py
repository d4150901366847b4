"""Faults that wait for requests: what kinds there are, what they need, and which request gets which."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

_Check = Callable[[object], bool]


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _positive(value: object) -> bool:
    return _seconds(value) and value != 0


def _status(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599


def _redirect_status(value: object) -> bool:
    return value in (301, 302, 303, 307, 308)


def _text(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wait_form(value: object) -> bool:
    return value in ("seconds", "date")


_REQUIRED = object()

# Each kind's parameters: a check, and the value where none is given.
KINDS: dict[str, dict[str, tuple[_Check, object]]] = {
    # Not acted on.
    "status": {
        "status": (_status, 503),
        "retry_after": (lambda value: value is None or _seconds(value), None),
        "retry_after_as": (_wait_form, "seconds"),
        "error": (_text, ""),
    },
    "error_in_200": {"error": (_text, "server_error")},
    "redirect": {"status": (_redirect_status, 307), "location": (_text, "")},
    "invalid_grant": {},
    "invalid_client": {},
    "provider_error": {"code": (_integer, _REQUIRED)},
    "drop_before": {"reset": (_truth, False)},
    # Acted on as usual, but later.
    "hang_before": {"seconds": (_seconds, _REQUIRED)},
    # Acted on, and then the answer suffers.
    "hang_after": {"seconds": (_seconds, _REQUIRED)},
    "drop_after": {"reset": (_truth, False)},
    "truncated_body": {},
    "invalid_json": {},
    "wrong_content_type": {"content_type": (_text, "text/html; charset=utf-8")},
    "slow_drip": {"bytes_per_second": (_positive, _REQUIRED)},
    "not_http": {},
}

ENDPOINTS = ("token", "check", "revoke")


@dataclass(slots=True)
class Fault:
    """One queued fault.

    Attributes:
        kind: what happens; see `KINDS`.
        parameters: the kind's own, complete.
        endpoint: ``token``, ``check`` or ``revoke``.
        dialect: None means any.
        grant_id: None means any, also requests that name no known grant.
        owner: strikes only grants of that owner; None means any.
        remaining: how many more requests it strikes; None means every one until faults are cleared.
        probability: of striking a request that matches.
    """

    fault_id: int
    kind: str
    parameters: dict[str, object]
    endpoint: str
    dialect: str | None
    grant_id: str | None
    owner: str | None
    remaining: int | None
    probability: float
    rng: Random = field(repr=False)

    def seconds(self, name: str = "seconds") -> float:
        """Return a parameter that is a number."""
        value = self.parameters[name]
        if isinstance(value, int | float):
            return float(value)
        raise AssertionError("unreachable")

    def text(self, name: str) -> str:
        """Return a parameter that is a text."""
        return str(self.parameters[name])

    def as_json(self) -> dict[str, object]:
        """Return the fault as the control interface shows it."""
        return {
            "fault_id": self.fault_id,
            "kind": self.kind,
            **self.parameters,
            "endpoint": self.endpoint,
            "dialect": self.dialect,
            "grant_id": self.grant_id,
            "owner": self.owner,
            "remaining": self.remaining,
            "probability": self.probability,
        }


class FaultQueue:
    """Faults in the order they were queued. A request gets the first that matches it and whose dice agree."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self._ids = count(1)

    def add(self, order: dict[str, object], dialects: set[str]) -> Fault:
        """Queue the fault that the control interface described.

        Raises:
            ValueError: the description has something missing, unknown or unfit, which the text names.
        """
        order = dict(order)
        kind = order.pop("kind", None)
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"kind: one of {', '.join(KINDS)} is needed")
        common: dict[str, tuple[_Check, object]] = {
            "endpoint": (lambda value: value in ENDPOINTS, "token"),
            "dialect": (lambda value: value is None or value in dialects, None),
            "grant_id": (lambda value: value is None or _text(value), None),
            "owner": (lambda value: value is None or _text(value), None),
            "count": (lambda value: value is None or (_integer(value) and _positive(value)), 1),
            "probability": (lambda value: _positive(value) and value <= 1, 1.0),  # type: ignore[operator]  # _positive saw a number
            "seed": (_integer, 0),
        }
        known = {**common, **KINDS[kind]}
        if unknown := set(order) - set(known):
            raise ValueError(
                f"{kind} does not know {', '.join(sorted(unknown))}; it knows: {', '.join(sorted(known))}"
            )
        values: dict[str, object] = {}
        for name, (fits, default) in known.items():
            values[name] = order.get(name, default)
            if values[name] is _REQUIRED or not fits(values[name]):
                raise ValueError(f"{name}: missing, or does not fit a fault of kind {kind}")
        fault = Fault(
            fault_id=next(self._ids),
            kind=kind,
            parameters={name: values[name] for name in KINDS[kind]},
            endpoint=str(values["endpoint"]),
            dialect=_optional_text(values["dialect"]),
            grant_id=_optional_text(values["grant_id"]),
            owner=_optional_text(values["owner"]),
            remaining=values["count"] if isinstance(values["count"], int) else None,
            probability=float(values["probability"]),  # type: ignore[arg-type]  # checked above
            rng=Random(values["seed"]),  # type: ignore[arg-type]  # noqa: S311 - an int; the dice of a test, not a secret
        )
        self.waiting.append(fault)
        return fault

    def clear(self) -> int:
        """Drop all queued faults and return how many there were."""
        number = len(self.waiting)
        self.waiting.clear()
        return number

    def withdraw(self, fault_ids: set[int]) -> int:
        """Drop those of these faults that still wait, and return how many there were."""
        staying = [fault for fault in self.waiting if fault.fault_id not in fault_ids]
        number = len(self.waiting) - len(staying)
        self.waiting[:] = staying
        return number

    def take(self, endpoint: str, dialect: str, grant_id: str | None, owner: str | None) -> Fault | None:
        """Return the fault that strikes this request, or None."""
        for fault in self.waiting:
            if (
                fault.endpoint == endpoint
                and fault.dialect in (None, dialect)
                and (fault.grant_id is None or fault.grant_id == grant_id)
                and (fault.owner is None or fault.owner == owner)
                and (fault.probability >= 1 or fault.rng.random() < fault.probability)
            ):
                if fault.remaining is not None:
                    fault.remaining -= 1
                    if fault.remaining == 0:
                        self.waiting.remove(fault)
                return fault
        return None


def _optional_text(value: object) -> str | None:
    return None if value is None else str(value)
