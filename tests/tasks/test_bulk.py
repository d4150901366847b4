"""What a bulk message holds: ids, and for a refresh the tenant by which it is admitted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from pydantic import SecretStr

from services.scheduling import Work
from services.settings import Settings
from services.wiring import Servers
from storage.tokens.due import DueToken
from tasks.arguments import CheckArguments, InvalidArguments, RefreshArguments, parse
from tasks.bulk import BulkQueue
from workers.celery_app import make_app

pytestmark = pytest.mark.servers


@pytest.fixture
def app(redis_url: str) -> Celery:
    nowhere = SecretStr("postgresql://u:p@127.0.0.1/d")
    return make_app(Settings(), Servers(nowhere, SecretStr(redis_url), SecretStr("k")))


def published(app: Celery, work: Work, *tenants: str | None) -> list[dict[str, Any]]:
    """Publish a token of each tenant, and return the keyword arguments that a worker would get."""
    due = [DueToken(uuid4(), "shops", datetime.now(UTC), timedelta(), tenant) for tenant in tenants]
    queue = BulkQueue(app, work)
    queue.publish(due)
    assert queue.depth() == len(due)
    with app.connection_for_read() as connection, connection.SimpleQueue(str(work)) as reading:
        messages = [reading.get(timeout=5) for _ in due]
        for message in messages:
            message.ack()
    bodies = [message.decode() for message in messages]
    assert [body[1]["connection_id"] for body in bodies] == [str(token.connection_id) for token in due]
    return [body[1] for body in bodies]


def test_a_refresh_is_sent_with_its_tenant(app: Celery) -> None:
    """The worker knows the scope before it touches the row; a grant of no tenant names none."""
    at_a, at_none = published(app, Work.REFRESH, "a.example", None)

    assert (at_a["tenant"], "tenant" in at_none) == ("a.example", False)
    assert parse(RefreshArguments, at_a).tenant == "a.example"
    assert parse(RefreshArguments, at_none).tenant is None
    assert set(at_a) == {"connection_id", "provider_id", "scheduled", "tenant"}


def test_a_check_is_sent_without_one(app: Celery) -> None:
    """A check reads its row before it is admitted."""
    (sent,) = published(app, Work.HEALTH, "a.example")

    assert "tenant" not in sent
    assert parse(CheckArguments, sent).scheduled


@pytest.mark.parametrize("tenant", [7, ["a"], "a\x00b", "x" * 256])
def test_a_tenant_that_is_none_is_refused(tenant: object) -> None:
    """It is named, and its value is not repeated."""
    given: dict[str, object] = {"connection_id": str(uuid4()), "tenant": tenant}

    with pytest.raises(InvalidArguments, match="tenant"):
        parse(RefreshArguments, given)
