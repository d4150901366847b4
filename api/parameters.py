"""The parameters that routes share: names that Postgres can store, of bounded length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Path, Query, Request
from pydantic import StringConstraints

#: No control characters; NUL above all.
_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_PATTERN)]
AccountId = Annotated[str, StringConstraints(max_length=255, pattern=_PATTERN)]
ProviderId = Annotated[str, Path(description="A provider's id, such as gsc.", max_length=63)]
#: For routes that people open: whatever stands there, they get a page.
AnyText = Annotated[str, Path(description="A provider's id, such as gsc.")]
UserId = Annotated[Name, Query(description="The product's own id of its user.")]
OfAccount = Annotated[
    AccountId | None,
    Query(description="Which of the user's accounts at the provider; needed once there are several."),
]


def once(request: Request) -> tuple[Mapping[str, str], frozenset[str]]:
    """Return the query's parameters that came once, and the names of those that came more often."""
    given = request.query_params.multi_items()
    # Counted in one walk: a query of 64 KB has thousands of names.
    counted = Counter(name for name, _ in given)
    single = {name: value for name, value in given if counted[name] == 1}
    return single, frozenset(counted.keys() - single.keys())
