"""``make conformance``: whether the definitions say of their providers what the providers' own pages show."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from domain.errors import ConfigurationError
from providers.catalogue import SETTING, load
from providers.http import Wire
from scripts.conformance.report import lines
from scripts.conformance.running import Stage
from simulator.playing.loading import TranscriptError, built_in, in_folder
from simulator.playing.player import Player


def main(words: list[str] | None = None) -> int:
    """Play and report; return 0 none lies, 1 a definition lies or cannot be read, 2 wrong words."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.conformance",
        description="Plays each provider's transcript, and what follows from its definition alone, through "
        "the real client, and says where a definition lies.",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="providers; none: all")
    parser.add_argument(
        "--file", type=Path, help=f"definitions to lay over the built-in ones; unset: what {SETTING} names"
    )
    parser.add_argument(
        "--transcripts",
        type=Path,
        metavar="FOLDER",
        help="transcripts to add to, or put over, the built-in ones",
    )
    parser.add_argument("--gaps", action="store_true", help="say as well what transcripts do not show")
    given = parser.parse_args(words)
    file = given.file or (Path(named) if (named := os.environ.get(SETTING)) else None)
    try:
        catalogue = load(file)
        transcripts = built_in()
        if given.transcripts is not None:
            transcripts |= in_folder(given.transcripts)
    except (ConfigurationError, TranscriptError) as error:
        print(error, file=sys.stderr)
        return 1
    if unknown := [one for one in given.ids if one not in catalogue]:
        parser.error(f"unknown provider {', '.join(unknown)}; known are {', '.join(catalogue.ids)}")
    wire = Wire()
    try:
        with Player() as player:
            stage = Stage(player, wire)
            chosen = [one for one in catalogue if not given.ids or one.id in given.ids]
            reports = [stage.report(one, transcripts.get(one.id)) for one in chosen]
    finally:
        wire.close()
    for line in lines(reports, gaps=given.gaps):
        print(line)
    return 0 if all(report.conforms for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
