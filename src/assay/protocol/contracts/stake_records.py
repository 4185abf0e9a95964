"""What the contract `stakes` keeps, and its transactions.

Source: `spec/stakes.md`.
"""

from __future__ import annotations

from assay.protocol.encoding import Record
from assay.protocol.evidence.draw import Seat


class Unbonding(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Stake on its way out; it can still be slashed."""

    amount: int
    height: int  # paid at the end of this block


class Stake(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one account has at stake."""

    bonded: int
    unbondings: tuple[Unbonding, ...]  # by height, earliest first


class VerifierList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All accounts with at least the minimum stake, sorted by account."""

    seats: tuple[Seat, ...]


class Snapshot(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The verifiers at the end of a block."""

    height: int
    seats: tuple[Seat, ...]


class ReleaseList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Accounts whose withdrawals are paid at one height, in the order of the withdrawals."""

    accounts: tuple[bytes, ...]


class DepositStake(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="deposit-stake"):
    """Put points at stake: with at least the minimum, the account is a verifier from the next snapshot on."""

    amount: int


class WithdrawStake(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="withdraw-stake"):
    """Take points out of the stake; they are paid after the unbonding time."""

    amount: int
