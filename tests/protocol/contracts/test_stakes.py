import pytest

from assay.protocol.amounts import AmountOutOfRange
from assay.protocol.contracts.accounts import Unaffordable
from assay.protocol.contracts.stake_records import (
    DepositStake,
    Snapshot,
    Stake,
    Unbonding,
    VerifierList,
    WithdrawStake,
)
from assay.protocol.contracts.stakes import (
    VERIFIERS_KEY,
    StakeTooLow,
    TooManyVerifiers,
    TooManyWithdrawals,
    compute_snapshot_height,
    get_slashable,
    slash,
    slash_and_burn,
    snapshot_key,
    stake_key,
)
from assay.protocol.evidence.draw import Seat
from assay.protocol.params import compute_longest_life
from assay.protocol.state_view import StateView
from experiments.simulation.world import WEALTH, World, make_actor, make_parameters, name_actors, verify_conserved
from tests.ledgers import assert_done, assert_refused

ALICE = make_actor("alice")
OTHERS = tuple(name_actors("other", 3))
MINIMUM = 1000


@pytest.fixture
def world():
    """A ledger with a few rich actors."""
    return World(make_parameters(minimum_stake=MINIMUM, max_verifiers=3, max_unbondings=2), (ALICE, *OTHERS))


def get_stake(world, actor):
    """Return what an actor has at stake."""
    return world.read(stake_key(actor.account), Stake)


def get_verifiers(world):
    """Return the list of verifiers."""
    found = world.read(VERIFIERS_KEY, VerifierList)
    return () if found is None else found.seats


def test_a_deposit_makes_a_verifier(world):
    """STK-1, STK-2: with the minimum an account is on the list, below it is not."""
    assert_done(world, ALICE, DepositStake(MINIMUM - 1))
    assert get_verifiers(world) == ()
    assert_done(world, ALICE, DepositStake(1))
    assert get_verifiers(world) == (Seat(ALICE.account, MINIMUM),)
    assert get_stake(world, ALICE) == Stake(MINIMUM, ())
    assert world.get_balance(ALICE) == WEALTH - MINIMUM - 2
    verify_conserved(world.store.values)


def test_the_list_is_sorted_and_bounded(world):
    """STK-2: three verifiers fit, in the order of their accounts; a fourth is refused, a richer one of them is not."""
    for actor in (ALICE, *OTHERS[:2]):
        assert_done(world, actor, DepositStake(MINIMUM))
    accounts = [seat.account for seat in get_verifiers(world)]
    assert accounts == sorted(accounts)
    assert len(accounts) == 3
    assert_refused(world, OTHERS[2], DepositStake(MINIMUM), TooManyVerifiers)
    assert_done(world, OTHERS[2], DepositStake(MINIMUM - 1))
    assert_refused(world, OTHERS[2], DepositStake(1), TooManyVerifiers)
    assert_done(world, ALICE, DepositStake(5))
    assert {seat.account: seat.stake for seat in get_verifiers(world)}[ALICE.account] == MINIMUM + 5


def test_a_full_list_gives_way_to_more_stake(world):
    """STK-2: the smallest loses its place and not its stake, of equal ones the last; a deposit brings it back."""
    for actor, amount in ((ALICE, MINIMUM + 9), (OTHERS[0], MINIMUM), (OTHERS[1], MINIMUM)):
        assert_done(world, actor, DepositStake(amount))
    assert_done(world, OTHERS[2], DepositStake(MINIMUM + 1))
    lost = max(OTHERS[:2], key=lambda actor: actor.account)
    kept = min(OTHERS[:2], key=lambda actor: actor.account)
    assert {seat.account for seat in get_verifiers(world)} == {ALICE.account, kept.account, OTHERS[2].account}
    assert get_stake(world, lost) == Stake(MINIMUM, ())
    assert_done(world, lost, DepositStake(1))
    assert {seat.account for seat in get_verifiers(world)} == {ALICE.account, lost.account, OTHERS[2].account}
    verify_conserved(world.store.values)


@pytest.mark.parametrize("amount", [0, -1, 2**63])
def test_deposits_and_withdrawals_out_of_range(world, amount):
    """STK-2, STK-3: at least one point, at most an amount."""
    assert_refused(world, ALICE, DepositStake(amount), AmountOutOfRange)
    assert_refused(world, ALICE, WithdrawStake(amount), AmountOutOfRange)


def test_a_deposit_that_nobody_has(world):
    """STK-2: a deposit is paid from the balance."""
    assert_refused(world, ALICE, DepositStake(WEALTH), Unaffordable)


