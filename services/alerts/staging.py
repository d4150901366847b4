"""Alerts about received answers that have not landed."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from storage.alerts import AlertSpec

#: Kinds of alerts about staged answers, which `services.staged` resolves.
ANSWERS_UNSAFE: Final = "answers_unsafe"
STAGED_UNREADABLE: Final = "staged_unreadable"
STAGED_REFUSED: Final = "staged_refused"
PROCESS_LOST: Final = "process_lost"


def answers_unsafe(host: str, *, count: int, folder: str) -> AlertSpec:
    """Answers were, or are, in a worker's memory alone: neither Postgres nor the spool took them."""
    return AlertSpec(
        cause=f"staging:{host}:unsafe",
        kind=ANSWERS_UNSAFE,
        severity="critical",
        title=f"A worker on {host} holds received tokens in its memory alone",
        help=f"Postgres did not take {count} answers, and the spool {folder} refused them (is its disk full "
        "or read-only?). Do not kill the workers there: free the disk, or bring Postgres back, and they are "
        "stored by themselves. Workers that are asked to stop wait until then.",
        detail={"host": host, "count": count},
    )


def staged_unreadable(connection_id: UUID, *, why: str) -> AlertSpec:
    """A staged answer cannot be opened."""
    return AlertSpec(
        cause=f"connection:{connection_id}:staged_unreadable",
        kind=STAGED_UNREADABLE,
        severity="critical",
        title="A received token waits in the spool and cannot be opened",
        help=f"{why}. Put the missing key back into EVERGRANT_KEYS and restart the workers of that machine: "
        "the token is kept as it is meanwhile, and nothing is presented for the connection. "
        "`evergrant doctor` shows what is staged.",
        connection_id=connection_id,
    )


def staged_damaged(connection_id: UUID, *, file: str, folder: str) -> AlertSpec:
    """A file of the spool is no staged answer of this version."""
    return AlertSpec(
        cause=f"connection:{connection_id}:staged_damaged",
        kind=STAGED_UNREADABLE,
        severity="critical",
        title="A received token waits in the spool, and its file cannot be read",
        help=f"{folder}/{file} is damaged, or was written by a later version of Evergrant. It is kept, and "
        "nothing is presented for the connection meanwhile. Start the version that wrote it, or restore the "
        "file; if neither is possible, remove it, and the doubt is resolved as its provider allows.",
        connection_id=connection_id,
    )


def staged_refused(connection_id: UUID, *, error: str) -> AlertSpec:
    """A staged answer cannot be stored, for another reason than Postgres being away."""
    return AlertSpec(
        cause=f"connection:{connection_id}:staged_refused",
        kind=STAGED_REFUSED,
        severity="critical",
        title="A received token waits in the spool, and Postgres refuses it",
        help=f"Storing it fails with {error}; the worker's log says more. Look for a missing privilege or a "
        "schema of another version (`evergrant doctor`). It is kept and tried again every few seconds.",
        connection_id=connection_id,
        detail={"error": error},
    )


def process_lost(process_id: str, role: str, host: str, staged: int) -> AlertSpec:
    """A process that holds staged answers has not been heard of for longer than anybody waits."""
    return AlertSpec(
        cause=f"process:{process_id}:lost",
        kind=PROCESS_LOST,
        severity="critical",
        title=f"The worker {role!r} on {host} is silent, and {staged} received tokens lie in its spool",
        help="Start a worker on that machine with the same data folder: it lands them. Until then nothing is "
        "presented for the connections that are in doubt because of that worker. If the machine and its disk "
        f"are lost for good, run `evergrant processes forget '{process_id}'`: each of these connections then "
        "has its one recovery attempt.",
        detail={"process": process_id, "staged": staged},
    )
