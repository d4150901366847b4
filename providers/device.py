"""The device flow (RFC 8628): a code for the user to type in elsewhere, and polls until he has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)

from domain.errors import ConfigurationError, GrantRejected, Malformed, OutcomeUnknown, Unavailable
from providers.answer_times import lifetime
from providers.app_credentials import AppCredentials
from providers.connecting import Connected, brought, token_request
from providers.definition import ProviderDefinition
from providers.encoding import required, secret_of, sendable, token_body
from providers.http import WireAnswer, WireRequest
from providers.refusals import Reading
from providers.requests import NO_METADATA, PreparedCall
from providers.toml_values import is_loopback
from providers.urls import destination
from providers.vocabulary import Endpoint

#: RFC 8628 §3.2: where the answer names none.
DEFAULT_INTERVAL: Final = timedelta(seconds=5)
#: RFC 8628 §3.5: by so much a "slow_down" lengthens the interval, for good.
SLOWER: Final = timedelta(seconds=5)
#: No user is waited for longer, and none is asked for more rarely, whatever the provider says.
_LONGEST_WAIT: Final = timedelta(hours=1)
_LONGEST_INTERVAL: Final = timedelta(minutes=1)
#: RFC 8628 §3.2 requires a lifetime; where a provider leaves it out, this is the commonest.
_USUAL_LIFETIME: Final = timedelta(minutes=15)
#: Codes that end a poll (RFC 8628 §3.5): the user said no, or did not come in time.
_OVER: Final = ("access_denied", "expired_token")


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """What a user is shown, and what we poll with. `repr` does not show the device code.

    Attributes:
        user_code: What the user types in at `verification_uri`.
        verification_uri_complete: The same with the code in it; None where the provider has none.
        expires_in: How long it may take him; at most an hour.
        interval: Between two polls, at least.
    """

    device_code: SecretStr = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: timedelta
    interval: timedelta


@dataclass(frozen=True, slots=True)
class Pending:
    """The user has not decided yet. `slower`: poll `SLOWER` more rarely from now on."""

    slower: bool = False


def _page(value: object) -> str | None:
    """Return a page that a user may be sent to; None for what is none."""
    if not isinstance(value, str) or len(value) > 2048 or not value.isascii() or not value.isprintable():
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    host = parts.hostname or ""
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    return value if safe and host and "@" not in parts.netloc else None


def _seconds(value: object) -> timedelta | None:
    return lifetime(value)


class _Authorization(BaseModel):
    """RFC 8628 §3.2. Google wrote `verification_url` before the RFC did, and some still do."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    device_code: Annotated[str, StringConstraints(strict=True, pattern=r"^[\x20-\x7e]{1,4096}$")]
    user_code: Annotated[str, StringConstraints(strict=True, pattern=r"^[\x20-\x7e]{1,64}$")]
    verification_uri: Annotated[str, BeforeValidator(_page)] = Field(
        validation_alias=AliasChoices("verification_uri", "verification_url")
    )
    verification_uri_complete: Annotated[str | None, BeforeValidator(_page)] = Field(
        default=None, validation_alias=AliasChoices("verification_uri_complete", "verification_url_complete")
    )
    expires_in: Annotated[timedelta | None, BeforeValidator(_seconds)] = None
    interval: Annotated[timedelta | None, BeforeValidator(_seconds)] = None


def prepare_device_authorization(
    definition: ProviderDefinition,
    app: AppCredentials | None,
    *,
    scopes: Sequence[str],
    metadata: Mapping[str, object] = NO_METADATA,
) -> PreparedCall:
    """Build the request for a code that a user can type in (RFC 8628 §3.1).

    Raises:
        ClientMisconfigured: We have no client id, or no secret where the provider wants one.
        ConfigurationError: The provider has no device flow, or a part of its URL is missing.
    """
    app = required(definition, app)
    if definition.device_url is None:
        raise ConfigurationError(f"provider {definition.id!r} has no device flow; it has no device_url")
    fields = {"scope": definition.scope_separator.join(scopes)} if scopes else {}
    headers = dict(definition.token_headers)
    content = token_body(fields, definition, app, headers)
    url = destination(definition, definition.device_url, metadata)
    request = WireRequest("POST", url, headers, content)
    return PreparedCall(definition, Endpoint.DEVICE, request, (secret_of(app),), definition.id)


def judge_device_authorization(
    definition: ProviderDefinition, answer: WireAnswer, *, secrets: Iterable[str] = ()
) -> DeviceAuthorization:
    """Return what the user is to be shown.

    Raises:
        Malformed: The answer lacks what RFC 8628 §3.2 requires; the code never quotes it.
        ProviderError: Any other kind; nothing was begun, and asking again costs nothing.
    """
    reading = Reading(definition, Endpoint.DEVICE, answer, secrets)
    reading.raise_refusal(trouble=Unavailable)
    found: _Authorization | None = None
    wrong = "answer_too_large" if answer.oversized else "answer_not_json"
    if reading.document is not None:
        try:
            found = _Authorization.model_validate(reading.document)
        except ValidationError as error:
            wrong = f"answer_{error.errors(include_input=False, include_context=False)[0]['loc'][0]}_invalid"
    # Raised here and not above: a validation error holds the value it rejects.
    if found is None:
        raise Malformed(wrong, http_status=answer.status)
    return DeviceAuthorization(
        device_code=SecretStr(found.device_code),
        user_code=found.user_code,
        verification_uri=found.verification_uri,
        verification_uri_complete=found.verification_uri_complete,
        expires_in=min(found.expires_in or _USUAL_LIFETIME, _LONGEST_WAIT),
        interval=min(found.interval or DEFAULT_INTERVAL, _LONGEST_INTERVAL),
    )


def prepare_device_poll(
    definition: ProviderDefinition,
    app: AppCredentials | None,
    *,
    device_code: SecretStr,
    metadata: Mapping[str, object] = NO_METADATA,
) -> PreparedCall:
    """Build the request that asks whether the user has decided (RFC 8628 §3.4).

    Raises:
        ClientMisconfigured: We have no client id, or no secret where the provider wants one.
        ConfigurationError: The provider has no device flow, or a part of its URL is missing.
    """
    app = required(definition, app)
    if definition.device_url is None or definition.token_url is None:
        raise ConfigurationError(f"provider {definition.id!r} has no device flow; it has no device_url")
    fields = {"grant_type": DEVICE_CODE_GRANT_TYPE, "device_code": sendable(device_code, "device code")}
    return token_request(definition, definition.token_url, app, fields, {}, metadata)


def judge_device_poll(
    definition: ProviderDefinition,
    app: AppCredentials,
    answer: WireAnswer,
    *,
    metadata: Mapping[str, object] = NO_METADATA,
    secrets: Iterable[str] = (),
    now: datetime | None = None,
) -> Connected | Pending:
    """Return the tokens once the user has agreed; `Pending` before.

    Args:
        metadata: What the request's URL was filled with.

    Raises:
        GrantRejected: He said no (``access_denied``), or the code has expired (``expired_token``).
        OutcomeUnknown: Tokens may have been issued, and none came.
        ProviderError: Any other kind: poll again.
    """
    reading = Reading(definition, Endpoint.TOKEN, answer, secrets)
    code = reading.error_code()
    if code in ("authorization_pending", "slow_down"):
        return Pending(slower=code == "slow_down")
    if code in _OVER:
        raise reading.failure(GrantRejected, code)
    reading.raise_refusal(trouble=OutcomeUnknown, ok=definition.answer_ok)
    return brought(definition, app, reading, callback={}, metadata=metadata, secrets=secrets, now=now)
