"""``python -m simulator``: run the provider simulator in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
from pathlib import Path

from simulator.journal import JournalError
from simulator.server import Options, run


def main(arguments: list[str] | None = None) -> int:
    """Run the simulator and return its exit status: 0 stopped, 1 could not run, 2 wrong words."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="A simulator of OAuth providers, for demos and tests. Not a provider.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on (default 0: any free one)")
    parser.add_argument("--journal", type=Path, help="file that remembers grants and counts across restarts")
    parser.add_argument("--port-file", type=Path, help="file that gets the port once the simulator listens")
    parser.add_argument(
        "--control-token-env",
        metavar="NAME",
        help="environment variable with the token that /_sim/ then asks for",
    )
    parser.add_argument(
        "--keep-alive-seconds",
        type=_seconds,
        default=75.0,
        help="idle connections are closed after this (75)",
    )
    parser.add_argument(
        "--history", type=_count, default=32, help="presentations kept one by one for each grant (32)"
    )
    parser.add_argument("--seed", type=int, help="of latencies and lifetimes")
    given = parser.parse_args(arguments)
    token = None
    if given.control_token_env is not None:
        token = os.environ.get(given.control_token_env)
        if not token:
            parser.error(
                f"--control-token-env: the variable {given.control_token_env} is unset or empty; set it"
            )
    options = Options(
        host=given.host,
        port=given.port,
        journal=given.journal,
        port_file=given.port_file,
        keep_alive_seconds=given.keep_alive_seconds,
        history_length=given.history,
        seed=given.seed,
    )
    try:
        asyncio.run(run(options, token))
    except (JournalError, OSError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 1
    return 0


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65_535:
        return int(text)
    raise argparse.ArgumentTypeError("a port from 0 to 65535 is needed")


def _count(text: str) -> int:
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError("a whole number of at least 1 is needed")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 < seconds < math.inf:
        return seconds
    raise argparse.ArgumentTypeError("a number of seconds above 0 is needed")


if __name__ == "__main__":
    sys.exit(main())
