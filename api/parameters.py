"""The parameters that routes share: names that Postgres can store, of bounded length."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import StringConstraints

#: No control characters; NUL above all.
_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=_PATTERN)]
AccountId = Annotated[str, StringConstraints(max_length=255, pattern=_PATTERN)]
ProviderId = Annotated[str, Path(description="A provider's id, such as gsc.", max_length=63)]
UserId = Annotated[Name, Query(description="The product's own id of its user.")]
OfAccount = Annotated[
    AccountId | None,
    Query(description="Which of the user's accounts at the provider; needed once there are several."),
]
