"""The state machine: which body changes the ledger state how, and what a whole block does.

`execute_block` is a function of state, transactions and environment. It changes nothing outside, knows no clock and no
chance, and a transaction that is refused, for whatever reason, leaves nothing behind but its fee and its nonce.

Source: `spec/transactions.md`, TXN-6 to TXN-9; `spec/blocks.md`, BLK-8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from assay.errors import AssayError, InvalidTransaction, StorageError
from assay.protocol import tags
from assay.protocol.blocks import Genesis, Result
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.accounts import account_key, apply_transfer, charge, credit, issue
from assay.protocol.contracts.deadlines import end_submissions
from assay.protocol.contracts.penalties import apply_report
from assay.protocol.contracts.stake_records import DepositStake, WithdrawStake
from assay.protocol.contracts.stakes import apply_deposit, apply_withdraw, end_stakes, release_key
from assay.protocol.contracts.submission_bodies import (
    AbstainVotes,
    AttestAvailability,
    CommitVotes,
    FlagIntervals,
    ReportEquivocation,
    RevealVotes,
    SubmitRun,
    WithdrawSubmission,
)
from assay.protocol.contracts.submission_keys import due_key
from assay.protocol.contracts.submissions import (
    apply_attest,
    apply_flag,
    apply_submit,
    apply_withdraw_submission,
)
from assay.protocol.contracts.voting import apply_abstain, apply_commit, apply_reveal
from assay.protocol.environment import Environment, Notice
from assay.protocol.hashing import compute_digest
from assay.protocol.state_view import StateReader, StateView
from assay.protocol.transactions import OpenedTransaction, open_transaction

Apply = Callable[[StateView, Environment, bytes, Any], None]

TRANSITIONS: Final[Mapping[type, Apply]] = {
    Transfer: apply_transfer,
    DepositStake: apply_deposit,
    WithdrawStake: apply_withdraw,
    SubmitRun: apply_submit,
    WithdrawSubmission: apply_withdraw_submission,
    AttestAvailability: apply_attest,
    FlagIntervals: apply_flag,
    CommitVotes: apply_commit,
    AbstainVotes: apply_abstain,
    RevealVotes: apply_reveal,
    ReportEquivocation: apply_report,
}
"""Every body and what carries it out (TXN-6)."""


class TransactionFailed(InvalidTransaction):
    """A transaction that met a fault in the rules themselves; it changed nothing but its fee and nonce."""

    code: ClassVar[str] = "transaction.failed"


@dataclass(frozen=True, slots=True)
class RefusedTransaction:
    """Bytes that are no valid transaction of this ledger.

    Attributes:
        id: of the transaction, or SHA-256(u16 tag ‖ bytes) where it has none.
        error: why.
    """

    id: bytes
    error: InvalidTransaction


@dataclass(frozen=True, slots=True)
class BlockOutcome:
    """What a block does.

    Attributes:
        changes: new encoded value by key of the ledger state; None: deleted.
        results: one for each transaction.
        messages: one for each transaction, for people: why it was refused; empty: carried out.
        notices: what happened to submissions.
    """

    changes: Mapping[bytes, bytes | None]
    results: tuple[Result, ...]
    messages: tuple[str, ...]
    notices: tuple[Notice, ...]


def open_or_refuse(chain_id: bytes, data: bytes, max_bytes: int) -> OpenedTransaction | RefusedTransaction:
    """Decode a transaction and check its signature; return it, or why it is refused (TXN-1 to TXN-5)."""
    try:
        return open_transaction(chain_id, data, max_bytes)
    except InvalidTransaction as error:
        return RefusedTransaction(compute_digest(tags.TRANSACTION, data), error)


def compute_genesis_changes(genesis: Genesis) -> Mapping[bytes, bytes | None]:
    """Return the ledger state before the first block (BLK-2)."""
    view = StateView(_Nothing())
    issue(view, genesis.engine.operator, 0)
    for endowment in genesis.balances:
        issue(view, endowment.account, endowment.amount)
    view.keep()
    return view.encode_changes()


def list_keys(transactions: Iterable[OpenedTransaction | RefusedTransaction], height: int) -> Iterator[bytes]:
    """Yield what a block reads in any case, so that it can be read ahead: payers, receivers, and what is due at it."""
    yield due_key(height)
    yield release_key(height)
    for opened in transactions:
        if isinstance(opened, OpenedTransaction):
            yield account_key(opened.transaction.account)
            if isinstance(opened.transaction.body, Transfer):
                yield account_key(opened.transaction.body.to)


def execute_block(
    reader: StateReader, transactions: Sequence[OpenedTransaction | RefusedTransaction], environment: Environment
) -> BlockOutcome:
    """Carry out the transactions of a block and what is due at its end (BLK-8, TXN-6 to TXN-9).

    Args:
        reader: the ledger state before the block; not changed.
        transactions: in their order, their signatures checked by `open_or_refuse`.
        environment: the block around them.

    Raises:
        StorageError: the state cannot be read, or contradicts itself: the node must stop.
    """
    view = StateView(reader)
    results, messages = [], []
    fees = 0
    for opened in transactions:
        error, is_charged = _execute(view, environment, opened)
        fee = opened.transaction.fee if is_charged and isinstance(opened, OpenedTransaction) else 0
        fees += fee
        results.append(Result(opened.id, "" if error is None else error.code, is_charged, fee))
        messages.append("" if error is None else str(error))
    credit(view, environment.proposer, fees)
    end_submissions(view, environment)
    end_stakes(view, environment)
    view.keep()
    return BlockOutcome(view.encode_changes(), tuple(results), tuple(messages), tuple(view.notices))


def _execute(
    view: StateView, environment: Environment, opened: OpenedTransaction | RefusedTransaction
) -> tuple[AssayError | None, bool]:
    """Return why a transaction was refused, or None, and whether its fee and nonce were taken."""
    if isinstance(opened, RefusedTransaction):
        return opened.error, False
    transaction = opened.transaction
    try:
        charge(view, transaction.account, transaction.nonce, transaction.fee, environment.parameters.minimum_fee)
    except InvalidTransaction as error:
        view.drop()
        return error, False
    view.keep()
    try:
        TRANSITIONS[type(transaction.body)](view, environment, transaction.account, transaction.body)
    except (StorageError, MemoryError):
        raise
    except AssayError as error:
        view.drop()
        return error, True
    except Exception as error:  # noqa: BLE001 - a fault of ours must not let a transaction half through
        view.drop()
        return TransactionFailed("the transaction met a fault of the rules", actual=type(error).__name__), True
    view.keep()
    return None, True


class _Nothing:
    """An empty ledger state."""

    def get(self, key: bytes) -> bytes | None:
        """Return that there is nothing."""
        del key
        return None
