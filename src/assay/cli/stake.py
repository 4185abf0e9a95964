"""`assay stake deposit|withdraw`: points with which a verifier answers for its votes."""

from __future__ import annotations

import argparse

from assay.cli.commands import add_json, add_verbs
from assay.cli.ledger import add_connection, add_payment, read_points


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "deposit": "put points at stake; with enough of them the account is drawn as a verifier",
            "withdraw": "take points out of the stake; they are paid after the unbonding time",
        },
    )
    for child in verbs.values():
        child.add_argument("amount", type=read_points, metavar="POINTS", help="how many")
        add_payment(child)
        add_connection(child)
        add_json(child)


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0."""
    from assay.cli.payment import pay
    from assay.protocol.contracts.stake_records import DepositStake, WithdrawStake

    if arguments.verb == "deposit":
        return pay(arguments, DepositStake(arguments.amount), f"stake {arguments.amount} points", arguments.amount)
    return pay(arguments, WithdrawStake(arguments.amount), f"withdraw {arguments.amount} points of stake", 0)
