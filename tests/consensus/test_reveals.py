"""The operator's chain of reveals: every link, from pebbles only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.consensus.reveals import SPACING, RevealChain, RevealsExhausted, RevealsRefused
from assay.protocol.beacon import MAX_CHAIN, build_chain, verify_reveal

SEED = b"s" * 32


@pytest.mark.parametrize("length", [1, 2, SPACING - 1, SPACING, SPACING + 1, 3 * SPACING - 7, 3 * SPACING])
def test_every_reveal_is_the_link_of_the_whole_chain(length):
    """From pebbles come the same links as from the chain itself, in rising, falling and odd order."""
    links = list(build_chain(SEED, length))[::-1]
    chain = RevealChain.build(SEED, length)
    assert chain.anchor == links[0]
    for heights in (range(1, length + 1), range(length, 0, -1), range(1, length + 1, 977)):
        assert all(chain.get_reveal(height) == links[height] for height in heights)
    verify_reveal(chain.anchor, chain.get_reveal(1))


@given(st.integers(1, 5 * SPACING), st.data())
def test_pebbles_are_few_and_suffice(length, data):
    """A chain is kept as one link in a few thousand, and each height asked for at random is right."""
    chain = RevealChain.build(SEED, length)
    assert len(chain.pebbles) == -(-length // SPACING) + 1
    height = data.draw(st.integers(1, length))
    before = chain.anchor if height == 1 else chain.get_reveal(height - 1)
    verify_reveal(before, chain.get_reveal(height))


def test_heights_outside_the_chain_are_refused():
    """Height 0 is the anchor, which nobody reveals; after the last link the ledger ends."""
    chain = RevealChain.build(SEED, 5)
    for height in (-1, 0, 6):
        with pytest.raises(RevealsExhausted):
            chain.get_reveal(height)


def test_impossible_chains_and_damaged_pebbles_are_refused():
    """Wrong numbers and lengths of pebbles are refused at once, a wrong pebble before it is revealed."""
    for length in (0, -1, MAX_CHAIN + 1):
        with pytest.raises(RevealsRefused):
            RevealChain.build(SEED, length)
    good = RevealChain.build(SEED, 2 * SPACING).pebbles
    for pebbles in (good[:-1], (*good, SEED), (good[0], b"short", good[2])):
        with pytest.raises(RevealsRefused):
            RevealChain(2 * SPACING, pebbles)
    chain = RevealChain(2 * SPACING, (good[0], b"x" * 32, good[2]))
    for height in (1, SPACING + 1):
        with pytest.raises(RevealsRefused):
            chain.get_reveal(height)
