"""`evergrant connections disconnect`: end a connection, and say in words what that came to."""

from __future__ import annotations

import sys
from typing import Annotated, Final
from uuid import UUID

import typer

from domain.errors import EvergrantError
from domain.token import ConnectionRef
from services.disconnecting import DisconnectOutcome, DisconnectResult
from services.revocations import Fate
from services.wiring import Services
from workers.cli import session
from workers.cli.output import stderr, stdout

_WHY: Final = {
    "shared_with_sibling": (
        "nothing was revoked, because the provider would end these living connections of the same account too"
    ),
    "no_revoke_endpoint": (
        "the provider takes no revocations, so the grant lives on there until the user removes it"
    ),
    "unreadable": (
        "a token could not be opened with the keys of this process, so it was not revoked; the grant may "
        "live on at the provider"
    ),
    "gave_up": "the token could not be sent, so it was not revoked; an alert tells what to do",
}


def disconnect_connection(
    connection_id: Annotated[UUID | None, typer.Argument(help="The connection's id.")] = None,
    user_id: Annotated[str | None, typer.Option("--user-id", help="Instead of an id: whose.")] = None,
    provider_id: Annotated[str | None, typer.Option("--provider-id", help="… at which provider.")] = None,
    account_id: Annotated[str | None, typer.Option("--account-id", help="… and which account there.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a connection: revoke its grant at the provider where that can be done, and erase its tokens."""
    by_id = connection_id is not None
    if by_id == (user_id is not None and provider_id is not None) or (
        by_id and any(name is not None for name in (user_id, provider_id, account_id))
    ):
        raise typer.BadParameter("name the connection by its id, or by --user-id and --provider-id")
    with session.services() as services:
        ref = _find(services, connection_id, user_id, provider_id, account_id)
        name = services.desk.display_name(ref.provider_id)
        if not yes and sys.stdin.isatty():
            whose = f"the {name} connection of user {ref.user_id} ({ref.connection_id})"
            typer.confirm(f"Disconnect {whose}? Its tokens are erased for good", abort=True, err=True)
        # A refresh under way is waited for, and the provider is asked.
        with stderr.status("disconnecting"):
            result = services.disconnection.disconnect(ref.connection_id)
    if result.outcome is DisconnectOutcome.NOT_FOUND:
        raise EvergrantError(f"no connection has the id {ref.connection_id}")
    if result.outcome is DisconnectOutcome.RECONNECTED:
        raise EvergrantError(
            f"{ref.connection_id} was connected anew while a refresh was waited for; the new grant was left "
            "alone. Ask again to end it"
        )
    _say(result, name)


def _find(
    services: Services,
    connection_id: UUID | None,
    user_id: str | None,
    provider_id: str | None,
    account_id: str | None,
) -> ConnectionRef:
    found = connection_id
    if found is None:
        found = services.tokens.find(user_id or "", provider_id or "", account_id or "")
    row = None if found is None else services.tokens.read(found)
    if row is not None:
        return row[0]
    if connection_id is not None:
        raise EvergrantError(f"no connection has the id {connection_id}")
    account = f" with account {account_id!r}" if account_id else ""
    raise EvergrantError(f"user {user_id!r} has no connection at {provider_id!r}{account}")


def _say(result: DisconnectResult, name: str) -> None:
    identity = f"disconnected {result.connection_id}"
    match result.outcome:
        case DisconnectOutcome.ALREADY:
            text = f"{result.connection_id} was disconnected already"
        case DisconnectOutcome.REVOKED if result.reason is None:
            text = f"{identity}: revoked at {name}, and erased here"
        case DisconnectOutcome.REVOKED:
            text = f"{identity}: erased here; {name} knew no living token of it any more"
        case _ if result.reason == Fate.PENDING:
            text = (
                f"{identity}: erased here, and not revoked yet; the workers go on trying for a day, and "
                "an alert tells if that fails"
            )
        case _:
            text = f"{identity}: erased only here; {_WHY.get(str(result.reason), result.reason)}"
    stdout.print(text, markup=False, soft_wrap=True)
    for sibling in result.siblings:
        stdout.print(f"  {sibling}", markup=False)
    if result.unresolved:
        stderr.print(
            "a refresh of it was under way and not answered; should the answer come, it is not stored, and "
            "its tokens are revoked unless a living connection shares the grant",
            markup=False,
            soft_wrap=True,
        )
