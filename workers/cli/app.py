"""The command line's assembly, and how its errors end: 0 done, 1 failed, 2 the words were wrong."""

from __future__ import annotations

import resource
import sys
from importlib import import_module
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from domain.errors import ConfigurationError, EvergrantError
from workers.cli.output import stderr

FAILED: Final = 1
WRONG_WORDS: Final = 2
INTERRUPTED: Final = 130

#: Command → module, and what `--help` says of it. A module is imported when its command is used: importing
#: Celery, SQLAlchemy and the rest takes seconds that `evergrant providers list` need not wait for.
COMMANDS: Final = {
    "up": ("up", "Start servers, workers, beat, the HTTP face and Flower, and keep them running."),
    "migrate": ("migrate", "Bring the database's schema to this version."),
    "worker": ("worker", "Run a worker for some queues."),
    "beat": ("beat", "Run beat, which ticks the scheduling tasks."),
    "api": ("api", "Run the HTTP face: connect links, callbacks, connections."),
    "flower": ("flower", "Run Flower, read-only and with authentication."),
    "healthcheck": ("healthcheck", "Exit 0 if a process on this machine is alive and working."),
    "refresh": ("refresh", "Ask a worker to refresh a connection's token."),
    "connections": ("connections", "Import, list, show and disconnect the grants that Evergrant keeps."),
    "alerts": ("alerts", "List and acknowledge incidents."),
    "incidents": ("incidents", "List breakers and waves of refusals; confirm or dismiss a wave."),
    "providers": ("providers", "List the providers that Evergrant knows."),
    "processes": ("processes", "List the processes that present, and give up one that is lost."),
    "keys": ("keys", "Make a key ring, list its keys, change to another key."),
    "doctor": ("doctor", "Look at every setting, server, key, schema version and process."),
}
#: Steps of `evergrant up`, not for people.
HIDDEN: Final = {"demo-seed": "demo_seed"}


#: Typer keeps the types of contexts, commands and formatters private.
Private = Any


class Commands(TyperGroup):
    """Finds commands by name and imports them only then."""

    def list_commands(self, ctx: Private) -> list[str]:
        """Return the commands in the order in which a newcomer meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Private, cmd_name: str) -> Private:
        """Return the command, or None where there is none of that name."""
        del ctx
        module_name = COMMANDS[cmd_name][0] if cmd_name in COMMANDS else HIDDEN.get(cmd_name)
        if module_name is None:
            return None
        command = typer.main.get_command(import_module(f"workers.cli.{module_name}").app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Private, formatter: Private) -> None:
        """Write the commands' one-liners without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


app = typer.Typer(
    name="evergrant",
    cls=Commands,
    help="Keeps OAuth grants evergreen: refreshes and checks tokens, and says when only a person can help.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def evergrant() -> None:
    """Keeps OAuth grants evergreen: refreshes and checks tokens, and says when only a person can help."""


def main() -> NoReturn:
    """Run one command and exit as the contract says."""
    # A core would carry keys and tokens to the disk. Children inherit it, the embedded servers too.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        app()
    except ConfigurationError as error:
        stderr.print(f"evergrant: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(WRONG_WORDS)
    except EvergrantError as error:
        stderr.print(f"evergrant: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would complain once more at exit.
        sys.stderr.close()
        sys.exit(FAILED)
    raise AssertionError("unreachable: Typer exits by itself")
