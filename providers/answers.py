"""Reads what providers answer: strict about the tokens, lenient about what can be done without."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError

from domain.errors import Malformed
from domain.token import Answer
from providers.answer_times import left_until, lifetime
from providers.definition import ProviderDefinition
from providers.vocabulary import AnswerField

#: RFC 6749 appendix A.12 and A.17: tokens are made of visible ASCII characters and the space.
_TOKEN: Final = re.compile(r"[\x20-\x7e]+")
#: RFC 6749's names of the answer's fields, and the ones in use for the refresh token's own lifetime.
_NAMES: Final[Mapping[AnswerField, tuple[str, ...]]] = {
    "access_token": ("access_token",),
    "refresh_token": ("refresh_token",),
    "token_type": ("token_type",),
    "expires_in": ("expires_in",),
    "scope": ("scope",),
    "refresh_expires_in": (
        "refresh_token_expires_in",
        "refresh_expires_in",
        "x_refresh_token_expires_in",
    ),
    "expires_at": (),
    "refresh_expires_at": (),
    "id_token": ("id_token",),
}


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("is not a token")
    return value


def scopes(value: object) -> tuple[str, ...] | None:
    """Return a scope list, written with spaces (RFC 6749 §3.3), commas or as an array; None for none.

    What is no scope (a control character, half of a surrogate pair) is left out: Postgres could not store it,
    and the tokens that came with it would be lost.
    """
    if isinstance(value, list):
        value = " ".join(item for item in value if isinstance(item, str))
    if not isinstance(value, str):
        return None
    return tuple(part for part in re.split(r"[\s,]+", value) if part and part.isprintable()) or None


def _absent(value: object) -> object:
    # Some providers write "" or false where RFC 6749 §6 leaves the field out; the old one stays.
    return None if value == "" or value is False else value


def _type(value: object) -> str | None:
    """Return a token type as definitions name it (§5.1: in capitals or not); None for what is no text.

    Airtable puts a space behind it.
    """
    return value.strip().lower() if isinstance(value, str) else None


def _id_token(value: object) -> SecretStr | None:
    # Decorative: what cannot be one must not cost the tokens beside it.
    return SecretStr(value) if isinstance(value, str) and _TOKEN.fullmatch(value) else None


class _TokenAnswer(BaseModel):
    """RFC 6749 §5.1, only the fields used. The tokens are strict; the rest never loses them."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, hide_input_in_errors=True)

    access_token: Annotated[str, AfterValidator(_token)]
    refresh_token: Annotated[str | None, BeforeValidator(_absent)] = None
    token_type: Annotated[str | None, BeforeValidator(_type)] = None
    scope: Annotated[tuple[str, ...] | None, BeforeValidator(scopes)] = None


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object a body holds, whatever its content type claims; None if it holds none.

    A name in an old encoding and a line break inside a text are forgiven: tokens may stand beside them.
    """
    try:
        try:
            parsed = json.loads(body, strict=False)
        except UnicodeDecodeError:
            parsed = json.loads(body.decode("latin-1"), strict=False)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def member(document: object, path: str) -> object:
    """Return what a dotted path leads to, None for nowhere: ``error.errors.0.reason``."""
    if "." not in path and isinstance(document, dict):
        return document.get(path)
    for part in path.split("."):
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def token_answer(
    definition: ProviderDefinition,
    document: Mapping[str, Any] | None,
    *,
    status: int,
    headers: Mapping[str, str] | None = None,
    now: datetime | None = None,
    refreshed: bool = False,
) -> Answer:
    """Return the tokens of a successful answer.

    Args:
        refreshed: They replace tokens of a grant that lives. Then a type that we do not know costs nothing:
            the spent refresh token may be good for nothing any more. A grant that begins so is refused (RFC
            6749 §7.1).
        headers: The answer's; its Date is what instants in the answer are compared with.
        now: The caller's clock, for an answer without a date; None: instants are then of no use.

    Raises:
        Malformed: It holds no usable tokens; the code says why, and never quotes it.
    """
    if document is None:
        raise Malformed("answer_not_json", http_status=status)
    found: dict[str, object] = {}
    names = definition.answer_names
    for name, usual in _NAMES.items():
        for path in names.get(name, usual):
            if (value := member(document, path)) not in (None, ""):
                found[name] = value
                break
    wrong: str | None = None
    answer: _TokenAnswer | None = None
    try:
        answer = _TokenAnswer.model_validate(found)
        if answer.refresh_token is not None:
            _token(answer.refresh_token)
    except ValidationError as error:
        wrong = f"answer_{error.errors(include_input=False, include_context=False)[0]['loc'][0]}_invalid"
    except ValueError:
        wrong = "answer_refresh_token_invalid"
    # Raised here and not above: a validation error holds the value it rejects.
    if answer is None or wrong is not None:
        raise Malformed(wrong or "answer_invalid", http_status=status)
    known = {kind.strip() for kind in definition.token_types}
    if answer.token_type and not refreshed and answer.token_type not in known:
        raise Malformed("answer_token_type_unknown", http_status=status)
    unit, dated = definition.lifetime_unit, headers or {}
    expires_in = lifetime(found.get("expires_in"), unit)
    if expires_in is None and "expires_at" in found:
        expires_in = left_until(found["expires_at"], dated, now)
    refresh_expires_in = lifetime(found.get("refresh_expires_in"), unit)
    if refresh_expires_in is None and "refresh_expires_at" in found:
        refresh_expires_in = left_until(found["refresh_expires_at"], dated, now)
    return Answer(
        access_token=SecretStr(answer.access_token),
        refresh_token=None if answer.refresh_token is None else SecretStr(answer.refresh_token),
        expires_in=expires_in,
        scope=answer.scope,
        refresh_expires_in=refresh_expires_in,
        id_token=_id_token(found.get("id_token")),
    )
