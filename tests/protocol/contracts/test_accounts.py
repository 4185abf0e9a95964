import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.protocol.amounts import (
    MAX_AMOUNT,
    AmountOutOfRange,
    add_amounts,
    compute_share,
    verify_amount,
)
from assay.protocol.contracts.account_records import Account, Supply, Transfer
from assay.protocol.contracts.accounts import (
    SUPPLY_KEY,
    AccountRefused,
    FeeTooLow,
    Unaffordable,
    WrongNonce,
    account_key,
)
from assay.protocol.encoding import decode
from experiments.simulation.world import WEALTH, World, count_points, make_actor, make_parameters, verify_conserved
from tests.ledgers import assert_done, assert_refused, execute, find_moved

ALICE, BOB = make_actor("alice"), make_actor("bob")
NEW = make_actor("new")


@pytest.fixture
def world():
    """A ledger with a few rich actors."""
    return World(make_parameters(minimum_fee=1), (ALICE, BOB))


def test_a_transfer_moves_points(world):
    """ACC-2, ACC-5: the sender has less, a new account comes into being, the fee goes to the proposer."""
    assert world.read(account_key(NEW.account), Account) is None
    assert_done(world, ALICE, Transfer(NEW.account, 500))
    assert world.read(account_key(ALICE.account), Account) == Account(WEALTH - 501, 1)
    assert world.read(account_key(NEW.account), Account) == Account(500, 0)
    assert world.get_balance(world.operator) == 1
    verify_conserved(world.store.values)


def test_a_transfer_of_everything(world):
    """ACC-5: the last point can be paid; one more cannot."""
    assert_refused(world, ALICE, Transfer(BOB.account, WEALTH), Unaffordable)
    assert_done(world, ALICE, Transfer(BOB.account, WEALTH - 1))
    assert world.get_balance(ALICE) == 0
    assert world.get_balance(BOB) == 2 * WEALTH - 1


@pytest.mark.parametrize("to", [b"", bytes(31), bytes(33), ALICE.account])
def test_a_transfer_to_nobody_or_oneself(world, to):
    """ACC-5: a receiver has 32 bytes and is not the sender."""
    assert_refused(world, ALICE, Transfer(to, 1), AccountRefused)


@pytest.mark.parametrize("amount", [0, -1, -WEALTH, 2**63, 2**64 - 1])
def test_amounts_outside_their_range(world, amount):
    """ACC-1, ACC-5: nothing, less than nothing, and more than any amount are refused."""
    assert_refused(world, ALICE, Transfer(BOB.account, amount), AmountOutOfRange)


def test_a_nonce_is_used_once(world):
    """ACC-3: the same transaction again is refused and charges nothing; so is one from the future."""
    data = world.sign(ALICE, Transfer(BOB.account, 5))
    outcome = execute(world, [data, data])
    assert [result.code for result in outcome.results] == ["", WrongNonce.code]
    assert [result.charged for result in outcome.results] == [True, False]
    early = world.sign(ALICE, Transfer(BOB.account, 5), nonce=1)
    refused = execute(world, [early])
    assert (refused.results[0].code, refused.results[0].charged) == (WrongNonce.code, False)
    assert find_moved(world, refused) == set()


def test_two_transactions_in_one_block(world):
    """ACC-3: an account can send several in a row, if their nonces follow each other."""
    outcome = execute(world, [world.sign(ALICE, Transfer(BOB.account, 5), nonce=nonce) for nonce in (0, 1, 2)])
    assert [result.code for result in outcome.results] == ["", "", ""]
    assert decode(outcome.changes[account_key(ALICE.account)], Account) == Account(WEALTH - 18, 3)


def test_a_fee_below_the_minimum(world):
    """ACC-4: too low a fee is refused and not taken."""
    refused = execute(world, [world.sign(ALICE, Transfer(BOB.account, 5), fee=0)])
    assert (refused.results[0].code, refused.results[0].charged, refused.results[0].fee) == (FeeTooLow.code, False, 0)
    assert find_moved(world, refused) == set()


def test_a_fee_that_nobody_has(world):
    """ACC-4: an account pays its fee exactly, or is refused."""
    refused = execute(world, [world.sign(ALICE, Transfer(BOB.account, 5), fee=WEALTH + 1)])
    assert (refused.results[0].code, refused.results[0].charged) == (Unaffordable.code, False)
    assert find_moved(world, refused) == set()
    assert execute(world, [world.sign(NEW, Transfer(BOB.account, 5))]).results[0].code == Unaffordable.code
    whole = execute(world, [world.sign(ALICE, Transfer(BOB.account, 1), fee=WEALTH)])
    assert (whole.results[0].code, whole.results[0].charged) == (Unaffordable.code, True)
    assert decode(whole.changes[account_key(ALICE.account)], Account) == Account(0, 1)


def test_the_supply_is_that_of_the_genesis(world):
    """ACC-6: points come from the genesis alone, and transfers neither make nor lose any."""
    assert world.expect(SUPPLY_KEY, Supply) == Supply(2 * WEALTH, 0)
    assert_done(world, ALICE, Transfer(BOB.account, 77))
    held, supply = count_points(world.store.values)
    assert held == supply.issued == 2 * WEALTH


def test_amounts_are_checked():
    """ACC-1: limits of amounts, sums and shares."""
    verify_amount(0, "amount")
    verify_amount(MAX_AMOUNT, "amount")
    assert add_amounts(MAX_AMOUNT - 1, 1) == MAX_AMOUNT
    for refused in (lambda: add_amounts(MAX_AMOUNT, 1), lambda: add_amounts(-1, 5), lambda: verify_amount(0, "one", 1)):
        with pytest.raises(AmountOutOfRange):
            refused()


@given(st.integers(0, MAX_AMOUNT), st.integers(0, 10**6))
def test_shares_are_rounded_down(amount, share):
    """ACC-1: a share is never more than its exact value, and less than one point below it."""
    found = compute_share(amount, share)
    assert found * 10**6 <= amount * share < (found + 1) * 10**6
