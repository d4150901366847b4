"""A wire of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.http import Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()
