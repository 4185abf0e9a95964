"""One transaction from the command line: say what it costs, sign it, hand it over, wait for its block."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from assay.cli.ledger import open_client, require_carried_out
from assay.cli.meter import Meter
from assay.cli.output import print_json, print_line, print_strong
from assay.errors import UsageError

if TYPE_CHECKING:
    from assay.protocol.transactions import Body


class NotEnough(UsageError):
    """More points than the account has; nothing was sent."""

    code = "ledger.not-enough"


def pay(arguments: argparse.Namespace, body: Body, what: str, amount: int) -> int:
    """Send a transaction as the arguments of `add_payment` and `add_connection` say; return 0.

    Args:
        arguments: of the command.
        body: what the account asks for.
        what: in words, such as "send 5 points to alice".
        amount: points that it takes from the balance, besides the fee.

    Raises:
        AssayError: refused, unreachable, or a proof does not hold.
    """
    from assay.client.builders import build_transaction
    from assay.storage.keyring import read_seed

    seed = read_seed(arguments.sender)
    with open_client(arguments) as client:
        payer = client.make_payer(seed, arguments.fee)
        built = build_transaction(payer, body)
        found = client.get_account(built.transaction.account).value
        balance = 0 if found is None else found.balance
        told = {
            "id": built.id.hex(),
            "account": built.transaction.account.hex(),
            "amount": amount,
            "fee": payer.fee,
            "balance": balance,
            "balanceAfter": balance - amount - payer.fee,
        }
        if arguments.dry_run:
            return _tell_plan(arguments, told, what)
        if amount + payer.fee > balance:
            raise NotEnough("the account has fewer points", expected=amount + payer.fee, actual=balance)
        client.submit(built.data)
        if arguments.no_wait:
            return _tell(arguments, told, f"handed over: {what}; id {built.id.hex()}")
        with Meter(quiet=arguments.json) as meter:
            meter.update("waiting for a block", 0, 1)
            inclusion = client.wait(built.id)
    require_carried_out(inclusion)
    return _tell(arguments, {**told, "height": inclusion.height}, f"{what}: in block {inclusion.height}, proof checked")


def _tell_plan(arguments: argparse.Namespace, told: dict[str, object], what: str) -> int:
    if arguments.json:
        print_json({"exit": 0, "dryRun": True, **told})
        return 0
    print_strong(f"would {what}; nothing was sent")
    print_line(f"points {told['amount']}, fee {told['fee']}, balance {told['balance']} -> {told['balanceAfter']}")
    return 0


def _tell(arguments: argparse.Namespace, told: dict[str, object], text: str) -> int:
    if arguments.json:
        print_json({"exit": 0, "dryRun": False, **told})
    else:
        print_strong(text)
        print_line(f"transaction {told['id']}, fee {told['fee']}")
    return 0
