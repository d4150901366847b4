"""URLs with variables: where a variable may stand in a definition, and where it could lead.

A variable stands for labels of a host name or for pieces of a path. Whatever its value is, the URL must lead
to a host that the definition has named: to one of its own, or to one below a domain of two labels or more
that it has written out. So no value, wherever it comes from, sends a credential to somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from providers.definition_tables import Variable
from providers.patterns import HOST, Ending, read
from providers.toml_values import VARIABLE

#: Stands for the app's client id, in the path of a revocation's URL alone.
CLIENT_ID: Final = "client_id"
#: Names that templates use for other things.
RESERVED: Final = frozenset({CLIENT_ID, "client_secret", "token", "access_token", "refresh_token", "code"})
#: A domain that the definition has written out: two labels at least, with nothing unknown in them.
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


def names_in(template: str) -> tuple[str, ...]:
    """Return the variables of a URL, in their order, each once."""
    return tuple(dict.fromkeys(VARIABLE.findall(template)))


def host_is_written_out(template: str) -> bool:
    """Say whether the definition alone decides to which host the URL leads."""
    return "{" not in urlsplit(template).netloc


def problems(template: str, variables: Mapping[str, Variable], *, client_id: bool = False) -> Iterator[str]:
    """Yield what is wrong with the variables of a URL, and how to mend it.

    Args:
        client_id: The path may have `{client_id}`.
    """
    host = urlsplit(template).netloc
    for name in names_in(template):
        if name == CLIENT_ID and client_id and f"{{{name}}}" not in host:
            continue
        if name in RESERVED:
            yield f"has {{{name}}}: a token is never a part of a URL, a client id only of a revocation's path"
        elif name not in variables:
            yield f"uses {{{name}}}, which is not declared; add a table variables.{name} with its pattern"
        elif f"{{{name}}}" in host and (beyond := read(variables[name].pattern).characters - HOST):
            yield (
                f"has {{{name}}} in its host, and variables.{name}.pattern allows "
                f"{''.join(sorted(beyond))!r} there; allow lower-case letters, digits, '-' and '.' alone"
            )
    if all(name in variables for name in VARIABLE.findall(host)) and not _leads_home(host, variables):
        yield (
            "could lead to somebody else's host: write out the end of the host, two labels or more (such as "
            ".acme.example), behind the last variable or at the end of its pattern"
        )


def _leads_home(host: str, variables: Mapping[str, Variable]) -> bool:
    """Say whether every host that the template can name is one that the definition has written out."""
    pieces = VARIABLE.split(host.partition(":")[0])
    if len(pieces) == 1:
        return True
    # Texts and names of variables take turns, beginning and ending with a text.
    endings = {Ending(pieces[-1], whole=True)}
    for place in range(len(pieces) - 2, 0, -2):
        before = read(variables[pieces[place]].pattern).endings
        endings = {
            Ending(pieces[place - 1] + found.text + ending.text if found.whole else found.text + ending.text,
                   whole=found.whole)
            if ending.whole
            else ending
            for ending in endings
            for found in before
        }  # fmt: skip
    return all(_written_out(ending) for ending in endings)


def _written_out(ending: Ending) -> bool:
    # What stands before the first dot of a mere end is a part of a label that nobody knows.
    known = ending.text if ending.whole else ending.text.partition(".")[2]
    return _DOMAIN.fullmatch(known) is not None
