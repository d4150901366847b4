"""Services wired to real servers and to the simulator, and the moves that tests make on them.

Time passes by moving a row's instants back in Postgres, never by a clock of the tests' own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr

from domain.asks import RefreshAsk
from services.checks import CheckResult
from services.imports import ImportReport, Rejected
from services.refresh.result import RefreshResult
from services.settings import Settings
from services.wiring import Servers, Services, wire
from simulator.client import MintedGrant
from simulator.process import SimulatorProcess
from storage.keys import generate
from storage.tokens.claims import ClaimCondition, Claimed
from tests.services.simulated import DIALECTS, GSC_TOO, GSC_TOO_APP, credentials, definitions

LEASE: Final = timedelta(seconds=40)
#: An access token's life at the simulator, unless a test asks for another one.
HOUR: Final = timedelta(hours=1)

_INSTANTS: Final = (
    *("issued_at", "expires_at", "refresh_due_at", "check_due_at", "refresh_enqueued_until"),
    *("check_enqueued_until", "not_before", "lease_until", "presented_at", "first_presented_at"),
    *("last_refreshed_at", "last_verified_at"),
)
SCHEDULED: Final = RefreshAsk(scheduled=True)
DEMANDED: Final = RefreshAsk()
FORCED: Final = RefreshAsk(force=True)


@dataclass(frozen=True)
class Connected:
    """An imported connection and the simulator's grant behind it."""

    id: UUID
    provider_id: str
    grant: MintedGrant


