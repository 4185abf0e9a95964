"""Contract `stakes`: deposits, withdrawals that wait longer than any window, snapshots of the verifiers, slashing.

Source: `spec/stakes.md`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import ClassVar, Final

from assay.errors import InvalidTransaction
from assay.protocol import tags
from assay.protocol.amounts import add_amounts, verify_amount
from assay.protocol.contracts.accounts import burn, credit, debit
from assay.protocol.contracts.stake_records import (
    DepositStake,
    ReleaseList,
    Snapshot,
    Stake,
    Unbonding,
    VerifierList,
    WithdrawStake,
)
from assay.protocol.environment import Environment
from assay.protocol.evidence.draw import Seat
from assay.protocol.hashing import tag_bytes
from assay.protocol.params import Parameters, compute_longest_life
from assay.protocol.state_view import StateView

_PREFIX: Final = tag_bytes(tags.STAKES_CONTRACT)

VERIFIERS_KEY: Final = _PREFIX + b"verifiers"

NO_STAKE: Final = Stake(0, ())


class StakeTooLow(InvalidTransaction):
    """A withdrawal of more than is at stake."""

    code: ClassVar[str] = "stake.too-low"


class TooManyVerifiers(InvalidTransaction):
    """A deposit that is too small for a place on a full list of verifiers."""

    code: ClassVar[str] = "stake.too-many-verifiers"


class TooManyWithdrawals(InvalidTransaction):
    """One waiting withdrawal more than an account can have."""

    code: ClassVar[str] = "stake.too-many-withdrawals"


def stake_key(account: bytes) -> bytes:
    """Return the key of what an account has at stake (STK-1)."""
    return _PREFIX + b"stake/" + account


def snapshot_key(height: int) -> bytes:
    """Return the key of a snapshot (STK-5)."""
    return _PREFIX + b"snapshot/" + height.to_bytes(8, "big")


def release_key(height: int) -> bytes:
    """Return the key of the withdrawals that end with a block (STK-4)."""
    return _PREFIX + b"release/" + height.to_bytes(8, "big")


def get_stake(view: StateView, account: bytes) -> Stake:
    """Return what an account has at stake."""
    return view.read(stake_key(account), Stake) or NO_STAKE


def get_verifiers(view: StateView) -> tuple[Seat, ...]:
    """Return all verifiers at the moment, sorted by account (STK-2)."""
    found = view.read(VERIFIERS_KEY, VerifierList)
    return () if found is None else found.seats


def compute_snapshot_height(height: int, parameters: Parameters) -> int:
    """Return the height of the snapshot that a submission at `height` uses; 0 or less: there is none yet (STK-6)."""
    rules = parameters.stakes
    return (height - rules.snapshot_age) // rules.snapshot_period * rules.snapshot_period


def get_snapshot(view: StateView, height: int) -> tuple[Seat, ...]:
    """Return the verifiers at a snapshot, sorted by account; empty: there is no such snapshot."""
    found = view.read(snapshot_key(height), Snapshot)
    return () if found is None else found.seats


def apply_deposit(view: StateView, environment: Environment, sender: bytes, body: DepositStake) -> None:
    """Put points at stake (STK-2).

    Raises:
        AmountOutOfRange: less than 1 point.
        Unaffordable: the account has fewer.
        TooManyVerifiers: the list is full, and nobody on it has less.
    """
    verify_amount(body.amount, "a deposit", 1)
    debit(view, sender, body.amount, "deposit")
    stake = get_stake(view, sender)
    _set_stake(view, environment.parameters, sender, Stake(add_amounts(stake.bonded, body.amount), stake.unbondings))


def apply_withdraw(view: StateView, environment: Environment, sender: bytes, body: WithdrawStake) -> None:
    """Begin a withdrawal; the points stay slashable until they are paid (STK-3).

    Raises:
        AmountOutOfRange: less than 1 point.
        StakeTooLow: less is at stake.
        TooManyWithdrawals: too many wait already.
    """
    rules = environment.parameters.stakes
    verify_amount(body.amount, "a withdrawal", 1)
    stake = get_stake(view, sender)
    if body.amount > stake.bonded:
        raise StakeTooLow("less is at stake", expected=f"at most {stake.bonded}", actual=body.amount)
    if len(stake.unbondings) >= rules.max_unbondings:
        raise TooManyWithdrawals("too many withdrawals wait", expected=rules.max_unbondings)
    height = environment.height + rules.unbonding_blocks
    waiting = (*stake.unbondings, Unbonding(body.amount, height))
    _set_stake(view, environment.parameters, sender, Stake(stake.bonded - body.amount, waiting))
    due = view.read(release_key(height), ReleaseList) or ReleaseList(())
    if sender not in due.accounts:
        view.write(release_key(height), ReleaseList((*due.accounts, sender)))


def slash(view: StateView, parameters: Parameters, account: bytes, amount: int) -> int:
    """Take points from a stake, bonded ones first, then waiting withdrawals; return how many there were (STK-7).

    The caller gives or burns them.
    """
    stake = get_stake(view, account)
    from_bonded = min(amount, stake.bonded)
    rest = amount - from_bonded
    waiting = []
    for unbonding in stake.unbondings:
        taken = min(rest, unbonding.amount)
        rest -= taken
        waiting.append(Unbonding(unbonding.amount - taken, unbonding.height))
    _set_stake(view, parameters, account, Stake(stake.bonded - from_bonded, tuple(waiting)))
    return amount - rest


def get_slashable(view: StateView, account: bytes) -> int:
    """Return all points that a slash can reach."""
    stake = get_stake(view, account)
    return stake.bonded + sum(unbonding.amount for unbonding in stake.unbondings)


def slash_and_burn(view: StateView, parameters: Parameters, account: bytes, amount: int) -> int:
    """Take points from a stake and burn them; return how many there were."""
    taken = slash(view, parameters, account, amount)
    burn(view, taken)
    return taken


def end_stakes(view: StateView, environment: Environment) -> None:
    """Pay what has waited long enough, and take a snapshot at each multiple of the period (STK-4, STK-5)."""
    height, parameters = environment.height, environment.parameters
    due = view.read(release_key(height), ReleaseList)
    if due is not None:
        for account in due.accounts:
            stake = get_stake(view, account)
            credit(view, account, sum(waiting.amount for waiting in stake.unbondings if waiting.height <= height))
            left = tuple(waiting for waiting in stake.unbondings if waiting.height > height)
            _set_stake(view, parameters, account, Stake(stake.bonded, left))
        view.write(release_key(height), None)
    period = parameters.stakes.snapshot_period
    if height % period == 0:
        view.write(snapshot_key(height), Snapshot(height, get_verifiers(view)))
        # A submission may use a snapshot for as long as the longest life of one; older ones are deleted.
        old = height - (compute_longest_life(parameters) // period + 1) * period
        if old > 0:
            view.write(snapshot_key(old), None)


def _set_stake(view: StateView, parameters: Parameters, account: bytes, stake: Stake) -> None:
    """Write a stake and keep the list of verifiers in step with it (STK-2)."""
    view.write(stake_key(account), None if stake == NO_STAKE else stake)
    rules = parameters.stakes
    seats = get_verifiers(view)
    place = bisect_left(seats, account, key=lambda seat: seat.account)
    is_listed = place < len(seats) and seats[place].account == account
    if is_listed and seats[place].stake == stake.bonded:
        return
    after = seats[place + 1 :] if is_listed else seats[place:]
    if stake.bonded >= rules.minimum_stake:
        listed = (*seats[:place], Seat(account, stake.bonded), *after)
        if len(listed) > rules.max_verifiers:
            listed = _drop_smallest(listed, account)
        view.write(VERIFIERS_KEY, VerifierList(listed))
    elif is_listed:
        view.write(VERIFIERS_KEY, VerifierList((*seats[:place], *after)))


def _drop_smallest(seats: tuple[Seat, ...], newcomer: bytes) -> tuple[Seat, ...]:
    """Return a full list with room for a newcomer: the smallest stake goes, so many small ones cannot take all places.

    Raises:
        TooManyVerifiers: the newcomer has no more at stake than anybody on the list.
    """
    least = min(seat.stake for seat in seats if seat.account != newcomer)
    bonded = next(seat.stake for seat in seats if seat.account == newcomer)
    if bonded <= least:
        raise TooManyVerifiers(
            "the list of verifiers is full", expected=f"more than {least} points at stake", actual=bonded
        )
    last = max(place for place, seat in enumerate(seats) if seat.stake == least and seat.account != newcomer)
    return (*seats[:last], *seats[last + 1 :])
