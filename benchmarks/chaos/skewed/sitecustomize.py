"""Shift this process's wall clock by EVERGRANT_CHAOS_SKEW_SECONDS; its monotonic clock stays.

Python imports a module of this name at its start, before anything of ours. What `time` and `datetime` tell is
shifted; what C code asks the kernel for itself is not, and neither are files' times.
"""

from __future__ import annotations

import datetime as _datetime
import os
import time as _time
from typing import Any

SKEW = float(os.environ.get("EVERGRANT_CHAOS_SKEW_SECONDS", "0"))

_real_time, _real_time_ns = _time.time, _time.time_ns
_Real = _datetime.datetime


def _shifted_time() -> float:
    return _real_time() + SKEW


def _shifted_time_ns() -> int:
    return _real_time_ns() + int(SKEW * 1e9)


class _Class(type):
    """Makes every ordinary datetime an instance of the shifted class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _Real)


class _Shifted(_Real, metaclass=_Class):
    """`datetime.datetime` whose present is elsewhere. Each present is an ordinary datetime."""

    # Of the same size as the class itself, which compiled libraries look at.
    __slots__ = ()

    @classmethod
    def now(cls, tz: _datetime.tzinfo | None = None) -> Any:  # noqa: ANN401 - an ordinary datetime, not a cls
        return _Real.fromtimestamp(_shifted_time(), tz)

    @classmethod
    def utcnow(cls) -> Any:  # noqa: ANN401 - as above
        return _Real.fromtimestamp(_shifted_time(), _datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:  # noqa: ANN401 - as above
        return cls.now()


if SKEW:
    # Libraries look types up by this name.
    _Shifted.__module__, _Shifted.__name__, _Shifted.__qualname__ = "datetime", "datetime", "datetime"
    _time.time, _time.time_ns = _shifted_time, _shifted_time_ns
    _datetime.datetime = _Shifted  # type: ignore[misc]  # that is the point
