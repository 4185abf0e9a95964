"""Transactions, built and signed without any network.

A builder takes a `Payer`: whose key signs, on which chain, with which nonce and fee.
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.stake_records import DepositStake, WithdrawStake
from assay.protocol.encoding import encode
from assay.protocol.signatures import get_public_key
from assay.protocol.transactions import Body, Transaction, compute_transaction_id, sign_transaction


@dataclass(frozen=True)
class Payer:
    """Who signs and pays a transaction, and where.

    Attributes:
        seed: 32-byte seed of the account's key.
        chain_id: of the ledger; the transaction means nothing on another.
        nonce: that the account's next transaction must have.
        fee: points, to the proposer of the block.
    """

    seed: bytes
    chain_id: bytes
    nonce: int
    fee: int

    def __repr__(self) -> str:
        return f"Payer(account={get_public_key(self.seed).hex()}, nonce={self.nonce}, fee={self.fee})"


@dataclass(frozen=True)
class BuiltTransaction:
    """A signed transaction.

    Attributes:
        id: 32 bytes.
        data: as it travels.
        transaction: what was signed.
    """

    id: bytes
    data: bytes
    transaction: Transaction


def build_transaction(payer: Payer, body: Body) -> BuiltTransaction:
    """Return a signed transaction with any body."""
    transaction = Transaction(0, get_public_key(payer.seed), payer.nonce, payer.fee, body)
    data = sign_transaction(payer.seed, payer.chain_id, transaction)
    return BuiltTransaction(compute_transaction_id(payer.chain_id, encode(transaction)), data, transaction)


def build_transfer(payer: Payer, to: bytes, amount: int) -> BuiltTransaction:
    """Return a transfer of `amount` points to an account, 32 bytes."""
    return build_transaction(payer, Transfer(to, amount))


def build_stake_deposit(payer: Payer, amount: int) -> BuiltTransaction:
    """Return a deposit of `amount` points of stake."""
    return build_transaction(payer, DepositStake(amount))


def build_stake_withdrawal(payer: Payer, amount: int) -> BuiltTransaction:
    """Return a withdrawal of `amount` points of stake, which are paid after the unbonding time."""
    return build_transaction(payer, WithdrawStake(amount))