class World:
    """One database, one simulator, and any number of processes' worth of services."""

    def __init__(self, simulator: SimulatorProcess, database_url: str, redis_url: str, folder: Path) -> None:
        self.sim = simulator.client
        self.simulator = simulator
        self.database_url, self.redis_url = database_url, redis_url
        self.keys = generate("k1")
        self.owner = f"test-{uuid4()}"
        self._folder, self.data_dir = folder, folder / "data"
        self.wired: list[Services] = []
        self._users = 0
        self.sim.configure("window", window=600)
        self.services = self.wire()

    def wire(
        self,
        *,
        token_url: str | None = None,
        keys: str | None = None,
        environment: Mapping[str, str] | None = None,
        more: str = "",
        threads: int = 16,
        redis_url: str | None = None,
        database_url: str | None = None,
        data_dir: Path | None = None,
    ) -> Services:
        """Wire another process' services.

        Args:
            token_url: Where all token endpoints are; None: at the simulator.
            environment: Laid over the variables with the client ids and secrets.
            more: Further TOML.
            data_dir: Of another machine; None: all share one, and with it the spool.
        """
        url = self.simulator.base_url
        file = self._folder / f"providers-{len(self.wired)}.toml"
        file.write_text(definitions(url, token_url or url) + more, encoding="utf-8")
        servers = Servers(
            SecretStr(database_url or self.database_url),
            SecretStr(redis_url or self.redis_url),
            SecretStr(keys or self.keys),
        )
        services = wire(
            Settings(providers_file=file, data_dir=data_dir or self.data_dir),
            servers,
            {**credentials(), **(environment or {})},
            role="test",
            threads=threads,
        )
        self.wired.append(services)
        return services

    def wire_gsc_too(self) -> Services:
        """Wire a process that knows a second provider with Google's app."""
        return self.wire(more=GSC_TOO.format(url=self.simulator.base_url), environment=GSC_TOO_APP)

    def close(self) -> None:
        for services in self.wired:
            services.close()

    # Connections.

    def connect(self, provider_id: str, *, as_provider: str | None = None, **order: object) -> Connected:
        """Mint a grant, import it, and make it due."""
        return self.connect_many(provider_id, 1, as_provider=as_provider, **order)[0]

    def connect_many(
        self, provider_id: str, count: int, *, as_provider: str | None = None, **order: object
    ) -> list[Connected]:
        grants = self.sim.mint(DIALECTS[provider_id], count, owner=self.owner, **order)
        lines, keys = [], []
        for grant in grants:
            self._users += 1
            keys.append((f"user-{self._users}", as_provider or provider_id, ""))
            lines.append(line_of(grant, *keys[-1]))
        report, rejected = self.import_lines(lines)
        assert report.outcomes == {"created": count}, rejected
        found = [self.services.tokens.find(*key) for key in keys]
        made = [
            Connected(connection_id, as_provider or provider_id, grant)
            for connection_id, grant in zip(found, grants, strict=True)
            if connection_id is not None
        ]
        if provider_id != "wordpress":
            self.update("refresh_due_at = now() - interval '1 second'", *made)
        return made

    def import_lines(
        self, lines: Iterable[object], *, replace: bool = False, services: Services | None = None
    ) -> tuple[ImportReport, list[Rejected]]:
        """Import lines: bytes as they are, everything else as JSON."""
        rejected: list[Rejected] = []
        encoded = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        report = (services or self.services).importer.run(
            encoded, replace=replace, on_rejected=rejected.append, on_progress=lambda _: None
        )
        return report, rejected

    # Asking.

    def refresh(
        self,
        connected: Connected,
        ask: RefreshAsk = SCHEDULED,
        *,
        services: Services | None = None,
        patience: timedelta = timedelta(0),
    ) -> RefreshResult:
        return (services or self.services).refresh.refresh(
            connected.id,
            ask,
            provider_id=connected.provider_id if ask.scheduled else None,
            patience=patience,
        )

    def check(self, connected: Connected, *, services: Services | None = None) -> CheckResult:
        return (services or self.services).checks.check(connected.id, scheduled=True)

    def claim(self, connected: Connected, *, recovery: bool = False) -> Claimed:
        """Claim as a worker does that will never be heard of again."""
        tokens = self.services.tokens
        if recovery:
            seen = self.row(connected)["attempt_id"]
            claimed = tokens.claim_recovery(
                connected.id, seen=seen, attempt_id=uuid4(), owner="gone", lease=LEASE
            )
        else:
            claimed = tokens.claim(
                connected.id, attempt_id=uuid4(), owner="gone", lease=LEASE, when=ClaimCondition.scheduled()
            )
        assert claimed is not None
        return claimed

    # The database.

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def row(self, connected: Connected) -> dict[str, Any]:
        return self.rows(
            "SELECT t.*, c.scope, c.metadata, clock_timestamp() AS now"
            "  FROM tokens t JOIN connections c ON c.id = t.connection_id WHERE c.id = %s",
            connected.id,
        )[0]

    def update(self, assignments: str, *connected: Connected) -> None:
        """Bend rows behind the services' back."""
        with psycopg.connect(self.database_url) as connection:
            done = connection.execute(
                f"UPDATE tokens SET {assignments} WHERE connection_id = ANY(%s)".encode(),  # noqa: S608 - tests' own words
                ([item.id for item in connected],),
            )
            assert done.rowcount == len(connected)

    def pass_time(self, duration: timedelta, *connected: Connected) -> None:
        """Let time pass for these rows alone: every instant of theirs moves back."""
        moved = sql.SQL(", ").join(
            sql.SQL("{0} = {0} - {1}").format(sql.Identifier(name), duration) for name in _INSTANTS
        )
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                sql.SQL("UPDATE tokens SET {} WHERE connection_id = ANY({})").format(
                    moved, [item.id for item in connected]
                )
            )

    def pass_hold(self) -> None:
        """Let the time of every provider hold run out."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "UPDATE provider_holds SET held_until = now() - interval '1 second',"
                " updated_at = now() - interval '1 second' WHERE held_until IS NOT NULL"
            )

    def holds(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM provider_holds WHERE held_until IS NOT NULL ORDER BY scope")

    def alerts(self, status: str = "open") -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM alerts WHERE status = %s ORDER BY first_seen_at", status)

    def alert_kinds(self, status: str = "open") -> list[str]:
        return sorted(row["kind"] for row in self.alerts(status))

    def events(self) -> list[tuple[str, str]]:
        """Every outbox event: what happened, to which cause."""
        rows = self.rows("SELECT event, payload->>'cause' AS cause FROM alert_events ORDER BY id")
        return [(row["event"], row["cause"]) for row in rows]

    def kinds(self, connected: Connected) -> list[str]:
        """The connection's activity, oldest first."""
        rows = self.rows("SELECT kind FROM activity WHERE connection_id = %s ORDER BY id", connected.id)
        return [row["kind"] for row in rows]

    def dump(self, *tables: str) -> str:
        """Everything in these tables, as text."""
        return "\n".join(
            str(row["line"])
            for table in tables
            for row in self.rows(f"SELECT t::text AS line FROM {table} t")  # noqa: S608 - tests' own words
        )

    def terminate_backends(self, application: str = "evergrant-test") -> int:
        """Cut every connection of the services, as a restarting server does."""
        cut = self.rows(
            "SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            application,
        )
        return sum(row["done"] for row in cut)

    # The provider's side.

    def grant(self, connected: Connected) -> dict[str, Any]:
        shown: dict[str, Any] = self.sim.grant(connected.grant.grant_id)
        return shown

    def presented(self, connected: Connected) -> int:
        return int(self.grant(connected)["presentations"])

    def alive(self, connected: Connected) -> bool:
        return bool(self.grant(connected)["alive"])

    def opens(self, connected: Connected, services: Services | None = None) -> bool:
        """Say whether the stored pair is the one that the provider holds for current."""
        row = self.row(connected)
        shown = self.sim.grant(connected.grant.grant_id, tokens=True)
        begun = (services or self.services).tokens.begin_check(connected.id)
        assert begun is not None
        access = (services or self.services).tokens.open_access(begun[3]).get_secret_value()
        return bool(access == shown["access_token"] and row["access_token"] is not None)


def line_of(grant: MintedGrant, user_id: str, provider_id: str, account_id: str = "") -> dict[str, object]:
    """The import line of a minted grant."""
    known = asdict(grant)
    return {
        "user_id": user_id,
        "provider_id": provider_id,
        "account_id": account_id,
        **{
            name: known[name] for name in ("access_token", "refresh_token", "expires_at", "scope", "metadata")
        },
    }
