"""Migrations: up from nothing, in step with the metadata, and never over a newer schema."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from pydantic import SecretStr

from domain.errors import ConfigurationError, ServiceUnavailable
from storage import migrate
from storage.engine import make_engine


def test_migrations_lead_from_nothing_to_the_metadata(database_url: str) -> None:
    """An empty database is refused, then brought to this code's schema without drift; twice does no harm."""
    engine = make_engine(database_url)
    with pytest.raises(migrate.SchemaNotReady, match=r"EVERGRANT_DATABASE_URL.*evergrant migrate"):
        migrate.check_schema(engine)

    migrate.upgrade(database_url)
    migrate.upgrade(database_url)

    migrate.check_schema(engine)
    assert migrate.current_revision(engine) == migrate.head()
    assert migrate.drift(database_url) == []
    engine.dispose()


def test_drift_is_found(migrated_database_url: str) -> None:
    """A changed type, default, index or check constraint is each named."""
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute("ALTER TABLE tokens ALTER COLUMN failures TYPE bigint")
        connection.execute("ALTER TABLE tokens ALTER COLUMN alerted SET DEFAULT true")
        connection.execute("DROP INDEX ix_tokens_refresh_due")
        connection.execute("ALTER TABLE tokens DROP CONSTRAINT ck_tokens_lease_has_owner")

    found = "\n".join(migrate.drift(migrated_database_url))

    for word in ("failures", "alerted", "ix_tokens_refresh_due", "ck_tokens_lease_has_owner"):
        assert word in found


@pytest.mark.parametrize("revision", ["9999", "from_the_future"])
def test_a_newer_schema_is_refused_and_left_alone(migrated_database_url: str, revision: str) -> None:
    """Neither start nor migration touches a schema that this code does not know."""
    with psycopg.connect(migrated_database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))
    engine = make_engine(migrated_database_url)

    with pytest.raises(migrate.SchemaNotReady, match="newer than this code"):
        migrate.check_schema(engine)
    with pytest.raises(migrate.SchemaNotReady, match="newer than this code"):
        migrate.upgrade(migrated_database_url)

    assert migrate.current_revision(engine) == revision
    engine.dispose()


def test_migrations_at_once_wait_for_each_other(database_url: str) -> None:
    """Several processes that migrate the same empty database all succeed."""
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate.upgrade, [database_url] * 3))

    assert migrate.drift(database_url) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("not a url", "is not a URL"),
        ("mysql://u:hunter2@h/d", "scheme 'mysql'"),
        ("postgresql+asyncpg://u:hunter2@h/d", "scheme 'postgresql\\+asyncpg'"),
        ("postgresql://u:p@hun ter2/d", "host in EVERGRANT_DATABASE_URL is malformed"),
        ("postgresql://u:h:99999x/d", "EVERGRANT_DATABASE_URL"),
    ],
)
def test_a_wrong_url_is_named_and_never_quoted(url: str, says: str) -> None:
    """The error names the variable and the mend, and shows no password."""
    with pytest.raises(ConfigurationError, match=says) as raised:
        make_engine(SecretStr(url))

    message = str(raised.value)
    assert "EVERGRANT_DATABASE_URL" in message
    assert "ter2" not in message
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_server_that_does_not_answer_is_unavailable(scheme: str) -> None:
    """Connecting to a closed port is ServiceUnavailable, and says so without the password."""
    engine = make_engine(f"{scheme}://someone:hunter2@127.0.0.1:1/nothing")

    with pytest.raises(ServiceUnavailable, match="Connection refused") as raised:
        migrate.current_revision(engine)

    assert "hunter2" not in f"{raised.value} {raised.value.__cause__} {engine!r}"


def test_sessions_are_in_utc_and_bounded(database_url: str) -> None:
    """Every session runs in UTC, under a statement timeout and a name that operators recognise."""
    engine = make_engine(database_url, application_name="evergrant worker")
    shown = {}
    with engine.connect() as connection:
        for setting in ("TimeZone", "statement_timeout", "application_name"):
            shown[setting] = connection.exec_driver_sql(f"SHOW {setting}").scalar_one()
    engine.dispose()

    assert shown == {"TimeZone": "UTC", "statement_timeout": "10s", "application_name": "evergrant worker"}
