"""How a plain function becomes a command of its own, and how several become a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

#: Typer keeps the types of contexts and formatters private.
Private = Any


class Group(TyperGroup):
    """Says what each command does in a whole sentence; Typer alone would cut it at the line's end."""

    def format_commands(self, ctx: Private, formatter: Private) -> None:
        """Write the first paragraph of each command's help."""
        del ctx
        firsts = [(name, (command.help or "").split("\n\n")[0]) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([(name, " ".join(words.split())) for name, words in firsts])


def single(command: Callable[..., None]) -> typer.Typer:
    """Return an app of this one command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    return app


def group(help_text: str) -> typer.Typer:
    """Return an app for several commands; without a command it says which there are.

    A group is loaded as an app of its own, so it inherits nothing: its help has to be told to look like the
    others', and to offer no completion for a program that does not exist.
    """
    return typer.Typer(
        cls=Group,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
