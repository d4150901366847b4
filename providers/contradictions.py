"""What in a provider's table does not fit together, key by key, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from domain.provider import GrantKind, Rotation
from domain.token import TokenKind
from providers.events.tables import EventSecret, Webhook
from providers.toml_values import known_scope
from providers.url_templates import RESERVED, names_in
from providers.url_templates import problems as url_problems
from providers.vocabulary import AUTHORIZE_OWN, TOKEN_OWN, AccountSource, BodyFormat, ClientAuth, RevokeAuth

if TYPE_CHECKING:
    from providers.definition import ProviderDefinition

Problem = tuple[str, str]
#: What means nothing where nobody connects by an authorization request.
_OF_CONNECTING: Final = ("issuer", "authorize_params", "authorize_names", "code_params")
#: What means nothing where no refresh token is presented.
_OF_REFRESH_TOKENS: Final = (
    "rotation",
    "replay_window",
    "refresh_token_idle_lifetime",
    "refresh_token_lifetime",
    "refresh_url",
)
_NOTHING: Final[tuple[object, ...]] = (None, Rotation.NONE, {}, ())


def contradictions(definition: ProviderDefinition) -> Iterator[Problem]:
    """Yield each key that does not fit with the others, and why."""
    yield from _of_the_grant(definition)
    yield from _of_connecting(definition)
    yield from _of_requests(definition)
    yield from _of_revoking(definition)
    if definition.check is not None:
        yield from definition.check.contradictions("check")
    if definition.account is not None:
        yield from definition.account.contradictions("account")
    if definition.events is not None:
        yield from definition.events.contradictions("events")
        yield from _of_events(definition)
    yield from _of_scopes(definition)
    yield from _of_variables(definition)
    for key in definition.unconfirmed:
        if key.partition(".")[0] not in type(definition).model_fields:
            yield f"unconfirmed.{key}", "names no key of a provider's table"


def _of_the_grant(it: ProviderDefinition) -> Iterator[Problem]:
    refreshes = it.grant is GrantKind.REFRESH_TOKEN
    if it.grant is not GrantKind.NONE and it.token_url is None:
        yield "token_url", f'is required with grant = "{it.grant}"'
    if it.grant is GrantKind.NONE and it.check is None:
        yield "check", 'is required with grant = "none": health checks are all there is to do'
    if it.grant is GrantKind.CLIENT_CREDENTIALS and it.client_auth is ClientAuth.NONE:
        yield "client_auth", 'cannot be "none" with grant = "client_credentials" (RFC 6749 §4.4)'
    if not refreshes:
        for key in _OF_REFRESH_TOKENS:
            if getattr(it, key) not in _NOTHING:
                yield key, f'has no meaning with grant = "{it.grant}"; leave it out'
    else:
        yield from _of_rotation(it)
    if it.grant is GrantKind.NONE and it.refresh_params:
        yield "refresh_params", 'has no meaning with grant = "none"; leave it out'
    if it.grant is GrantKind.CLIENT_CREDENTIALS:
        for key in ("grant_lifetime", "grant_limit"):
            if getattr(it, key) is not None:
                yield key, 'has no meaning with grant = "client_credentials"; leave it out'


def _of_rotation(it: ProviderDefinition) -> Iterator[Problem]:
    if it.rotation in (Rotation.OPTIONAL, Rotation.SINGLE_USE):
        if it.replay_window is None:
            wanted = 'seconds (0: no window), "until_successor_used" or "unlimited"'
            yield "replay_window", f'is required with rotation = "{it.rotation}": {wanted}'
    elif it.replay_window is not None:
        yield "replay_window", 'has no meaning without rotation = "optional" or "single_use"; leave it out'


def _of_connecting(it: ProviderDefinition) -> Iterator[Problem]:
    if it.authorize_url is None:
        for key in _OF_CONNECTING:
            if getattr(it, key) not in _NOTHING:
                yield key, "has no meaning without authorize_url; leave it out, or add that"
    if it.device_url is not None:
        if it.token_url is None:
            yield "device_url", "needs token_url, where the device's tokens are asked for (RFC 8628 §3.4)"
        if it.grant is GrantKind.CLIENT_CREDENTIALS:
            yield "device_url", 'has no meaning with grant = "client_credentials"; leave it out'
    for name in it.authorize_params:
        if name in AUTHORIZE_OWN or name in it.authorize_names.values():
            yield f"authorize_params.{name}", "is set by Evergrant; leave it out"


def _of_requests(it: ProviderDefinition) -> Iterator[Problem]:
    renamed = {"client_id", "client_secret"} & set(it.field_names)
    if it.client_auth is ClientAuth.CLIENT_SECRET_BASIC and renamed:
        yield "field_names", 'cannot rename what client_auth = "client_secret_basic" never sends'
    for key, names in (("field_names", it.field_names), ("authorize_names", it.authorize_names)):
        yield from _twice(key, {str(usual): name for usual, name in names.items()})
    tables = (
        ("token_params", it.token_params),
        ("refresh_params", it.refresh_params),
        ("code_params", it.code_params),
    )
    for key, params in tables:
        for name in params:
            if name in TOKEN_OWN:
                yield f"{key}.{name}", "is set by Evergrant; leave it out"


def _twice(key: str, names: Mapping[str, str]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for usual, name in names.items():
        if name in seen:
            yield f"{key}.{usual}", f"has the name {name!r}, which {seen[name]} has already"
        seen.setdefault(name, usual)


def _of_revoking(it: ProviderDefinition) -> Iterator[Problem]:
    revoke = it.revoke
    if revoke is None:
        return
    if it.revoke_url is not None:
        yield "revoke", "cannot stand beside revoke_url, which is RFC 7009's way; leave one of them out"
    if revoke.token is TokenKind.REFRESH_TOKEN and it.grant is not GrantKind.REFRESH_TOKEN:
        yield "revoke.token", f'must be "access_token": grant = "{it.grant}" has no refresh tokens'
    if revoke.auth in (RevokeAuth.BASIC, RevokeAuth.BODY) and it.client_auth is ClientAuth.NONE:
        yield "revoke.auth", f'cannot be "{revoke.auth}" with client_auth = "none": there is no secret'
    in_body = revoke.auth is RevokeAuth.BODY or (
        revoke.auth is RevokeAuth.CLIENT and it.client_auth is not ClientAuth.CLIENT_SECRET_BASIC
    )
    if in_body and revoke.method == "GET":
        yield (
            "revoke.auth",
            f'cannot be "{revoke.auth}" with method = "GET", because it puts the client into a body',
        )
    if (
        in_body
        and revoke.body_format is BodyFormat.JSON
        and {"client_id", "client_secret"} & set(revoke.body)
    ):
        yield "revoke.body", f'must not name the client: auth = "{revoke.auth}" adds it'
    yield from revoke.contradictions("revoke")


def _of_events(it: ProviderDefinition) -> Iterator[Problem]:
    signs_with_ours = isinstance(it.events, Webhook) and it.events.secret is EventSecret.CLIENT_SECRET
    if signs_with_ours and it.client_auth is ClientAuth.NONE:
        yield "events.secret", 'cannot be "client_secret" with client_auth = "none": there is no secret'


def _of_scopes(it: ProviderDefinition) -> Iterator[Problem]:
    if not it.known_scopes:
        return
    for place, scope in enumerate(it.scopes):
        if not known_scope(scope, it.known_scopes):
            yield (
                f"scopes[{place}]",
                f"{scope!r} is none of known_scopes; mend it, or add it there if the provider has it",
            )
    for scope in it.scope_aliases:
        if not known_scope(scope, it.known_scopes):
            yield f"scope_aliases.{scope}", "is none of known_scopes; name a scope as it is asked for"


def _urls(it: ProviderDefinition) -> Iterator[tuple[str, str]]:
    for key in ("authorize_url", "token_url", "refresh_url", "device_url", "revoke_url"):
        if (url := getattr(it, key)) is not None:
            yield key, url
    for key in ("check", "revoke", "account"):
        if (table := getattr(it, key)) is not None and table.url is not None:
            yield f"{key}.url", table.url


def _of_variables(it: ProviderDefinition) -> Iterator[Problem]:
    used: dict[str, list[str]] = {}
    for key, url in _urls(it):
        for reason in url_problems(url, it.variables, client_id=key == "revoke.url"):
            yield key, reason
        for name in names_in(url):
            used.setdefault(name, []).append(key)
    elsewhere = {it.tenant_field, *it.metadata_fields.values()}
    if it.account is not None and it.account.source is AccountSource.VARIABLE:
        names = names_in(it.account.id)
        if not names or not set(names) <= set(it.variables):
            yield (
                "account.id",
                'must be a text with declared variables in braces, such as "{shop}.acme.example"',
            )
    for name, variable in it.variables.items():
        key = f"variables.{name}"
        if name in RESERVED:
            yield key, "has a name that templates use for other things; rename it"
        elif name not in used and name not in elsewhere:
            yield key, f"is used in no URL; write {{{name}}} into one, or leave it out"
        yield from variable.contradictions(key)
        too_early = ["authorize_url", "device_url"]
        if variable.from_answer is not None:
            too_early.append("token_url")
        for early in too_early:
            if variable.learned and variable.default is None and early in used.get(name, ()):
                yield key, f"is needed for {early} before it can be learned; give it a default"
