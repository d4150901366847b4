"""`evergrant keys`: the key ring."""

from __future__ import annotations

import typer

from storage.keys import generate

app = typer.Typer(help="The key ring that seals tokens.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """The key ring that seals tokens."""


@app.command("generate")
def generate_key() -> None:
    """Write a new key ring of one key, for EVERGRANT_KEYS; it is written nowhere else."""
    typer.echo(generate())
