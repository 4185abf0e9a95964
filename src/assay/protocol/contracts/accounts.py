"""Contract `accounts`: balances, nonces, fees, transfers, and the count of all points.

Source: `spec/accounts.md`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from assay.errors import InvalidTransaction
from assay.protocol import tags
from assay.protocol.amounts import MAX_AMOUNT, add_amounts, verify_amount
from assay.protocol.contracts.account_records import Account, Supply, Transfer
from assay.protocol.environment import Environment
from assay.protocol.hashing import tag_bytes
from assay.protocol.state_view import LedgerFault, StateView

_ACCOUNTS: Final = tag_bytes(tags.ACCOUNTS_CONTRACT)

SUPPLY_KEY: Final = tag_bytes(tags.SUPPLY_CONTRACT) + b"supply"

NEW_ACCOUNT: Final = Account(0, 0)


class WrongNonce(InvalidTransaction):
    """A transaction that was carried out already, or that comes before its predecessor."""

    code: ClassVar[str] = "account.nonce"


class FeeTooLow(InvalidTransaction):
    """A fee below the ledger's minimum."""

    code: ClassVar[str] = "account.fee"


class Unaffordable(InvalidTransaction):
    """More points than the account has."""

    code: ClassVar[str] = "account.unaffordable"


class AccountRefused(InvalidTransaction):
    """A receiver that is not 32 bytes, or is the sender itself."""

    code: ClassVar[str] = "account.receiver"


def account_key(account: bytes) -> bytes:
    """Return the key of an account (ACC-2)."""
    return _ACCOUNTS + account


def get_account(view: StateView, account: bytes) -> Account:
    """Return an account; one that never had points has balance and nonce 0 (ACC-2)."""
    return view.read(_ACCOUNTS + account, Account) or NEW_ACCOUNT


def credit(view: StateView, account: bytes, amount: int) -> None:
    """Add points that came from elsewhere to an account."""
    if amount:
        found = get_account(view, account)
        view.write(_ACCOUNTS + account, Account(add_amounts(found.balance, amount), found.nonce))


def debit(view: StateView, account: bytes, amount: int, what: str) -> None:
    """Take points from an account; they must go elsewhere.

    Raises:
        Unaffordable: it has fewer.
    """
    found = get_account(view, account)
    if amount > found.balance:
        raise Unaffordable(f"the account cannot pay the {what}", expected=amount, actual=found.balance)
    view.write(_ACCOUNTS + account, Account(found.balance - amount, found.nonce))


def burn(view: StateView, amount: int) -> None:
    """Count points that came from elsewhere as burned (ACC-6)."""
    if amount:
        supply = view.expect(SUPPLY_KEY, Supply)
        if supply.burned + amount > supply.issued:
            raise LedgerFault("more points would be burned than there are", expected=supply.issued, actual=amount)
        view.write(SUPPLY_KEY, Supply(supply.issued, supply.burned + amount))


def issue(view: StateView, account: bytes, amount: int) -> None:
    """Create points, which happens in the genesis alone (ACC-6)."""
    supply = view.read(SUPPLY_KEY, Supply) or Supply(0, 0)
    view.write(SUPPLY_KEY, Supply(add_amounts(supply.issued, amount), supply.burned))
    credit(view, account, amount)


def charge(view: StateView, account: bytes, nonce: int, fee: int, minimum_fee: int) -> None:
    """Check nonce and fee, take the fee and use up the nonce (ACC-3, ACC-4).

    Raises:
        WrongNonce: the nonce is not the account's next one.
        FeeTooLow: the fee is below the minimum.
        Unaffordable: the account cannot pay it.
    """
    found = get_account(view, account)
    if nonce != found.nonce:
        raise WrongNonce(
            "the nonce is not the next one of the account",
            expected=found.nonce,
            actual=nonce,
            next_step="ask the node for the account and sign again",
        )
    if fee < minimum_fee:
        raise FeeTooLow("the fee is too low", expected=f"at least {minimum_fee}", actual=fee)
    if fee > found.balance:
        raise Unaffordable("the account cannot pay the fee", expected=fee, actual=found.balance)
    view.write(_ACCOUNTS + account, Account(found.balance - fee, nonce + 1))


def apply_transfer(view: StateView, environment: Environment, sender: bytes, body: Transfer) -> None:
    """Move points from the sender to another account (ACC-5).

    Raises:
        AccountRefused: the receiver is not 32 bytes, or the sender.
        AmountOutOfRange: less than 1 point, or too many for the receiver.
        Unaffordable: the sender has fewer.
    """
    del environment
    if len(body.to) != 32:
        raise AccountRefused("the receiver is no account", expected="32 bytes", actual=f"{len(body.to)} bytes")
    if body.to == sender:
        raise AccountRefused("sender and receiver are the same", actual=sender.hex())
    verify_amount(body.amount, "the amount of a transfer", 1)
    debit(view, sender, body.amount, "transfer")
    credit(view, body.to, body.amount)


def get_supply(view: StateView) -> Supply:
    """Return how many points were issued and burned (ACC-6)."""
    supply = view.expect(SUPPLY_KEY, Supply)
    if not 0 <= supply.burned <= supply.issued <= MAX_AMOUNT:
        raise LedgerFault("the supply contradicts itself", actual=f"{supply.burned} burned of {supply.issued}")
    return supply
