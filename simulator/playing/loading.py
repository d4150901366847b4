"""Reads transcripts, or says what is wrong with one: file, exchange, key, reason."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from simulator.playing.transcript import Transcript


class TranscriptError(Exception):
    """A transcript cannot be read; one line for each problem, with file, exchange, key and reason."""


def built_in() -> dict[str, Transcript]:
    """Return the transcripts of `simulator.transcripts`, by the provider's id.

    Raises:
        TranscriptError: One of them is wrong; all problems of all files at once.
    """
    return _read_all(resources.files("simulator.transcripts"), "transcripts")


def in_folder(folder: Path) -> dict[str, Transcript]:
    """Return the transcripts of a folder, by the provider's id; raises as `built_in` does."""
    if not folder.is_dir():
        raise TranscriptError(f"{folder}: is no folder; name one that holds <provider id>.toml")
    return _read_all(folder, str(folder))


def read(text: str, *, source: str) -> Transcript:
    """Read one transcript.

    Args:
        source: The file, as errors should name it.

    Raises:
        TranscriptError: It is no TOML, or says something that no transcript says.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TranscriptError(f"{source}: is not TOML: {error}") from error
    try:
        # As JSON, so that strict models take TOML's lists for tuples and still refuse "1" for 1.
        return Transcript.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        found = error.errors(include_url=False)
        # Exchanges that are wrong are not counted, and it is said of them already.
        wrong = [details for details in found if details["type"] != "too_short"] or found
        lines = [_line(source, document, details) for details in wrong]
    # Two arms of a union complain twice about one value.
    raise TranscriptError("\n".join(dict.fromkeys(lines)))


def _read_all(folder: Traversable | Path, shown: str) -> dict[str, Transcript]:
    found: dict[str, Transcript] = {}
    problems: list[str] = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if not entry.name.endswith(".toml"):
            continue
        source = f"{shown}/{entry.name}"
        try:
            transcript = read(entry.read_text("utf-8"), source=source)
        except UnicodeDecodeError:
            problems.append(f"{source}: is not UTF-8 text; save it as UTF-8")
        except TranscriptError as error:
            problems.append(str(error))
        else:
            if f"{transcript.provider}.toml" != entry.name:
                problems.append(
                    f'{source}: provider: is "{transcript.provider}"; the file is named after the provider'
                )
            found[transcript.provider] = transcript
    if problems:
        raise TranscriptError("\n".join(problems))
    return found


def _line(source: str, document: dict[str, Any], details: ErrorDetails) -> str:
    """Say what is wrong: ``transcripts/slack.toml: exchange 3 "a refresh rotates": answer.status: …``."""
    location = details["loc"]
    place = source
    if len(location) > 1 and location[0] == "exchange" and isinstance(location[1], int):
        place += f": exchange {location[1] + 1}{_name(document, location[1])}"
        location = location[2:]
    key = ".".join(_keys(location))
    if details["type"] == "extra_forbidden":
        reason = "unknown key"
    elif details["type"] == "missing":
        reason = "is required; add it"
    elif details["type"] == "value_error":
        reason = str(details["ctx"]["error"])
    elif details["type"] in ("literal_error", "enum"):
        reason = f"must be {details['ctx']['expected']}, not {details['input']!r}"
    else:
        reason = details["msg"].replace("Input should be", "must be").replace("an object", "a table")
    return f"{place}: {key}: {reason}" if key else f"{place}: {reason}"


def _name(document: dict[str, Any], place: int) -> str:
    exchanges = document.get("exchange")
    one = exchanges[place] if isinstance(exchanges, list) and place < len(exchanges) else None
    name = one.get("name") if isinstance(one, dict) else None
    return f' "{name}"' if isinstance(name, str) else ""


def _keys(location: tuple[int | str, ...]) -> Iterator[str]:
    """Leave out what pydantic writes for keys of tables and arms of unions."""
    for part in location:
        text = str(part)
        if text not in ("[key]", "bool", "int", "str") and not text.startswith(("function-", "literal[")):
            yield text
