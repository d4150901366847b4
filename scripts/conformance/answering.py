"""What a definition says that it is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final

from providers.definition import ProviderDefinition
from providers.vocabulary import AccountSource
from scripts.conformance.documents import document_of
from scripts.conformance.sending import value_of
from simulator.playing.transcript import Told

#: The name in use for the refresh token's own lifetime, where the definition lists none.
_REFRESH_EXPIRY: Final = "refresh_token_expires_in"
#: When the provider answers: instants in answers are read against it.
SENT: Final = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DATED: Final[Mapping[str, str]] = {"date": format_datetime(SENT, usegmt=True)}
#: Who the made-up user is.
ACCOUNT_ID: Final = "made-up-4711"
ACCOUNT_LABEL: Final = "rose@made-up.example"
_BRACES: Final = re.compile(r"\{([a-z0-9_]+)\}")
_GROUP: Final = re.compile(r"\((?!\?)[^()]*\)")


def path_of(definition: ProviderDefinition, field: Any) -> str:  # noqa: ANN401 - an AnswerField, by name
    """Return the first path at which the definition looks for a field of the answer."""
    usual = _REFRESH_EXPIRY if field == "refresh_expires_in" else str(field)
    return definition.answer_names.get(field, (usual,))[0]


def is_both(definition: ProviderDefinition) -> bool:
    """Say whether the access token is what the definition refreshes by."""
    return path_of(definition, "access_token") == path_of(definition, "refresh_token")


def token_answer(definition: ProviderDefinition, *, connecting: bool, **fields: object) -> Told:
    """Return a successful answer of the token endpoint.

    Args:
        connecting: Of the code exchange, which may tell account and variables as well.
        fields: Under RFC 6749's names; None leaves one out.

    Raises:
        Contradiction: The definition looks for two things at one place.
    """
    given = {"access_token": "{access_token}", "token_type": definition.token_types[0], **fields}
    members = [(path_of(definition, name), value) for name, value in given.items() if value is not None]
    if definition.answer_ok is not None:
        members.append((definition.answer_ok.member, definition.answer_ok.equals))
    if connecting:
        members += _account_members(definition)
        members += [
            (variable.from_answer.member, telling(variable.from_answer.pattern, value_of(variable)))
            for variable in definition.variables.values()
            if variable.from_answer is not None
        ]
    body = json.dumps(document_of(dict(members).items()))
    # An ID token's claims stand in the body as they are.
    return Told(status=200, headers=dict(DATED), body=body.replace('\\"', '"'))


def account_id(definition: ProviderDefinition) -> str:
    """Return what the made-up user is called: what a variable at the same place says, else `ACCOUNT_ID`."""
    account = definition.account
    if account is None:
        return ACCOUNT_ID
    for variable in definition.variables.values():
        where = variable.from_answer
        if account.source is AccountSource.ANSWER and where is not None and where.member == account.id:
            return telling(where.pattern, value_of(variable))
        back = variable.from_callback
        if account.source is AccountSource.CALLBACK and back is not None and back.parameter == account.id:
            return telling(back.pattern, value_of(variable))
    if account.source is AccountSource.VARIABLE:
        return _BRACES.sub(lambda match: value_of(definition.variables[match.group(1)]), account.id)
    return ACCOUNT_ID


def _told(definition: ProviderDefinition) -> list[tuple[str, object]]:
    """Return what an answer says of the user, by path."""
    account = definition.account
    if account is None:
        return []
    label: list[tuple[str, object]] = (
        [] if account.label in (None, account.id) else [(str(account.label), ACCOUNT_LABEL)]
    )
    return [(account.id, account_id(definition)), *label]


def _account_members(definition: ProviderDefinition) -> list[tuple[str, object]]:
    source = None if definition.account is None else definition.account.source
    if source is AccountSource.ANSWER:
        return _told(definition)
    if source is AccountSource.ID_TOKEN:
        issued: list[tuple[str, object]] = [] if definition.issuer is None else [("iss", definition.issuer)]
        claims = json.dumps(document_of(dict([*issued, *_told(definition)]).items()))
        return [(path_of(definition, "id_token"), f"{{id_token:{claims}}}")]
    return []


def account_answer(definition: ProviderDefinition) -> Told:
    """Return what the account's request is answered with."""
    return Told(status=200, body=json.dumps(document_of(_told(definition))))


def telling(pattern: str | None, value: str) -> str:
    """Return a text in which the pattern's one group is the value."""
    if pattern is None:
        return value
    text = re.sub(r"\\(.)", r"\1", _GROUP.sub(lambda _: value, pattern))
    found = re.fullmatch(pattern, text)
    return text if found is not None and found.group(1) == value else value
