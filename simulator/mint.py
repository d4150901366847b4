"""``python -m simulator.mint``: mint grants at a running simulator and write them, one JSON object a line.

The lines have the fields that a token keeper imports: ``user_id``, ``provider_id``, ``account_id``,
``access_token``, ``refresh_token``, ``expires_at``, ``scope``, ``metadata``. They hold tokens
of the simulator.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from simulator.client import MintedGrant, SimulatorClient, SimulatorError


@dataclass(frozen=True, slots=True)
class Order:
    """Grants to mint: what the keeper calls the provider, the dialect, how many, and how many to revoke."""

    provider_id: str
    dialect: str
    count: int
    revoked: int


def main(arguments: list[str] | None = None) -> int:
    """Mint, write, revoke; return 0, or 1 if the simulator refused."""
    parser = argparse.ArgumentParser(prog="python -m simulator.mint", description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="where the simulator is")
    parser.add_argument("--user", default="user-{n}", help="user ids; {n} becomes a number")
    parser.add_argument(
        "--lifetime", nargs=2, type=float, metavar=("LEAST", "MOST"), help="of access tokens, in seconds"
    )
    parser.add_argument(
        "--first-lifetime",
        nargs=2,
        type=float,
        metavar=("LEAST", "MOST"),
        help="of the access tokens that are minted now, as if they had been issued a while ago",
    )
    parser.add_argument(
        "--grants",
        action="append",
        type=_order,
        required=True,
        metavar="PROVIDER=DIALECT:COUNT[:REVOKED]",
        help="what to mint, and how many of those to revoke at once; may be repeated",
    )
    given = parser.parse_args(arguments)
    client = SimulatorClient(given.url)
    try:
        for order in given.grants:
            for line in _lines(client, order, given):
                sys.stdout.write(line)
    except SimulatorError as error:
        sys.stderr.write(f"simulator.mint: {error}\n")
        return 1
    return 0


def _lines(client: SimulatorClient, order: Order, given: argparse.Namespace) -> Iterator[str]:
    wishes: dict[str, object] = {}
    # Tokens that never expire keep doing so.
    if client.dialects()[order.dialect]["settings"]["lifetime"] is not None:
        wishes = {"lifetime": given.lifetime, "first_lifetime": given.first_lifetime}
        wishes = {name: wish for name, wish in wishes.items() if wish is not None}
    doomed = []
    for number, grant in enumerate(client.iter_mint(order.dialect, order.count, **wishes), start=1):
        if number <= order.revoked:
            doomed.append(grant.grant_id)
        yield json.dumps(_importable(grant, order.provider_id, given.user.replace("{n}", str(number)))) + "\n"
    if doomed:
        client.revoke(doomed)


def _importable(grant: MintedGrant, provider_id: str, user_id: str) -> dict[str, object]:
    return {
        "user_id": user_id,
        "provider_id": provider_id,
        "account_id": "",
        "access_token": grant.access_token,
        "refresh_token": grant.refresh_token,
        "expires_at": grant.expires_at,
        "scope": grant.scope,
        "metadata": {**grant.metadata, "grant_id": grant.grant_id},
    }


def _order(text: str) -> Order:
    provider_id, equals, rest = text.partition("=")
    parts = rest.split(":")
    if not (provider_id and equals and len(parts) in (2, 3) and all(part.isdecimal() for part in parts[1:])):
        raise argparse.ArgumentTypeError(f"{text!r} is not PROVIDER=DIALECT:COUNT[:REVOKED]")
    return Order(provider_id, parts[0], int(parts[1]), int(parts[2]) if len(parts) == 3 else 0)


if __name__ == "__main__":
    sys.exit(main())
