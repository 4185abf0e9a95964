import pytest

from assay.consensus.engine import Engine
from assay.consensus.in_memory import ChainOfRevealsEnded, MemoryEngine, NoSuchBlock, make_solo_config
from assay.errors import InvalidTransaction
from assay.protocol.blocks import get_position, get_start, verify_header
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.seals.solo import verify_seal
from experiments.simulation.world import World, make_actor, make_parameters

ALICE, BOB = make_actor("alice"), make_actor("bob")


@pytest.fixture
def world():
    """A ledger that can have five blocks."""
    return World(make_parameters(), (ALICE, BOB), length=5)


def test_it_is_an_engine(world):
    """Every method of the interface is there; starting and stopping do nothing."""
    names = [name for name in vars(Engine) if not name.startswith("_")]
    assert names
    assert all(callable(getattr(world.engine, name)) for name in names)
    world.engine.start()
    world.engine.stop()
    assert world.engine.get_validators() == (world.operator.account,)
    assert "operator" in world.engine.get_capabilities().fault_model


def test_blocks_pass_the_checks_of_any_reader(world):
    """BLK-5, BLK-12: each header follows the one before and is sealed by the operator."""
    world.do(ALICE, Transfer(BOB.account, 5))
    world.pass_blocks(2)
    position = get_start(world.genesis)
    for height in (1, 2, 3):
        block = world.engine.get_block(height)
        verify_header(position, block.header)
        verify_seal(world.genesis, block.header, world.engine.get_commit_proof(height))
        position = get_position(block.header)


def test_a_refused_transaction_does_not_wait(world):
    """What `check_tx` refuses is not in the next block."""
    with pytest.raises(InvalidTransaction):
        world.engine.submit(b"nonsense")
    assert world.make_block().results == ()


def test_there_is_no_block_beyond_the_last(world):
    """Heights without a block are told apart from those with one."""
    world.make_block()
    assert world.engine.get_block(0) is None
    assert world.engine.get_block(2) is None
    with pytest.raises(NoSuchBlock):
        world.engine.get_commit_proof(2)


def test_a_chain_of_reveals_ends(world):
    """BLK-9: with no link left there is no further block."""
    world.pass_blocks(5)
    with pytest.raises(ChainOfRevealsEnded):
        world.make_block()


def test_the_configuration_names_the_anchor():
    """BLK-9: the anchor is the last link of the chain that begins with the seed."""
    config = make_solo_config(ALICE.seed, bytes(32), 3)
    assert (config.operator, config.beacon_length) == (ALICE.account, 3)
    assert config.beacon_anchor == MemoryEngine(None, ALICE.seed, bytes(32), 3)._reveals[0]
