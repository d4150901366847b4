"""`evergrant providers`: the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from providers.catalogue import load
from providers.definition import ProviderDefinition
from services import settings as service_settings
from services.providers import ProviderDesk
from workers.cli.app_maker import group
from workers.cli.output import JsonOption, write_json, write_table

app = group("The providers that Evergrant knows.")


@app.callback()
def providers() -> None:
    """The providers that Evergrant knows."""


@app.command("list")
def list_providers(json: JsonOption = False) -> None:
    """List every provider: how it grants and rotates, and whether its client id and secret are set."""
    settings = service_settings.load()
    desk = ProviderDesk(load(settings.providers_file), service_settings.environment())
    rows = _rows(desk)
    if json:
        write_json(rows)
    else:
        columns = ("id", "display_name", "grant", "rotation", "replay_window", "configured", "capabilities")
        write_table(columns, rows, empty="the catalogue is empty")


def _rows(desk: ProviderDesk) -> Iterator[Mapping[str, object]]:
    for definition in desk.catalogue:
        yield _row(definition, configured=desk.configured(definition.id))


def _row(definition: ProviderDefinition, *, configured: bool) -> Mapping[str, object]:
    window = definition.facts.replay_window
    return {
        "id": definition.id,
        "display_name": definition.display_name,
        "grant": definition.facts.grant,
        "rotation": definition.facts.rotation,
        "replay_window": window if window is None or isinstance(window, str) else int(window.total_seconds()),
        "configured": configured,
        "capabilities": list(definition.capabilities),
        "sources": list(definition.sources),
    }
