"""The application: it executes blocks on a ledger state that a store keeps, and proves what is in it.

Between `finalize_block` and `commit` everything that a block changes waits in memory; `commit` hands it to the store in
one step. A query and a commit exclude each other; a query and the execution of a block do not.

Source: `spec/blocks.md`, BLK-8; `spec/ledger-state.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Final, Protocol

from assay.consensus.engine import ApplicationInfo, FinalizedBlock, Proposal, QueryAnswer
from assay.errors import InvalidTransaction, UsageError
from assay.kernels.ledger_tree import make_ledger_tree
from assay.node.cached_reader import CachedReader, ManyReader
from assay.protocol.beacon import compute_beacon, verify_reveal
from assay.protocol.blocks import (
    Block,
    Genesis,
    Header,
    Position,
    WrongParent,
    WrongRoot,
    compute_chain_id,
    compute_results_root,
    compute_transactions_root,
    get_position,
    get_start,
    verify_block_size,
    verify_genesis,
    verify_header,
)
from assay.protocol.contracts.account_records import Account
from assay.protocol.contracts.accounts import NEW_ACCOUNT, FeeTooLow, Unaffordable, WrongNonce, account_key, charge
from assay.protocol.encoding import decode, encode
from assay.protocol.environment import Environment
from assay.protocol.ledger_proofs import hash_key
from assay.protocol.ledger_tree import LeafSource
from assay.protocol.merkle import MerkleRoot
from assay.protocol.state_view import LedgerFault, StateView
from assay.protocol.transactions import OpenedTransaction, open_transaction
from assay.protocol.transition import compute_genesis_changes, execute_block, list_keys, open_or_refuse

MAX_OPENED: Final = 65_536
"""Transactions whose signature was checked, kept so that it is not checked again in their block."""


class ApplicationNotReady(UsageError):
    """An application without a genesis, with another one, or asked to commit a block that it did not finalize."""

    code: ClassVar[str] = "application.not-ready"


class LedgerStore(ManyReader, LeafSource, Protocol):
    """Keeps the ledger state and the blocks. Its reads belong to the last commit."""

    def load_genesis(self) -> bytes | None:
        """Return the encoded genesis; None: the store is empty."""

    def load_header(self) -> Header | None:
        """Return the header of the last block; None: there is only the genesis."""

    def create(self, genesis: bytes, changes: Mapping[bytes, bytes | None]) -> None:
        """Begin with a genesis and its ledger state, durably."""

    def commit(self, block: Block, finalized: FinalizedBlock, changes: Mapping[bytes, bytes | None]) -> None:
        """Keep a block and what it changes (None: deleted), durably, all of it or nothing."""


@dataclass(frozen=True)
class _Pending:
    """A block that was finalized and not committed."""

    transactions: tuple[bytes, ...]
    position: Position
    finalized: FinalizedBlock
    changes: Mapping[bytes, bytes | None]


class LedgerApplication:
    """An `Application` over a store.

    Args:
        store: empty, or as an application left it.

    Raises:
        LedgerFault: the stored state has another root than the last header.
    """

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._reader = CachedReader(store)
        self._lock = threading.Lock()  # between commit and query
        self._opened: dict[bytes, OpenedTransaction] = {}
        self._opening = threading.Lock()  # `open_checked` may be called from several threads
        self._pending: _Pending | None = None
        self._tree = make_ledger_tree(store)
        genesis = store.load_genesis()
        self._genesis = None if genesis is None else decode(genesis, Genesis)
        self._position = None if self._genesis is None else get_start(self._genesis)
        header = store.load_header()
        if header is not None:
            self._position = get_position(header)
            if self._tree.root != header.state_root:
                raise LedgerFault(
                    "the stored ledger state is not that of the last block",
                    expected=header.state_root.hex(),
                    actual=self._tree.root.hex(),
                    next_step="restore the chain database from a copy",
                )

    @property
    def genesis(self) -> Genesis:
        """Genesis of the ledger."""
        if self._genesis is None:
            raise ApplicationNotReady("there is no ledger yet", next_step="init_chain makes one")
        return self._genesis

    def info(self) -> ApplicationInfo:
        """Return where it stands."""
        return ApplicationInfo(self._get_position(), self._tree.root)

    def init_chain(self, genesis: Genesis) -> bytes:
        """Start from a genesis, durably; return the root of the ledger state.

        Raises:
            ApplicationNotReady: there is a ledger already.
            MalformedEvidence: the genesis breaks its rules.
        """
        if self._genesis is not None:
            raise ApplicationNotReady("there is a ledger already", actual=compute_chain_id(self._genesis).hex())
        verify_genesis(genesis)
        self._store.create(encode(genesis), compute_genesis_changes(genesis))
        self._reader.forget()
        self._genesis, self._position = genesis, get_start(genesis)
        self._tree.rebuild()
        return self._tree.root

    def check_tx(self, data: bytes) -> bytes:
        """Check whether a transaction could stand in one of the next blocks; return its id."""
        return self.open_checked(data)[0].id

    def open_checked(self, data: bytes) -> tuple[OpenedTransaction, int]:
        """Check form and signature of a transaction, that its nonce is not used up and its fee affordable.

        Returns:
            The transaction, and the nonce that the next one of its account must have.

        Raises:
            InvalidTransaction: it could not stand in a block.
        """
        parameters = self.genesis.parameters
        opened = self._opened.get(data)
        if opened is None:
            opened = open_transaction(self._get_position().chain_id, data, parameters.max_transaction_bytes)
            self._remember(data, opened)
        transaction = opened.transaction
        account = StateView(self._reader).read(account_key(transaction.account), Account) or NEW_ACCOUNT
        if transaction.nonce < account.nonce:
            raise WrongNonce("the nonce was used", expected=f"at least {account.nonce}", actual=transaction.nonce)
        if transaction.fee < parameters.minimum_fee:
            raise FeeTooLow("the fee is too low", expected=parameters.minimum_fee, actual=transaction.fee)
        if transaction.fee > account.balance:
            raise Unaffordable("the account cannot pay the fee", expected=transaction.fee, actual=account.balance)
        return opened, account.nonce

    def prepare_proposal(self, candidates: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return those candidates that can stand in the next block, in order, within its limits."""
        parameters = self.genesis.parameters
        view = StateView(self._reader)
        chosen: list[bytes] = []
        size = 0
        for data in candidates:
            if len(chosen) == parameters.max_block_transactions:
                break
            if size + len(data) > parameters.max_block_bytes:
                continue
            try:
                opened = self._opened.get(data) or self.open_checked(data)[0]
                transaction = opened.transaction
                charge(view, transaction.account, transaction.nonce, transaction.fee, parameters.minimum_fee)
            except InvalidTransaction:  # raised before anything is written
                continue
            chosen.append(data)
            size += len(data)
        return tuple(chosen)

    def finalize_block(self, proposal: Proposal) -> FinalizedBlock:
        """Execute a block on the state of the last commit; persists nothing.

        Raises:
            InvalidBlock: it is too large or does not follow.
        """
        parameters, position = self.genesis.parameters, self._get_position()
        verify_block_size(proposal.transactions, parameters)
        if proposal.height != position.height + 1 or proposal.time < position.time:
            raise WrongParent("the block does not follow", expected=position.height + 1, actual=proposal.height)
        verify_reveal(position.reveal, proposal.reveal)
        environment = Environment(
            chain_id=position.chain_id,
            height=proposal.height,
            time=proposal.time,
            proposer=proposal.proposer,
            beacon=compute_beacon(position.beacon, proposal.reveal),
            parameters=parameters,
        )
        most = parameters.max_transaction_bytes
        opened = [
            self._opened.get(data) or open_or_refuse(position.chain_id, data, most) for data in proposal.transactions
        ]
        self._reader.prefetch(list_keys(opened, proposal.height))
        self._pending = None  # the tree keeps one update
        outcome = execute_block(self._reader, opened, environment)
        root = self._tree.compute_update(
            {hash_key(key): None if value is None else sha256(value).digest() for key, value in outcome.changes.items()}
        )
        header = _make_header(position, proposal, environment, compute_results_root(outcome.results), root)
        after = get_position(header)
        finalized = FinalizedBlock(after.block, header, outcome.results, outcome.messages, outcome.notices)
        self._pending = _Pending(proposal.transactions, after, finalized, outcome.changes)
        return finalized

    def process_proposal(self, block: Block) -> FinalizedBlock:
        """Execute a block from elsewhere and compare all that its header says; the seal is for the engine to check.

        Raises:
            InvalidBlock: something differs.
        """
        header = block.header
        verify_header(self._get_position(), header)
        proposal = Proposal(header.height, header.time, header.proposer, header.reveal, block.transactions)
        finalized = self.finalize_block(proposal)
        for name in Header.__struct_fields__:
            expected, actual = getattr(finalized.header, name), getattr(header, name)
            if expected != actual:
                self._pending = None
                raise WrongRoot(f"the header says another {name}", expected=_show(expected), actual=_show(actual))
        return finalized

    def commit(self, block: Block) -> None:
        """Make the block that was finalized last durable, in one step.

        Raises:
            ApplicationNotReady: another block was finalized last, or none.
            StorageError: the disk; everything stands where it stood.
        """
        pending = self._pending
        if pending is None or block.header != pending.finalized.header:
            raise ApplicationNotReady("this is not the block that was finalized last")
        if block.transactions != pending.transactions:
            raise WrongRoot("the block has other transactions than its header")
        with self._lock:
            try:
                self._store.commit(block, pending.finalized, pending.changes)
            except BaseException:
                self._reader.forget()  # somebody may have read in the midst of it
                raise
            self._reader.note_commit(pending.changes)
            self._tree.apply()
            self._position = pending.position
        self._pending = None
        with self._opening:
            for data in block.transactions:
                self._opened.pop(data, None)

    def query(self, key: bytes, *, prove: bool = False) -> QueryAnswer:
        """Return a value of the ledger state at the last commit; `key` begins with its contract's tag."""
        with self._lock:
            return self._query(key, prove=prove)

    def try_query(self, key: bytes, *, prove: bool = False) -> QueryAnswer | None:
        """Return the same at once, or None where a block is being committed."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._query(key, prove=prove)
        finally:
            self._lock.release()

    def _query(self, key: bytes, *, prove: bool) -> QueryAnswer:
        value = self._reader.get(key)
        proof = self._tree.prove(hash_key(key)) if prove else None
        return QueryAnswer(self._get_position().height, value, proof)

    def _get_position(self) -> Position:
        if self._position is None:
            raise ApplicationNotReady("there is no ledger yet", next_step="init_chain makes one")
        return self._position

    def _remember(self, data: bytes, opened: OpenedTransaction) -> None:
        with self._opening:
            while len(self._opened) >= MAX_OPENED:
                self._opened.pop(next(iter(self._opened)), None)
            self._opened[data] = opened


def _make_header(
    position: Position, proposal: Proposal, environment: Environment, results: MerkleRoot, state_root: bytes
) -> Header:
    return Header(
        version=0,
        chain_id=position.chain_id,
        height=proposal.height,
        previous=position.block,
        time=proposal.time,
        proposer=proposal.proposer,
        transactions=compute_transactions_root(proposal.transactions),
        results=results,
        state_root=state_root,
        reveal=proposal.reveal,
        beacon=environment.beacon,
    )


def _show(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
