"""Transactions that wait for a block: checked, each once, in a bounded number, in the order of their nonces.

Order: by arrival, but the transactions of one account by nonce without a gap. A transaction that could not stand in a
block for a while (a gap never filled, a balance never there) is forgotten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from assay.errors import InvalidTransaction
from assay.protocol.blocks import Block
from assay.protocol.transactions import OpenedTransaction


class MempoolFull(InvalidTransaction):
    """No more transactions may wait, of this account or of all together; later ones may."""

    code: ClassVar[str] = "mempool.full"
    http_status = 503


class AlreadyWaiting(InvalidTransaction):
    """The same transaction waits already, or another one of this account with the same nonce."""

    code: ClassVar[str] = "mempool.waiting"
    http_status = 409


class NonceTooFar(InvalidTransaction):
    """A nonce further ahead than the transactions of one account that may wait."""

    code: ClassVar[str] = "mempool.nonce"


@dataclass(frozen=True)
class MempoolLimits:
    """Bounds of what waits.

    Attributes:
        transactions: of all accounts.
        total_bytes: of all of them.
        per_account: transactions of one account, which is also how far ahead its nonce may be.
        patience: blocks after which a transaction that could not stand in any is forgotten.
    """

    transactions: int = 65_536
    total_bytes: int = 64 * 1024 * 1024
    per_account: int = 64
    patience: int = 100


@dataclass(frozen=True, slots=True)
class _Waiting:
    id: bytes
    account: bytes
    nonce: int
    data: bytes
    until: int  # settled blocks


class Mempool:
    """What waits; safe to use from several threads.

    Args:
        check: decodes a transaction, checks its signature, and whether the state permits it; returns it, and the nonce
            that the next transaction of its account must have; raises InvalidTransaction.
        get_nonce: the nonce that the next transaction of an account must have, as of the last block.
        limits: the bounds.
    """

    def __init__(
        self,
        check: Callable[[bytes], tuple[OpenedTransaction, int]],
        get_nonce: Callable[[bytes], int],
        limits: MempoolLimits | None = None,
    ) -> None:
        self._check = check
        self._get_nonce = get_nonce
        self._limits = MempoolLimits() if limits is None else limits
        self._guard = threading.Lock()
        self._waiting: OrderedDict[bytes, _Waiting] = OrderedDict()  # by id, in the order of arrival
        self._accounts: dict[bytes, dict[int, bytes]] = {}  # account to nonce to id
        self._bytes = 0
        self._settled = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def is_waiting(self, identity: bytes) -> bool:
        """Return whether a transaction waits."""
        return identity in self._waiting

    def add(self, data: bytes) -> bytes:
        """Check and take a transaction; return its id.

        Raises:
            InvalidTransaction: the check refuses it, `AlreadyWaiting`, `NonceTooFar` or `MempoolFull`.
        """
        if len(self._waiting) >= self._limits.transactions or self._bytes + len(data) > self._limits.total_bytes:
            raise MempoolFull("too many transactions wait", next_step="send it again a little later")
        settled = self._settled
        opened, least = self._check(data)  # outside the lock: the signature takes most of the time
        account, nonce = opened.transaction.account, opened.transaction.nonce
        with self._guard:
            if settled != self._settled:  # a block came in between
                least = self._get_nonce(account)
            own = self._accounts.get(account, {})
            if opened.id in self._waiting or nonce in own:
                raise AlreadyWaiting("a transaction with this nonce waits already", actual=nonce)
            if len(own) >= self._limits.per_account:
                raise MempoolFull(
                    "too many transactions of this account wait", expected=f"at most {self._limits.per_account}"
                )
            if not least <= nonce < least + self._limits.per_account:
                raise NonceTooFar(
                    "the nonce is not one of the next",
                    expected=f"{least} to {least + self._limits.per_account - 1}",
                    actual=nonce,
                )
            until = self._settled + self._limits.patience
            self._waiting[opened.id] = _Waiting(opened.id, account, nonce, data, until)
            self._accounts.setdefault(account, {})[nonce] = opened.id
            self._bytes += len(data)
        return opened.id

    def select(self) -> Sequence[bytes]:
        """Return what waits, in the order of execution: by arrival, each account's by nonce and without a gap."""
        chosen: list[bytes] = []
        with self._guard:
            done: set[bytes] = set()
            for waiting in self._waiting.values():
                if waiting.account in done:
                    continue
                own = self._accounts[waiting.account]
                if len(own) == 1:
                    chosen.append(waiting.data)
                    continue
                done.add(waiting.account)
                chosen += self._get_sequence(waiting.account, own)
        return chosen

    def _get_sequence(self, account: bytes, own: dict[int, bytes]) -> list[bytes]:
        nonce, found = self._get_nonce(account), []
        while nonce in own:
            found.append(self._waiting[own[nonce]].data)
            nonce += 1
        return found

    def settle(self, block: Block) -> None:
        """Forget what stands in a committed block, what that made stale, and what waited too long."""
        standing = set(block.transactions)
        with self._guard:
            self._settled += 1
            gone = []
            for waiting in self._waiting.values():
                if waiting.data in standing:
                    gone.append(waiting)
                    gone += self._find_stale(waiting)
                elif waiting.until <= self._settled:
                    gone.append(waiting)
            for waiting in gone:
                self._forget(waiting)

    def _find_stale(self, done: _Waiting) -> list[_Waiting]:
        """Return what its account has waiting with smaller nonces than a transaction that stands in a block."""
        own = self._accounts[done.account]
        if len(own) == 1:
            return []
        return [self._waiting[identity] for nonce, identity in own.items() if nonce < done.nonce]

    def _forget(self, waiting: _Waiting) -> None:
        if self._waiting.pop(waiting.id, None) is None:
            return
        self._bytes -= len(waiting.data)
        own = self._accounts[waiting.account]
        del own[waiting.nonce]
        if not own:
            del self._accounts[waiting.account]
