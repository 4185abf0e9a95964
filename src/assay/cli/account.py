"""`assay account new|show|send`: accounts on a ledger. An account is a key."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from assay.cli.commands import add_json, add_verbs
from assay.cli.ledger import add_connection, add_payment, find_account, open_client, read_points
from assay.cli.output import print_json, print_line, print_strong

if TYPE_CHECKING:
    from assay.protocol.contracts.stake_records import Stake


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "new": "make a key; its account exists on a ledger as soon as it gets points",
            "show": "balance, stake and next nonce of an account, checked by proofs",
            "send": "send points to another account",
        },
    )
    verbs["new"].add_argument("name", metavar="NAME", help="1 to 64 of a-z, 0-9, dot, hyphen, underscore")
    verbs["show"].add_argument("account", metavar="WHO", help="a key's name, or its 64 digits")
    verbs["send"].add_argument("to", metavar="WHO", help="a key's name, or its 64 digits")
    verbs["send"].add_argument("amount", type=read_points, metavar="POINTS", help="how many")
    for name in ("show", "send"):
        add_connection(verbs[name])
    add_payment(verbs["send"])
    for child in verbs.values():
        add_json(child)


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0."""
    return {"new": _new, "show": _show, "send": _send}[arguments.verb](arguments)


def _new(arguments: argparse.Namespace) -> int:
    from assay.storage.keyring import create_key

    account = create_key(arguments.name).hex()
    if arguments.json:
        print_json({"exit": 0, "name": arguments.name, "account": account})
    else:
        print_strong(f"account {account}")
        print_line(f"its key {arguments.name} is stored unencrypted, in a file that only you can read")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from assay.protocol.contracts.stake_records import Stake
    from assay.protocol.contracts.stakes import stake_key

    account = find_account(arguments.account)
    with open_client(arguments) as client:
        found = client.get_account(account)
        stake = client.get_state(stake_key(account), Stake).value
    balance, nonce = (0, 0) if found.value is None else (found.value.balance, found.value.nonce)
    if arguments.json:
        told = {"exit": 0, "account": account.hex(), "balance": balance, "nonce": nonce, "height": found.height}
        print_json({**told, "exists": found.value is not None, **_describe_stake(stake)})
        return 0
    print_strong(f"{balance} points" if found.value is not None else "no such account yet: it never had points")
    print_line(f"account {account.hex()}, next nonce {nonce}")
    if stake is not None:
        print_line(f"{stake.bonded} points at stake")
        for unbonding in stake.unbondings:
            print_line(f"{unbonding.amount} points on their way out, paid in block {unbonding.height}")
    print_line(f"as of block {found.height}; header and proof are checked")
    return 0


def _describe_stake(stake: Stake | None) -> dict[str, object]:
    if stake is None:
        return {"stake": 0, "unbonding": []}
    return {
        "stake": stake.bonded,
        "unbonding": [{"amount": each.amount, "height": each.height} for each in stake.unbondings],
    }


def _send(arguments: argparse.Namespace) -> int:
    from assay.cli.payment import pay
    from assay.protocol.contracts.account_records import Transfer

    to = find_account(arguments.to)
    what = f"send {arguments.amount} points to {arguments.to}"
    return pay(arguments, Transfer(to, arguments.amount), what, arguments.amount)
