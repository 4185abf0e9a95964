import hashlib
import re

import msgspec
import pytest

from assay.errors import InvalidBlock, MalformedEvidence
from assay.protocol import tags
from assay.protocol.beacon import RevealRefused, build_chain, compute_beacon, compute_link, verify_reveal
from assay.protocol.blocks import (
    Block,
    BlockTooLarge,
    Endowment,
    GenesisRefused,
    Header,
    MalformedBlock,
    Result,
    SoloConfig,
    WrongParent,
    WrongRoot,
    compute_block_id,
    compute_chain_id,
    compute_results_root,
    compute_transactions_root,
    decode_block,
    get_position,
    get_start,
    verify_block_size,
    verify_genesis,
    verify_header,
)
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.encoding import encode
from assay.protocol.merkle import MerkleRoot
from assay.protocol.params import (
    DEFAULT_PARAMETERS,
    WindowsRefused,
    compute_longest_life,
    verify_parameters,
)
from assay.protocol.seals.solo import WrongSeal, compute_seal_message, seal_header, verify_seal
from assay.protocol.signatures import Signer
from experiments.simulation.world import World, make_actor, make_parameters
from tests.protocol import second_decoder

ALICE, BOB = make_actor("alice"), make_actor("bob")
replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def world():
    """A ledger with two blocks."""
    made = World(make_parameters(), (ALICE, BOB))
    made.do(ALICE, Transfer(BOB.account, 5))
    made.make_block()
    return made


def test_the_chain_follows_from_the_genesis(world):
    """BLK-1, BLK-2: the chain id is the hash of the genesis; its balances are the first state."""
    assert compute_chain_id(world.genesis) == hashlib.sha256(b"\x23\x00" + encode(world.genesis)).digest()
    assert tags.GENESIS == 0x23
    verify_genesis(world.genesis)
    other = World(make_parameters(), (ALICE, BOB), name="another")
    assert other.chain_id != world.chain_id


GENESES = {
    "no name": {"name": ""},
    "a name with a line break": {"name": "a\nb"},
    "a long name": {"name": "x" * 65},
    "a time before 1970": {"time": -1},
    "an operator of 31 bytes": {"engine": SoloConfig(bytes(31), bytes(32), 5)},
    "an anchor of 33 bytes": {"engine": SoloConfig(bytes(32), bytes(33), 5)},
    "no reveals": {"engine": SoloConfig(bytes(32), bytes(32), 0)},
    "a balance of nothing": {"balances": (Endowment(bytes(32), 0),)},
    "an account of 31 bytes": {"balances": (Endowment(bytes(31), 1),)},
    "an account twice": {"balances": (Endowment(bytes(32), 1),) * 2},
    "too many points": {"balances": (Endowment(bytes(32), 2**63 - 1), Endowment(bytes([1] * 32), 1))},
    "another version": {"version": 1},
}


@pytest.mark.parametrize("case", GENESES)
def test_refused_geneses(world, case):
    """BLK-2: a genesis that breaks a rule is refused before a ledger begins."""
    with pytest.raises(MalformedEvidence):
        verify_genesis(replace(world.genesis, **GENESES[case]))


def test_too_many_points_have_their_own_code(world):
    """BLK-2: the sum of all balances is an amount."""
    with pytest.raises(GenesisRefused):
        verify_genesis(replace(world.genesis, **GENESES["too many points"]))


def list_numbers(record, path=()):
    """Yield the path of every integer of nested parameters."""
    for name in record.__struct_fields__:
        value = getattr(record, name)
        yield from list_numbers(value, (*path, name)) if not isinstance(value, int) else [(*path, name)]


def set_number(record, path, value):
    """Return the record with one integer changed."""
    if len(path) == 1:
        return replace(record, **{path[0]: value})
    return replace(record, **{path[0]: set_number(getattr(record, path[0]), path[1:], value)})


