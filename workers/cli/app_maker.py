"""One command a module: how a plain function becomes a command of its own."""

from __future__ import annotations

from collections.abc import Callable

import typer


def single(command: Callable[..., None]) -> typer.Typer:
    """Return an app of this one command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    return app
