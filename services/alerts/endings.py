"""Alerts about grants that will die: when, why, and what helps."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from domain.lifetimes import End, EndOf
from domain.provider import GrantLimit
from storage.alerts import WILL_DIE, AlertSpec
from storage.grant_counts import AccountCount
from storage.lives import Lived

GRANTS_NEAR_LIMIT: Final = "grants_near_limit"
#: So many connections of a group's are named.
_EXAMPLES: Final = 10

_AGAIN: Final = "Ask the user to connect {provider} again{before}; nothing else helps."
_MEND: Final = (
    "The date moves with the first refresh that succeeds: mend what keeps it from that (`evergrant "
    "connections show` and `evergrant alerts list` tell). Only if that takes too long, ask the user to "
    "connect {provider} again."
)
#: Why, and what helps. `{life}` is how long the grant lives in all.
_WHY: Final = {
    EndOf.REFRESH_TOKEN: (
        "{provider}'s refresh tokens live {life} from their issue, and refreshing does not renew them",
        _AGAIN,
    ),
    EndOf.GRANT: (
        "A grant at {provider} ends {life} after the consent, however often it is refreshed",
        _AGAIN,
    ),
    EndOf.IDLE: (
        "{provider} ends a grant that is not refreshed for {life}, and {unrefreshed}",
        _MEND,
    ),
    EndOf.TOLD: (
        "{provider} itself has given the grant that end, as where users may let an app in for a time only",
        _AGAIN,
    ),
    EndOf.TESTING: (
        (
            "{provider} itself has given the grant no more than {life}, as providers do with apps that are "
            'still in testing (Google: seven days while the consent screen says "Testing")'
        ),
        (
            "Publish the app in {provider}'s console, and then ask the user to connect {provider} again: "
            "what was granted before stays as short as it is."
        ),
    ),
    EndOf.NOT_REFRESHABLE: (
        "That is the access token's end, and {provider} gave no refresh token with it",
        (
            "Ask the user to connect {provider} again{before}. Where the provider gives refresh tokens "
            "to apps that ask for them, or that it has approved, ask for one, so that it lasts next time."
        ),
    ),
}
_RENEWABLE: Final = (
    "{provider}'s refresh tokens live {life}, refreshing renews them, and {unrefreshed}",
    _MEND,
)


def will_die(lived: Lived, end: End, display_name: str, *, now: datetime) -> AlertSpec:
    """One connection's grant will die, or should have died and nobody knows."""
    ref, over = lived.ref, end.at <= now
    words = _words(display_name, end, lived, over=over)
    why, helps = _reason(end)
    if over and end.of is EndOf.NOT_REFRESHABLE:
        title = f"The {display_name} access token of user {ref.user_id} ended on {_day(end.at)}"
        tried = "There is nothing to try. "
    elif over:
        title = f"The {display_name} grant of user {ref.user_id} should have ended on {_day(end.at)}"
        tried = "Nobody has declared it dead: it is tried as usual, and what the provider answers counts. "
    else:
        title = f"The {display_name} grant of user {ref.user_id} will die on {_day(end.at)}"
        tried = ""
    return AlertSpec(
        cause=f"connection:{ref.connection_id}:{WILL_DIE}",
        kind=WILL_DIE,
        severity="warning",
        title=title,
        help=f"{why.format(**words)}{_last_error(lived)}. {tried}{helps.format(**words)} The alert ends by "
        "itself when the user has connected again, or the date has moved.",
        provider_id=ref.provider_id,
        connection_id=ref.connection_id,
        detail={
            "of": str(end.of),
            "dies_at": end.at.isoformat(),
            "overdue": over,
            "user_id": ref.user_id,
            "account_id": ref.account_id,
            "last_error_code": lived.last_error_code,
        },
    )


def will_die_cause(provider_id: str, of: EndOf) -> str:
    """Return the cause under which many connections of one provider that die of the same are one incident."""
    return f"provider:{provider_id}:{WILL_DIE}:{of}"


