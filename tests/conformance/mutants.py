"""Definitions changed into lies, one key at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.conformance.rows import row_of
from simulator.playing.transcript import Transcript
from tests.conformance.tables import NOTHING, Table, changed, definition_of

_OTHER_AUTH = {
    "client_secret_post": "client_secret_basic",
    "client_secret_basic": "client_secret_post",
    "none": "client_secret_post",
}
_OTHER_METHOD = {"GET": "POST", "POST": "GET", "DELETE": "POST"}


@dataclass(frozen=True)
class Mutant:
    """A table with one lie in it.

    Attributes:
        mend: What the report must name, or a part of it.
    """

    name: str
    mend: str
    table: Table


def mutants(table: Table, transcript: Transcript) -> Iterator[Mutant]:
    """Every lie that a definition of this form can tell about what a transcript shows."""
    yield from _requests(table, transcript)
    yield from _answers(table, transcript)
    yield from _tables(table, transcript)
    yield from _judgements(table, transcript)


def _mutant(name: str, mend: str, table: Table, path: str, value: object) -> Mutant:
    return Mutant(name, mend, changed(table, (path, value)))


def _requests(table: Table, transcript: Transcript) -> Iterator[Mutant]:
    for key in ("token_url", "refresh_url"):
        if key in table:
            yield _mutant(f"{key} of another path", key, table, key, table[key] + "-v0")
            host = table[key].replace("https://", "https://old.")
            yield _mutant(f"{key} of another host", key, table, key, host)
    auth = table.get("client_auth", "client_secret_post")
    fields = () if auth != "client_secret_post" else ("client_id", "client_secret")
    renamed = [(f"field_names.{name}", NOTHING) for name in fields if name in table.get("field_names", {})]
    yield Mutant("client_auth", "client_auth", changed(table, *renamed, ("client_auth", _OTHER_AUTH[auth])))
    form = table.get("body_format", "form")
    yield _mutant("body_format", "body_format", table, "body_format", "json" if form == "form" else "form")
    for key in ("field_names", "token_params", "refresh_params", "code_params"):
        for name in table.get(key, {}):
            yield _mutant(f"{key} without {name}", name, table, f"{key}.{name}", NOTHING)
            yield _mutant(f"{key}.{name} misspelt", name, table, f"{key}.{name}", "misspelt")
    if table["grant"] == "refresh_token":
        named = ("a refresh token of another name", "refresh_token", table, "field_names.refresh_token")
        yield _mutant(*named, "token_of_old")
    if any("code_verifier" in one.request.fields for one in transcript.exchange):
        yield _mutant("pkce", "pkce", table, "pkce", False)


def _answers(table: Table, transcript: Transcript) -> Iterator[Mutant]:
    means = [one.means for one in transcript.exchange if one.on == "token"]
    shown = {
        "access_token": True,
        "refresh_token": any(one.refresh_token == "new" for one in means),
        "expires_in": any(one.expires_in is not None for one in means),
        "refresh_expires_in": any(one.refresh_expires_in is not None for one in means),
        "scope": any(one.scope is not None for one in means),
    }
    for name in (name for name, is_shown in shown.items() if is_shown):
        yield _mutant(f"answer_names.{name}", name, table, f"answer_names.{name}", ["nowhere"])
    if shown["expires_in"]:
        other = "minutes" if table.get("lifetime_unit", "seconds") == "seconds" else "seconds"
        yield _mutant("lifetime_unit", "lifetime_unit", table, "lifetime_unit", other)
    words = {
        one.means.refresh_token
        for one in transcript.exchange
        if one.grant == "refresh_token" and one.documented and one.means.outcome == "tokens"
    }
    if "new" in words:
        without = changed(table, ("rotation", "none"))
        without.pop("replay_window", None)
        yield Mutant("rotation is none", "rotation", without)
    if words & {"kept", "same"}:
        yield Mutant(
            "rotation is single_use",
            "rotation",
            changed(table, ("rotation", "single_use"), ("replay_window", 0)),
        )


def _tables(table: Table, transcript: Transcript) -> Iterator[Mutant]:
    for key in ("check", "revoke", "account"):
        under: dict[str, Any] = table.get(key, {})
        if "url" in under:
            yield _mutant(f"{key}.url", f"{key}.url", table, f"{key}.url", under["url"] + "-v0")
            method = _OTHER_METHOD[under.get("method", "POST" if key == "revoke" else "GET")]
            if not (method == "GET" and under.get("body")):
                yield _mutant(f"{key}.method", f"{key}.method", table, f"{key}.method", method)
        for part in ("query", "body"):
            for name in under.get(part, {}):
                yield _mutant(
                    f"{key}.{part} without {name}", f"{key}.{part}", table, f"{key}.{part}.{name}", NOTHING
                )
    if table.get("check", {}).get("bearer", True) and "check" in table:
        in_query = changed(table, ("check.bearer", False), ("check.query.access_token", "{access_token}"))
        yield Mutant("check.bearer", "check.bearer", in_query)
    if "revoke_url" in table:
        yield _mutant("revoke_url", "revoke_url", table, "revoke_url", table["revoke_url"] + "-v0")
    if table.get("revoke", {}).get("token") == "access_token" and table["grant"] == "refresh_token":
        yield _mutant("revoke.token", "revoke", table, "revoke.token", "refresh_token")
    yield from _accounts(table, transcript)
    if "ok" in table.get("check", {}):
        yield _mutant("check.ok", "check.ok", table, "check.ok.member", "nowhere")
    for name, variable in table.get("variables", {}).items():
        if "from_answer" in variable:
            path = f"variables.{name}.from_answer.member"
            yield _mutant(f"variables.{name}", f"variables.{name}", table, path, "nowhere")


def _accounts(table: Table, transcript: Transcript) -> Iterator[Mutant]:
    account = table.get("account")
    if account is None or account["from"] == "callback":
        return
    yield _mutant("account.id", "account.id", table, "account.id", "nowhere")
    if "label" in account and any(one.means.account_label is not None for one in transcript.exchange):
        yield _mutant("account.label", "account.label", table, "account.label", "nowhere")


def _judgements(table: Table, transcript: Transcript) -> Iterator[Mutant]:
    definition = definition_of("mutant", table)
    coded = {
        row_of(definition, one.on, one.answer.status, one.answer.body)
        for one in transcript.exchange
        if one.means.code is not None
    }
    for place, rule in enumerate(table.get("judgements", ())):
        lie = "transient" if rule["outcome"] != "transient" else "refused"
        path = f"judgements.{place}"
        yield _mutant(f"judgements[{place}] says {lie}", "judgements", table, f"{path}.outcome", lie)
        if place in coded:
            yield _mutant(
                f"judgements[{place}] is called otherwise", "judgements", table, f"{path}.name", "x"
            )
