"""The alert that tells that workers do not keep up, with the arithmetic for the person on call."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from domain.capacity import DRAINS_WITHIN, Behind, Load
from domain.pacing import rate_wanted
from storage.alerts import AlertSpec

CAPACITY: Final = "capacity"
#: One incident a deployment: all bulk workers take from all providers.
CAPACITY_CAUSE: Final = "deployment:capacity"
#: One incident a provider, whose own rate is what bounds it.
RATE_TOO_LOW: Final = "rate_too_low"


def capacity(load: Load) -> AlertSpec:
    """More refreshes become due than workers carry, or a backlog does not get less in time."""
    fine = load.catches_up and not load.deserted
    advice = ("Nothing needs to be done.",) if fine else (_bottleneck(load), _mend(load))
    words = (_backlog(load), _expiry(load), *advice, _END)
    return AlertSpec(
        cause=CAPACITY_CAUSE,
        kind=CAPACITY,
        severity="critical" if load.expires_soon else "warning",
        title=_title(load),
        help=" ".join(word for word in words if word),
        detail=_detail(load),
    )


def rate_cause(provider_id: str) -> str:
    """Return the cause under which a provider's rate being too low is one incident."""
    return f"provider:{provider_id}:{RATE_TOO_LOW}"


def rate_too_low(load: Load, provider_id: str, display_name: str, *, most_per_second: float) -> AlertSpec:
    """A provider's own `max_requests_per_second` does not carry what becomes due, or drains too slowly."""
    due, most = _rate(load.due_per_second), _a_second(most_per_second)
    grows = load.surplus <= 0
    if grows:
        title = f"{display_name}'s request rate is too low for its connections"
    else:
        title = f"{display_name}'s request rate drains its backlog too slowly"
    helps = (
        f"What becomes due, {due} a second, needs about {_a_second(rate_wanted(load))}. Raise the rate if "
        "the provider allows more (a line in EVERGRANT_PROVIDERS_FILE, and a restart of the workers), ask "
        "the provider for a higher quota, or spread the connections over several apps."
    )
    waits = (
        "The rate is enough for what becomes due, and the backlog gets less; only a higher one gets it done "
        "sooner."
    )
    allowed = (
        f"Its definition allows {most} (`max_requests_per_second`), which all workers keep together: more of "
        "them do not help."
    )
    words = (
        _backlog(load, whose=f" of {display_name}"),
        allowed,
        _expiry(load),
        helps if grows else waits,
        _END,
    )
    return AlertSpec(
        cause=rate_cause(provider_id),
        kind=RATE_TOO_LOW,
        severity="critical" if load.expires_soon else "warning",
        title=title,
        help=" ".join(words),
        provider_id=provider_id,
        detail={
            **{
                name: value
                for name, value in _detail(load).items()
                if name not in ("workers", "done_per_second_by_each", "workers_missing", "mostly_of")
            },
            "max_requests_per_second": most_per_second,
            "rate_wanted": round(rate_wanted(load), 3),
        },
    )


def _a_second(per_second: float) -> str:
    if per_second >= 1 or per_second == 0:
        return f"{_rate(per_second)} requests a second"
    return (
        f"{_rate(per_second * 60)} requests a minute"
        if per_second * 60 >= 1
        else (f"{_rate(per_second * 3600)} requests an hour")
    )


_END: Final = "The alert ends by itself half a minute after nothing is late any more."


def _title(load: Load) -> str:
    due, done = _rate(load.due_per_second), _rate(load.done_per_second)
    if load.done_per_second == 0:
        are = "is" if load.overdue == 1 else "are"
        return f"No worker refreshes tokens, and {_number(load)} {are} overdue"
    if load.catches_up and not load.deserted:
        return f"Workers are catching up: {_number(load)} tokens are still overdue"
    if load.worst is not None:
        due, done = _rate(load.behind.due_per_second), _rate(load.behind.done_per_second)
        return f"{load.worst} falls behind: {due} tokens become due each second, and {done} are refreshed"
    if load.surplus <= 0:
        return f"Workers do not keep up: {due} tokens become due each second, and {done} are refreshed"
    return f"Workers hardly keep up: {_number(load)} tokens are overdue, and get less too slowly"


