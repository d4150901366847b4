"""`evergrant providers`: the catalogue, and one provider of it in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Final

import typer

from providers.app_credentials import variable_names
from providers.catalogue import load
from providers.definition import ProviderDefinition
from services import settings as service_settings
from services.providers import ProviderDesk
from workers.cli import provider_words as words
from workers.cli.app_maker import group
from workers.cli.output import JsonOption, for_people, stdout, write_json, write_table

app = group("The providers that Evergrant knows.")

_ENDPOINTS: Final = ("authorize_url", "token_url", "refresh_url", "device_url", "issuer", "manage_url")
_NOT_CONFIRMED: Final = "  (not confirmed)"
#: How wide the names of facts are.
_NAME: Final = 28


@app.callback()
def providers() -> None:
    """The providers that Evergrant knows."""


@app.command("list")
def list_providers(json: JsonOption = False) -> None:
    """List every provider: how it grants and rotates, and whether its client id and secret are set."""
    desk = _desk()
    rows = (_row(definition, configured=desk.configured(definition.id)) for definition in desk.catalogue)
    if json:
        write_json(rows)
    else:
        columns = ("id", "display_name", "grant", "rotation", "replay_window", "configured", "capabilities")
        write_table(columns, rows, empty="the catalogue is empty")


@app.command("show")
def show_provider(
    provider_id: Annotated[str, typer.Argument(help="The provider's id, as `list` shows it.")],
    json: JsonOption = False,
) -> None:
    """Show one provider: its facts in words, what its answers mean, where that is from, how sure it is."""
    desk = _desk()
    definition = desk.catalogue.get(provider_id)
    configured = desk.configured(provider_id)
    if json:
        write_json([{**_row(definition, configured=configured), **_everything(definition)}])
        return
    _write(definition, configured=configured)


def _desk() -> ProviderDesk:
    settings = service_settings.load()
    return ProviderDesk(load(settings.providers_file), service_settings.environment())


def _row(definition: ProviderDefinition, *, configured: bool) -> Mapping[str, object]:
    return {
        "id": definition.id,
        "display_name": definition.display_name,
        "grant": definition.facts.grant,
        "rotation": definition.facts.rotation,
        "replay_window": _seconds(definition.facts.replay_window),
        "configured": configured,
        "capabilities": list(definition.capabilities),
        "sources": list(definition.sources),
    }


def _seconds(value: object) -> object:
    """Return a value of a definition as JSON has it: durations in whole seconds, tables as objects."""
    match value:
        case timedelta():
            return int(value.total_seconds())
        case Mapping():
            return {str(key): _seconds(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_seconds(inner) for inner in value]
        case _:
            return value


def _everything(definition: ProviderDefinition) -> Mapping[str, object]:
    """Return the definition as it counts, defaults included, under its own keys, and what follows from it."""
    table = definition.model_dump(by_alias=True, exclude={"id", "rotation", "replay_window", "sources"})
    return {
        **{key: _seconds(value) for key, value in table.items()},
        "rotation_known": definition.rotation is not None,
        "replay": definition.replay,
        "settings": list(variable_names(definition.id)),
    }


def _write(definition: ProviderDefinition, *, configured: bool) -> None:
    client_id, client_secret = variable_names(definition.id)
    needed = f"{client_id} and {client_secret}" if definition.requires_secret else client_id
    stdout.print(f"{definition.display_name} ({definition.id})", style="bold", markup=False)
    _section(
        definition,
        "",
        (
            ("configured", "yes" if configured else f"no: set {needed}"),
            ("can", for_people(definition.capabilities)),
            ("grant", words.grant(definition)),
            *words.rotation(definition),
            *words.lifetimes(definition),
            *words.rates(definition),
        ),
    )
    _section(definition, "Endpoints", _endpoints(definition))
    _section(
        definition,
        "Connecting",
        (
            ("scopes", for_people(definition.scopes)),
            *((("known_scopes", for_people(definition.known_scopes)),) if definition.known_scopes else ()),
            ("client_auth", f"{definition.client_auth}, {definition.body_format} bodies"),
            ("pkce", "S256" if definition.pkce else "not used"),
            ("account", words.account(definition)),
            *((f"variables.{name}", words.variable(name, it)) for name, it in definition.variables.items()),
            *(
                (f"metadata_fields.{name}", f'given as "metadata": {{"{key}": …}}')
                for name, key in definition.metadata_fields.items()
            ),
        ),
    )
    mark = _NOT_CONFIRMED if "judgements" in definition.unconfirmed else ""
    _section(definition, f"What its answers mean{mark}", words.answers(definition))
    columns = ("on", "status", "says", "means", "shown_as")
    if definition.judgements:
        write_table(columns, map(words.judgement, definition.judgements), empty="")
    for text in words.DEFAULTS:
        stdout.print(f"  {text}", markup=False, soft_wrap=True)
    _list("From", definition.sources)
    _list("Not confirmed", (f"{key}: {why}" for key, why in definition.unconfirmed.items()))


def _endpoints(definition: ProviderDefinition) -> Iterator[tuple[str, str]]:
    for key in _ENDPOINTS:
        if (url := getattr(definition, key)) is not None:
            yield key, url
    yield "revoke_url" if definition.revoke is None else "revoke", words.revocation(definition)
    if definition.check is not None:
        check = definition.check
        yield "check", f"{check.method} {check.url}, every {words.duration(check.interval)}"
    yield "events", words.events(definition)


def _section(definition: ProviderDefinition, title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Write facts under a title, each with a mark where it is not confirmed."""
    if title:
        stdout.print(f"\n{title}", style="bold", markup=False)
    for name, text in facts:
        doubted = any(key == name or key.startswith(f"{name}.") for key in definition.unconfirmed)
        mark = _NOT_CONFIRMED if doubted else ""
        stdout.print(f"{name:>{_NAME}}  {text}{mark}", markup=False, soft_wrap=True)


def _list(title: str, lines: Iterable[str]) -> None:
    found = list(lines)
    if not found:
        return
    stdout.print(f"\n{title}", style="bold")
    for line in found:
        stdout.print(f"  {line}", markup=False, soft_wrap=True)