@pytest.mark.parametrize("path", list(list_numbers(DEFAULT_PARAMETERS)), ids=".".join)
def test_each_parameter_has_a_range(path):
    """BLK-3: a negative value and one beyond every integer are refused for each parameter."""
    verify_parameters(DEFAULT_PARAMETERS)
    for value in (-1, 2**63):
        with pytest.raises(MalformedEvidence):
            verify_parameters(set_number(DEFAULT_PARAMETERS, path, value))


def test_stake_outlasts_what_it_answers_for():
    """BLK-4: unbonding is longer than the longest life of a submission, by at least one block."""
    life = compute_longest_life(DEFAULT_PARAMETERS)
    rules = DEFAULT_PARAMETERS.submissions
    rounds = 3 * (rules.draw_delay + rules.commit_blocks + rules.reveal_blocks)
    assert life == 5 + rules.availability_blocks + rules.flag_blocks + rounds + rules.window_blocks
    stakes = DEFAULT_PARAMETERS.stakes
    verify_parameters(replace(DEFAULT_PARAMETERS, stakes=replace(stakes, unbonding_blocks=life + 1)))
    with pytest.raises(WindowsRefused):
        verify_parameters(replace(DEFAULT_PARAMETERS, stakes=replace(stakes, unbonding_blocks=life)))


def test_parameters_hold_integers_only():
    """BLK-3: no parameter is anything else, so nothing depends on how a machine rounds."""
    numbers = list(list_numbers(DEFAULT_PARAMETERS))
    assert len(numbers) > 30
    assert len(set(numbers)) == len(numbers)


def test_headers_follow_each_other(world):
    """BLK-5: ids by hashlib; each header names its parent, the first one the chain."""
    first, second = (block.header for block in world.engine.blocks)
    assert compute_block_id(first) == hashlib.sha256(b"\x25\x00" + encode(first)).digest()
    assert (first.height, first.previous) == (1, world.chain_id)
    assert (second.height, second.previous) == (2, compute_block_id(first))
    verify_header(get_start(world.genesis), first)
    verify_header(get_position(first), second)