def many_will_die(
    dying: Sequence[tuple[Lived, End]], display_name: str, *, now: datetime, exact: bool
) -> AlertSpec:
    """Many connections of one provider will die of the same cause.

    Args:
        dying: At least one, those that end first in front.
        exact: There are no more of them.
    """
    lived, first = dying[0]
    number = f"{len(dying):,}" if exact else f"More than {len(dying):,}"
    over = sum(end.at <= now for _, end in dying)
    last = dying[-1][1]
    words = _words(display_name, first, lived, over=last.at <= now)
    why, helps = _reason(first)
    grants = "grant" if number == "1" else "grants"
    ahead = next((end for _, end in dying if end.at > now), None)
    when = f"should have ended by {_day(last.at)}" if ahead is None else f"will die from {_day(ahead.at)} on"
    late = f" {over:,} of them should have ended already; what the provider answers counts." if over else ""
    return AlertSpec(
        cause=will_die_cause(lived.ref.provider_id, first.of),
        kind=WILL_DIE,
        severity="warning",
        title=f"{number} {display_name} {grants} {when}",
        help=f"{why.format(**words)}. The last that is known of ends on {_day(last.at)}.{late} "
        f"{helps.format(**words)} `evergrant connections list --provider-id {lived.ref.provider_id}` names "
        "the users. The alert ends by itself when nobody is left.",
        provider_id=lived.ref.provider_id,
        detail={
            "of": str(first.of),
            "connections": len(dying),
            "connections_is_exact": exact,
            "overdue": over,
            "first_dies_at": first.at.isoformat(),
            "last_dies_at": last.at.isoformat(),
            "examples": [str(one.ref.connection_id) for one, _ in dying[:_EXAMPLES]],
        },
    )


def grants_cause(provider_id: str, account_id: str) -> str:
    """Return the cause under which one account's many grants are one incident; does not quote the account."""
    digest = hashlib.sha256(account_id.encode()).hexdigest()[:32]
    return f"provider:{provider_id}:{GRANTS_NEAR_LIMIT}:{digest}"


def grants_near_limit(
    counted: AccountCount, limit: GrantLimit, provider_id: str, display_name: str
) -> AlertSpec:
    """An account has nearly as many grants as its provider keeps, or more."""
    name, number = display_name, counted.connections
    if limit.refused:
        beyond = "One more consent than that is refused, so nobody can connect it again"
    else:
        beyond = (
            "With one more than that the oldest of them dies without a word, here that of user "
            f"{counted.oldest_user}, connected on {_day(counted.oldest_at)}"
        )
    return AlertSpec(
        cause=grants_cause(provider_id, counted.account_id),
        kind=GRANTS_NEAR_LIMIT,
        severity="warning",
        title=f"{name} account {counted.account_id} has {number} of the {limit.max} grants that it may have",
        help=f"{name} keeps {limit.max} grants of one account and client. {beyond}. Grants that were "
        "replaced by connecting again may count there as well, although they are not counted here. "
        "Disconnect what nobody needs (`evergrant connections disconnect`), and connect the account once for "
        "several users where that can be done. The alert ends by itself when there are fewer.",
        provider_id=provider_id,
        detail={
            "account_id": counted.account_id,
            "connections": number,
            "max": limit.max,
            "beyond": "refused" if limit.refused else "oldest_dies",
            "oldest_user_id": counted.oldest_user,
            "oldest_connected_at": counted.oldest_at.isoformat(),
        },
    )


def _reason(end: End) -> tuple[str, str]:
    return _RENEWABLE if end.renewed and end.of is not EndOf.IDLE else _WHY[end.of]


def _last_error(lived: Lived) -> str:
    return "" if lived.last_error_code is None else f" (last error: {lived.last_error_code})"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d at %H:%M} UTC"


def _words(display_name: str, end: End, lived: Lived, *, over: bool) -> dict[str, str]:
    before = "" if over else " before that"
    failing = lived.life.failures > 0
    return {
        "provider": display_name,
        "life": _duration(end.life),
        "before": before,
        "unrefreshed": "refreshing it does not succeed"
        if failing
        else "nobody refreshes it although it is due",
    }


def _duration(life: timedelta) -> str:
    minutes = max(1.0, life.total_seconds() / 60)
    if minutes < 90:
        number, unit = minutes, "minute"
    elif minutes < 47.5 * 60:
        number, unit = minutes / 60, "hour"
    else:
        number, unit = minutes / (24 * 60), "day"
    shown = f"{number:,.0f}"
    return f"{shown} {unit}" if shown == "1" else f"{shown} {unit}s"
