"""Says what a whole transcript would show and one does not."""

from __future__ import annotations

from collections.abc import Iterator

from domain.provider import GrantKind
from providers.definition import ProviderDefinition
from providers.vocabulary import AccountSource
from scripts.conformance.making import connects
from scripts.conformance.rows import row_of
from simulator.playing.transcript import Exchange, Transcript


def gaps(definition: ProviderDefinition, transcript: Transcript) -> Iterator[str]:
    """Yield what is missing, each with the words that find it in docs/providers.md."""
    shown = transcript.exchange

    def some(on: str, outcome: str, *, grant: str | None = None) -> bool:
        return any(
            one.on == on and one.means.outcome == outcome and grant in (None, one.grant) for one in shown
        )

    refreshes = definition.grant is not GrantKind.NONE
    source = None if definition.account is None else definition.account.source
    in_an_answer = source in (AccountSource.ANSWER, AccountSource.ID_TOKEN)
    # What it is called, whether the definition speaks of it, and whether it is shown.
    asks_for_more = bool(definition.authorize_params or definition.authorize_names)
    wanted = (
        ("an authorization request", asks_for_more, transcript.authorize is not None),
        ("a code exchange", connects(definition), some("token", "tokens", grant="authorization_code")),
        ("a refresh", refreshes, some("token", "tokens", grant=definition.grant.value)),
        (
            "a dead refresh token",
            definition.grant is GrantKind.REFRESH_TOKEN,
            some("token", "grant_rejected", grant="refresh_token"),
        ),
        ("a wrong client", refreshes or connects(definition), some("token", "client_misconfigured")),
        ("a rate limit", True, any(one.means.outcome == "rate_limited" for one in shown)),
        ("a check of a living token", definition.check is not None, some("check", "alive")),
        ("a check of a dead token", definition.check is not None, some("check", "grant_rejected")),
        ("a revocation", definition.revocation_url is not None, some("revoke", "revoked")),
        ("an account", source is AccountSource.REQUEST, some("account", "account")),
        ("an account in a code exchange's answer", in_an_answer, _told(shown)),
        ("a device authorization", definition.device_url is not None, some("device", "device")),
    )
    yield from (name for name, is_meant, is_shown in wanted if is_meant and not is_shown)
    yield from _rows(definition, shown)


def _told(shown: tuple[Exchange, ...]) -> bool:
    return any(one.grant == "authorization_code" and one.means.account_id is not None for one in shown)


def _rows(definition: ProviderDefinition, shown: tuple[Exchange, ...]) -> Iterator[str]:
    places = {row_of(definition, one.on, one.answer.status, one.answer.body) for one in shown}
    for place, rule in enumerate(definition.judgements):
        if place not in places:
            codes = "any code" if rule.code is None else ", ".join(rule.code)
            yield f"row {place + 1} of the judgement table (judgements[{place}]: on {rule.on}, {codes})"
