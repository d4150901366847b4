"""Says which key of a definition is to be mended for a difference in a request."""

from __future__ import annotations

from typing import Final

from providers.definition import ProviderDefinition
from simulator.playing.insisting import Discrepancy
from simulator.playing.transcript import Exchange

#: RFC 6749's and RFC 7636's names of what a token request always has.
_STANDARD: Final = frozenset(
    {
        "grant_type",
        "client_id",
        "client_secret",
        "refresh_token",
        "code",
        "redirect_uri",
        "code_verifier",
        "scope",
    }
)


def key_to_mend(definition: ProviderDefinition, exchange: Exchange, found: Discrepancy) -> str:
    """Return the key, as an operator writes it under ``[providers.<id>]``."""
    match exchange.on:
        case "token":
            return _of_token_request(definition, exchange, found)
        case "check" | "account":
            return _of_table(exchange.on, found)
        case "revoke":
            return _of_revocation(definition, found)
        case "device":
            return "device_url" if found.about in ("url", "method") else _of_token_request(
                definition, exchange, found
            )  # fmt: skip


def _of_token_request(definition: ProviderDefinition, exchange: Exchange, found: Discrepancy) -> str:
    refreshing = exchange.grant == "refresh_token"
    match found.about:
        case "url" | "query" | "method":
            return "refresh_url" if refreshing and definition.refresh_url is not None else "token_url"
        case "client_auth" | "body_format":
            return found.about
        case "header":
            return "client_auth" if _identifies(found) else f"token_headers.{found.name}"
        case _:
            return _of_field(definition, exchange, found)


def _of_field(definition: ProviderDefinition, exchange: Exchange, found: Discrepancy) -> str:
    name, instead = found.name, found.instead
    for usual, renamed in definition.field_names.items():
        if {name, instead} & {usual, renamed}:
            return f"field_names.{usual}"
    if instead in _STANDARD:
        return f"field_names.{instead}"
    params = "code_params" if exchange.grant == "authorization_code" else "refresh_params"
    for key in (params, "token_params", "metadata_fields"):
        if name in getattr(definition, key):
            return f"{key}.{name}"
    if name == "code_verifier":
        return "pkce"
    if name == "grant_type":
        return f"grant, or {params}.grant_type"
    if name in exchange.variables:
        return f"metadata_fields.{name}"
    return f"field_names ({name})" if name in _STANDARD else f"field_names or {params} ({name})"


def _of_table(key: str, found: Discrepancy) -> str:
    match found.about:
        case "client_auth":
            return f"{key}.bearer"
        case "header" if _identifies(found):
            return f"{key}.bearer, or {key}.headers.{found.name}"
        case "field":
            return f"{key}.body.{found.name}"
        case "query":
            return f"{key}.query.{found.name}"
        case "header":
            return f"{key}.headers.{found.name}"
        case "body_format" if found.did == "no body":
            return f"{key}.body"
        case about:
            return f"{key}.{about}"


def _of_revocation(definition: ProviderDefinition, found: Discrepancy) -> str:
    if definition.revoke is None:
        # RFC 7009 leaves nothing to say but where, and who one is.
        if found.about in ("url", "query"):
            return "revoke_url"
        return "client_auth, or a table [revoke] in place of revoke_url"
    # Who is asking, and about which of the two tokens.
    if found.about == "client_auth" or _identifies(found):
        return "revoke.auth, or revoke.token"
    return _of_table("revoke", found)


def _identifies(found: Discrepancy) -> bool:
    """Say whether it is about an Authorization header that the exchange lists by itself."""
    return found.about == "header" and found.name.lower() == "authorization"
