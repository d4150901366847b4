"""The worker that tutorials teach: an ORM session and a new OAuth client for each task.

    celery -A benchmarks.throughput.tutorial worker -P threads -c 8

It keeps the tokens sealed, takes a lease, and commits with a line of activity, as ours does, and is otherwise
written the way Celery's, SQLAlchemy's and Authlib's first pages show it.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from authlib.integrations.httpx_client import OAuth2Client
from celery import Celery
from pydantic import SecretStr
from sqlalchemy import create_engine, update
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

from storage.keys import KeyRing
from storage.sealing import Sealer
from storage.tokens.rows import token_ref

app = Celery("tutorial", broker=os.environ["EVERGRANT_REDIS_URL"])
app.conf.update(task_ignore_result=True, task_default_queue="tutorial", worker_hijack_root_logger=False)

engine = create_engine(os.environ["EVERGRANT_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
Base: Any = automap_base()
Base.prepare(autoload_with=engine, reflection_options={"only": ["tokens", "connections", "activity"]})
Token, Activity = Base.classes.tokens, Base.classes.activity
sealer = Sealer(KeyRing.parse(SecretStr(os.environ["EVERGRANT_KEYS"])))


@app.task(name="tutorial.refresh")  # type: ignore[untyped-decorator]  # Celery has no types
def refresh(connection_id: str, token_url: str) -> None:
    """Refresh one token."""
    wanted = uuid.UUID(connection_id)
    with Session(engine) as session:
        taken = session.execute(
            update(Token)
            .where(Token.connection_id == wanted, Token.lease_until.is_(None))
            .values(lease_until=datetime.now(UTC) + timedelta(seconds=60), lease_owner="tutorial")
        )
        session.commit()
        if not taken.rowcount:  # type: ignore[attr-defined]  # a cursor result has it
            return
        token: Any = session.get(Token, wanted)
        spent = sealer.open(token.refresh_token, token_ref("refresh_token", wanted)).get_secret_value()
        client = OAuth2Client("bench-client", "bench-secret")
        answer = client.refresh_token(token_url, refresh_token=spent)
        now = datetime.now(UTC)
        token.access_token = sealer.seal(SecretStr(answer["access_token"]), token_ref("access_token", wanted))
        new = SecretStr(answer["refresh_token"])
        token.refresh_token = sealer.seal(new, token_ref("refresh_token", wanted))
        token.refresh_digest = sealer.digest(new, wanted)
        token.expires_at = now + timedelta(seconds=answer["expires_in"])
        token.refresh_due_at = now + timedelta(seconds=answer["expires_in"] * 0.7)
        token.version += 1
        token.lease_until = token.lease_owner = None
        session.add(
            Activity(at=now, connection_id=wanted, provider_id=token.provider_id, kind="refreshed",
                     version=token.version, detail={})
        )  # fmt: skip
        session.commit()