def _backlog(load: Load, *, whose: str = "") -> str:
    part: Load | Behind = load
    if load.worst is not None:
        # Of one provider that falls behind alone, what the others have due and done says nothing.
        part, whose = load.behind, f" of {load.worst}"
    tokens, are = ("token", "is") if part.overdue == 1 else ("tokens", "are")
    text = (
        f"{_number(part).capitalize()} {tokens}{whose} {are} overdue, "
        f"the oldest by {_duration(load.lateness)}; {_rate(part.due_per_second)} become due each second "
        f"and {_rate(part.done_per_second)} are done"
    )
    if part.drained_in is not None:
        return f"{text}, so it takes {_duration(part.drained_in)} until nothing is overdue."
    growth = _rate(part.due_per_second - part.done_per_second)
    return f"{text}, so the backlog {'stays as it is' if growth == '0' else f'grows by {growth} a second'}."


def _expiry(load: Load) -> str:
    first = load.first_expires_in
    if first is None:
        return "No token expires for it at this pace."
    if first == timedelta(0):
        expired = f" ({load.expired:,} of those that were counted have)" if load.expired else ""
        return f"Tokens expire now before their turn comes{expired}."
    return f"At this pace the first expires in {_duration(first)}, at {load.at + first:%H:%M:%S} UTC."


def _bottleneck(load: Load) -> str | None:
    if load.worst is None:
        return None
    return (
        f"Nearly all that is late is of {load.worst}, while other providers' tokens are refreshed: its calls "
        "take long, or its `max_concurrency` is low. Either bounds the threads that it may "
        "hold of each worker process."
    )


def _mend(load: Load) -> str:
    each, missing = load.done_by_each, load.workers_missing
    if each is None or load.workers is None:
        return (
            "No bulk worker is seen at work: start `evergrant worker --queues refresh,health` (or "
            "`evergrant up`), and see with `evergrant doctor` what keeps those that run from it."
        )
    seen = "1 worker process does" if load.workers == 1 else f"{load.workers} worker processes do"
    if missing is None:
        return (
            f"{seen} {_rate(each)} a second each, far less than workers can: `evergrant doctor` and their "
            "logs say what keeps them from it. More of them would hardly help."
        )
    wanted = load.workers + missing
    more = "1 more is" if missing == 1 else f"{missing} more are"
    return (
        f"{seen} {_rate(each)} a second each; {more} needed to keep up and be rid of the backlog in "
        f"{_duration(DRAINS_WITHIN)}: set EVERGRANT_BULK_WORKERS={wanted} and restart `evergrant up`, or "
        f"start {missing} more `evergrant worker --queues refresh,health` on any machine. "
        "Where processors are idle and workers wait for slow providers, raise "
        "EVERGRANT_WORKER_THREADS instead; where all are busy, only another machine helps."
    )


def _detail(load: Load) -> dict[str, object]:
    first, drained, each = load.first_expires_in, load.drained_in, load.done_by_each
    return {
        "due_per_second": round(load.due_per_second, 3),
        "done_per_second": round(load.done_per_second, 3),
        "overdue": load.overdue,
        "overdue_is_exact": load.exact,
        "oldest_late_seconds": round(load.lateness.total_seconds(), 1),
        "expired": load.expired,
        "first_expires_in_seconds": None if first is None else round(first.total_seconds()),
        "drained_in_seconds": None if drained is None else round(drained.total_seconds()),
        "workers": load.workers,
        "done_per_second_by_each": None if each is None else round(each, 3),
        "workers_missing": load.workers_missing,
        "mostly_of": load.worst,
    }


def _number(load: Load | Behind) -> str:
    if load.exact:
        return f"{load.overdue:,}"
    # An estimate says no more than two digits of it.
    digits = max(0, len(str(load.overdue)) - 2)
    return f"about {round(load.overdue, -digits):,}"


def _rate(per_second: float) -> str:
    if per_second >= 10 or per_second == 0:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second >= 0.1 else f"{per_second:.2g}"


def _duration(duration: timedelta) -> str:
    """Return a duration in its largest fitting unit, as people say it."""
    seconds = duration.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 172_800 else f"{seconds / 86_400:,.0f} days"
