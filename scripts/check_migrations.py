"""Migrate an empty Postgres and compare what came of it with the models: part of `make check`."""

from __future__ import annotations

import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from domain.errors import EvergrantError
from storage.migrate import drift, upgrade
from workers.embedded.layout import DataFolder
from workers.embedded.postgres import EmbeddedPostgres
from workers.supervision.child import Child
from workers.supervision.claim import claim_folder


def differences(path: Path) -> list[str]:
    """Return the differences between migrations and models, by a Postgres under `path` that lives as long."""
    with claim_folder(path) as claimed:
        server = EmbeddedPostgres(DataFolder(path))
        server.prepare()
        child = Child.start(server.spec(), claimed)
        try:
            server.wait_ready(timedelta(minutes=2))
            upgrade(server.url)
            return drift(server.url)
        finally:
            child.stop()


def main() -> int:
    """Report; exit status 1 when migrations and models differ."""
    try:
        with tempfile.TemporaryDirectory(prefix="evergrant-migrations-") as folder:
            found = differences(Path(folder) / "data")
    except EvergrantError as error:
        print(f"the migrations could not be run: {error}", file=sys.stderr)
        return 1
    for difference in found:
        print(f"migrations and models differ: {difference}", file=sys.stderr)
    if not found:
        print("migrations and models agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
