"""`evergrant demo-seed`: the step of `evergrant up --demo` that brings connections. Not for people."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from domain.errors import EvergrantError
from services.imports import Rejected, bounded_lines
from workers import logs
from workers.cli import session
from workers.cli.app_maker import single
from workers.cli.output import stdout
from workers.up import demo


def demo_seed(
    simulator: Annotated[str, typer.Option("--simulator", help="Where the simulator answers.")],
) -> None:
    """Mint grants at the simulator and import them, unless an earlier run did."""
    settings, _ = session.load()
    logs.configure(settings)
    with session.services("demo-seed") as services:
        if services.tokens.find(demo.first_user(), demo.CONNECTIONS[0][0], "") is not None:
            stdout.print("the demo's connections are there already")
            return
        with subprocess.Popen(demo.minting_command(simulator), stdout=subprocess.PIPE) as minting:
            if minting.stdout is None:
                raise AssertionError("unreachable: a pipe was asked for")
            report = services.importer.run(
                bounded_lines(minting.stdout), replace=False, on_rejected=_refuse, on_progress=lambda _: None
            )
        if minting.returncode != 0:
            raise EvergrantError("the simulator minted no grants; see the log of the step demo-seed")
    stdout.print(f"imported {report.lines} connections")


def _refuse(line: Rejected) -> None:
    raise EvergrantError(f"a minted grant cannot be imported: {line.reason}")


app = single(demo_seed)