def test_a_withdrawal_waits(world):
    """STK-3, STK-4: withdrawn points are paid at the end of their block, not one earlier, and no longer vote."""
    assert_done(world, ALICE, DepositStake(MINIMUM + 7))
    balance = world.get_balance(ALICE)
    assert_done(world, ALICE, WithdrawStake(8))
    due = world.height + world.parameters.stakes.unbonding_blocks
    assert get_stake(world, ALICE) == Stake(MINIMUM - 1, (Unbonding(8, due),))
    assert get_verifiers(world) == ()
    world.pass_blocks(due - world.height - 1)
    assert world.get_balance(ALICE) == balance - 1
    world.make_block()
    assert world.get_balance(ALICE) == balance + 7
    assert get_stake(world, ALICE) == Stake(MINIMUM - 1, ())
    verify_conserved(world.store.values)


def test_a_withdrawal_of_everything_leaves_nothing_behind(world):
    """STK-1, STK-4: when all is paid, the account has no stake any more."""
    assert_done(world, ALICE, DepositStake(5))
    assert_done(world, ALICE, WithdrawStake(5))
    world.pass_blocks(world.parameters.stakes.unbonding_blocks)
    assert get_stake(world, ALICE) is None
    verify_conserved(world.store.values)


def test_withdrawals_in_one_block_are_paid_together(world):
    """STK-4: two withdrawals that end with one block are both paid, once."""
    assert_done(world, ALICE, DepositStake(50))
    balance = world.get_balance(ALICE)
    for _ in range(2):
        world.send(ALICE, WithdrawStake(20))
    world.pass_blocks(1 + world.parameters.stakes.unbonding_blocks)
    assert world.get_balance(ALICE) == balance - 2 + 40
    assert get_stake(world, ALICE) == Stake(10, ())


def test_withdrawals_are_bounded(world):
    """STK-3: no more than is bonded, and no third while two wait."""
    assert_done(world, ALICE, DepositStake(30))
    assert_refused(world, ALICE, WithdrawStake(31), StakeTooLow)
    assert_refused(world, OTHERS[0], WithdrawStake(1), StakeTooLow)
    assert_done(world, ALICE, WithdrawStake(10))
    assert_done(world, ALICE, WithdrawStake(10))
    assert_refused(world, ALICE, WithdrawStake(10), TooManyWithdrawals)


def test_snapshots_are_taken_and_forgotten(world):
    """STK-5, STK-6: one at each multiple of the period, of the list at the end of that block; old ones go."""
    rules = world.parameters.stakes
    world.pass_blocks(rules.snapshot_period - 1)
    assert world.read(snapshot_key(rules.snapshot_period), Snapshot) is None
    assert_done(world, ALICE, DepositStake(MINIMUM))
    first = world.expect(snapshot_key(rules.snapshot_period), Snapshot)
    assert first == Snapshot(rules.snapshot_period, (Seat(ALICE.account, MINIMUM),))
    oldest = compute_snapshot_height(world.height + compute_longest_life(world.parameters), world.parameters)
    assert oldest > rules.snapshot_period
    world.pass_blocks(compute_longest_life(world.parameters) - rules.snapshot_period)
    assert world.read(snapshot_key(rules.snapshot_period), Snapshot) is not None
    world.pass_blocks(3 * rules.snapshot_period)
    assert world.read(snapshot_key(rules.snapshot_period), Snapshot) is None


def test_which_snapshot_a_submission_uses():
    """STK-6: the last multiple of the period that is at least the age older."""
    parameters = make_parameters(snapshot_period=4, snapshot_age=2)
    heights = [compute_snapshot_height(height, parameters) for height in range(1, 12)]
    assert heights == [-4, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


def test_a_slash_reaches_waiting_withdrawals(world):
    """STK-7: bonded points first, then those on their way out, and never more than there are."""
    assert_done(world, ALICE, DepositStake(100))
    assert_done(world, ALICE, WithdrawStake(60))
    view = StateView(world.store)
    assert get_slashable(view, ALICE.account) == 100
    assert slash(view, world.parameters, ALICE.account, 50) == 50
    stake = view.read(stake_key(ALICE.account), Stake)
    assert (stake.bonded, stake.unbondings[0].amount) == (0, 50)
    assert slash(view, world.parameters, ALICE.account, 500) == 50
    assert get_slashable(view, ALICE.account) == 0
    assert slash(view, world.parameters, ALICE.account, 5) == 0


def test_a_slashed_verifier_leaves_the_list(world):
    """STK-2, STK-7: whoever falls below the minimum is no verifier any more; the points are counted as burned."""
    assert_done(world, ALICE, DepositStake(MINIMUM))
    view = StateView(world.store)
    assert slash_and_burn(view, world.parameters, ALICE.account, 1) == 1
    view.keep()
    assert view.read(VERIFIERS_KEY, VerifierList) == VerifierList(())
    changed = {**world.store.values, **view.encode_changes()}
    verify_conserved(changed)