HEADERS = {
    "another chain": ({"chain_id": bytes(32)}, WrongParent),
    "a height too many": ({"height": 3}, WrongParent),
    "another parent": ({"previous": bytes(32)}, WrongParent),
    "an earlier date": ({"time": 0}, WrongParent),
    "an old reveal": ({"reveal": bytes(32)}, RevealRefused),
    "another beacon": ({"beacon": bytes(32)}, WrongRoot),
    "a short state root": ({"state_root": bytes(31)}, MalformedBlock),
    "another list": ({"results": MerkleRoot(tags.TRANSACTIONS_TREE, 1, bytes(32))}, MalformedBlock),
    "height 0": ({"height": 0}, MalformedBlock),
    "another version": ({"version": 1}, MalformedBlock),
    "a date beyond all": ({"time": 2**63}, MalformedBlock),
    "no proposer": ({"proposer": b""}, MalformedBlock),
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_do_not_follow(world, case):
    """BLK-5, BLK-10, BLK-11: each field that can be checked without the block is checked."""
    first, second = (block.header for block in world.engine.blocks)
    changes, refusal = HEADERS[case]
    with pytest.raises(refusal):
        verify_header(get_position(first), replace(second, **changes))


def test_roots_of_transactions_and_results(world):
    """BLK-6: the lists of a block are those that its header commits to, by a tree written out."""
    block = world.engine.blocks[0]
    leaf = hashlib.sha256(b"\x00\x26\x00" + block.transactions[0]).digest()
    assert block.header.transactions == MerkleRoot(tags.TRANSACTIONS_TREE, 1, leaf)
    assert tags.TRANSACTIONS_TREE == 0x26
    results = world.engine.finalized[0].results
    assert block.header.results == compute_results_root(results)
    assert second_decoder.read(encode(results[0])) == [results[0].transaction, "", True, 1]
    assert compute_results_root(()).size == 0
    assert compute_transactions_root(()) == world.engine.blocks[1].header.transactions
    assert compute_results_root([Result(bytes(32), "x", charged=False, fee=0)]) != block.header.results


def test_blocks_are_bounded(world):
    """BLK-7: as many transactions and bytes as the parameters say, and not one more."""
    parameters = replace(world.parameters, max_block_transactions=3, max_block_bytes=10)
    verify_block_size([b"abc", b"abc", b"abcd"], parameters)
    for transactions in ([b"a"] * 4, [b"abc", b"abc", b"abcde"]):
        with pytest.raises(BlockTooLarge):
            verify_block_size(transactions, parameters)
    with pytest.raises(BlockTooLarge):
        decode_block(encode(replace(world.engine.blocks[0], transactions=(b"x" * 11,))), parameters)


def test_a_block_has_one_form(world):
    """BLK-5: a block decodes to itself, and no other bytes do."""
    data = encode(world.engine.blocks[0])
    assert decode_block(data, world.parameters) == world.engine.blocks[0]
    assert isinstance(decode_block(data, world.parameters), Block)
    for broken in (b"", data[:-1], data + b"\x00", data.replace(b"transfer", b"tronsfer", 1)[:50]):
        with pytest.raises(MalformedBlock):
            decode_block(broken, world.parameters)


def test_the_chain_of_reveals():
    """BLK-9, BLK-10, BLK-11: links, anchor and beacons by hashlib alone."""
    assert (tags.BEACON_CHAIN, tags.BEACON) == (0x2D, 0x2E)
    links = list(build_chain(b"s" * 32, 3))
    assert links[0] == b"s" * 32
    assert links[1] == hashlib.sha256(b"\x2d\x00" + b"s" * 32).digest() == compute_link(links[0])
    assert len(links) == 4
    verify_reveal(links[3], links[2])
    for previous, reveal in ((links[3], links[1]), (links[2], links[2]), (links[3], links[2] + b"\x00")):
        with pytest.raises(RevealRefused):
            verify_reveal(previous, reveal)
    assert compute_beacon(bytes(32), links[2]) == hashlib.sha256(b"\x2e\x00" + bytes(32) + links[2]).digest()


def test_the_first_beacon_follows_from_the_chain_id(world):
    """BLK-11: beacon_0 is the chain id."""
    header = world.engine.blocks[0].header
    assert header.beacon == compute_beacon(world.chain_id, header.reveal)


def test_the_seal_of_the_operator(world):
    """BLK-12: a signature over tag and header id, by the operator of the genesis, who is also the proposer."""
    block = world.engine.blocks[0]
    verify_seal(world.genesis, block.header, block.seal)
    assert compute_seal_message(block.header) == b"\x2f\x00" + compute_block_id(block.header)
    assert tags.SOLO_SEAL == 0x2F
    for header, seal in (
        (block.header, seal_header(Signer(ALICE.seed), block.header)),
        (replace(block.header, time=block.header.time + 1), block.seal),
        (replace(block.header, proposer=ALICE.account), block.seal),
        (block.header, b""),
    ):
        with pytest.raises(WrongSeal):
            verify_seal(world.genesis, header, seal)


def test_refusals_of_blocks_are_of_one_family():
    """Every refusal of a block is an `InvalidBlock` with its own code."""
    kinds = [WrongParent, WrongRoot, WrongSeal, RevealRefused, MalformedBlock, BlockTooLarge]
    assert all(issubclass(kind, InvalidBlock) for kind in kinds)
    assert all(re.fullmatch(r"block\.[a-z-]+", kind.code) for kind in kinds)
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_a_header_holds_what_a_reader_needs():
    """BLK-5: the fields of a header, in their order."""
    assert Header.__struct_fields__ == (
        "version", "chain_id", "height", "previous", "time", "proposer", "transactions", "results", "state_root",
        "reveal", "beacon",
    )  # fmt: skip
