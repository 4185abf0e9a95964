"""Two nodes on one folder, a full disk, a damaged chain: said by class, and nothing committed is lost."""

import shutil
import sqlite3

import pytest

from assay.consensus.solo import EngineHalted, OperatorRefused
from assay.node.address import CHAIN
from assay.node.chain_store import ChainStore
from assay.node.core import NodeCore, NodeSettings, NotFounded
from assay.node.founding import BEACON, GENESIS, BeaconDamaged, ParametersRefused, decode_parameters
from assay.node.server import AddressTaken, NodeServer
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.params import DEFAULT_PARAMETERS
from assay.protocol.signatures import get_public_key
from assay.protocol.state_view import LedgerFault
from assay.storage.files import FileTaken
from assay.storage.secret_files import KeyExposed
from tests.node.running import ALICE, BOB, OPERATOR, found_node, running_node

BOB_KEY = get_public_key(BOB)


def open_core(folder, seed=OPERATOR):
    """Open a node without its HTTP door, on demand."""
    return NodeCore(NodeSettings(folder, interval_ms=0), seed)


def make_blocks(core, count):
    """Let a node make so many blocks."""
    for _ in range(count):
        core.engine.make_block()


def test_two_nodes_cannot_have_one_folder(tmp_path):
    """The second is refused by the lock and names the process; the first goes on."""
    with running_node(tmp_path / "node") as node:
        with pytest.raises(FileTaken):
            open_core(tmp_path / "node")
        with node.connect() as client:
            assert client.wait(client.send(ALICE, Transfer(BOB_KEY, 1)).id).result.code == ""
    open_core(tmp_path / "node").close()


def test_an_address_is_taken_once(tmp_path):
    """A second node on another folder and the same port is refused before it opens anything to the world."""
    with running_node(tmp_path / "first") as node:
        found_node(tmp_path / "second")
        port = int(node.url.rsplit(":", 1)[1])
        core = NodeCore(NodeSettings(tmp_path / "second", port=port), OPERATOR)
        with pytest.raises(AddressTaken):
            NodeServer(core)
        core.close()


def test_a_full_disk_halts_the_node_and_keeps_every_block(tmp_path):
    """The block that does not fit is not there, earlier ones are; with room the node goes on with the same state."""
    found_node(tmp_path / "node")
    core = open_core(tmp_path / "node")
    core.engine.make_block()
    chain = core.store._open._connection
    pages = chain.execute("PRAGMA page_count").fetchone()[0]
    chain.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(EngineHalted, match="no more blocks"):
        make_blocks(core, 200)
    assert core.is_halted
    made = core.get_height()
    assert 1 <= made < 201
    with pytest.raises(EngineHalted):
        core.submit(b"anything")
    assert core.read_state(b"\x2a\x00" + BOB_KEY).header.height == made
    core.close()
    core = open_core(tmp_path / "node")
    assert core.get_height() == made
    core.engine.make_block()
    assert core.get_height() == made + 1
    core.close()


def test_a_state_that_was_changed_on_the_disk_is_found(tmp_path):
    """One changed balance, or a lost one: the root is another than the header's, and the node does not start."""
    found_node(tmp_path / "node")
    core = open_core(tmp_path / "node")
    core.engine.make_block()
    core.close()
    for statement in (
        "UPDATE state SET value = x'920500' WHERE path = (SELECT min(path) FROM state)",
        "DELETE FROM state",
    ):
        shutil.copytree(tmp_path / "node", tmp_path / "copy")
        connection = sqlite3.connect(tmp_path / "copy" / CHAIN / "chain.sqlite")
        connection.execute(statement)
        connection.commit()
        connection.close()
        with pytest.raises(LedgerFault):
            open_core(tmp_path / "copy")
        shutil.rmtree(tmp_path / "copy")


def test_folders_that_do_not_fit_together_are_refused(tmp_path):
    """No ledger, another genesis, another operator, readable or damaged reveals: each has its class."""
    with pytest.raises(NotFounded):
        open_core(tmp_path / "nothing")
    found_node(tmp_path / "node")
    open_core(tmp_path / "node").close()
    with pytest.raises(OperatorRefused):
        open_core(tmp_path / "node", b"x" * 32)
    beacon = tmp_path / "node" / BEACON
    beacon.chmod(0o644)
    with pytest.raises(KeyExposed):
        open_core(tmp_path / "node")
    beacon.chmod(0o600)
    whole = beacon.read_bytes()
    beacon.write_bytes(whole[:-20])
    with pytest.raises(BeaconDamaged):
        open_core(tmp_path / "node")
    beacon.write_bytes(whole)
    found_node(tmp_path / "other", balances={BOB_KEY: 7})
    shutil.copy(tmp_path / "other" / GENESIS, tmp_path / "node" / GENESIS)
    with pytest.raises(NotFounded):
        open_core(tmp_path / "node")


def test_founding_is_taken_up_where_it_was_interrupted(tmp_path):
    """Founded twice there is one ledger; without its genesis the reveals that are there are used again."""
    first = found_node(tmp_path / "node")
    assert found_node(tmp_path / "node", balances={}) == first
    (tmp_path / "node" / GENESIS).unlink()
    assert found_node(tmp_path / "node").engine == first.engine


def test_an_empty_store_is_no_ledger_and_begins_once(tmp_path):
    """Before its genesis a store has nothing; what was begun is there when it is opened again."""
    store = ChainStore(tmp_path / "chain")
    assert (store.load_genesis(), store.load_header(), store.count_leaves()) == (None, None, 0)
    store.create(b"genesis", {b"ab": b"1", b"cd": b"2"})
    store.close()
    store = ChainStore(tmp_path / "chain")
    assert (store.load_genesis(), store.load_header(), store.count_leaves()) == (b"genesis", None, 2)
    assert (store.get(b"ab"), store.get(b"ef")) == (b"1", None)
    store.close()


def test_parameters_are_read_strictly():
    """Known names and whole numbers change the defaults; anything else is refused."""
    changed = decode_parameters(b'{"minimum_fee": 7, "submissions": {"quorum": 9}}')
    assert (changed.minimum_fee, changed.submissions.quorum) == (7, 9)
    assert changed.stakes == DEFAULT_PARAMETERS.stakes
    for data in (
        b"",
        b"[]",
        b'{"fee": 1}',
        b'{"stakes": 5}',
        b'{"version": 1}',
        b'{"stakes": {"x": 1}}',
        b'{"minimum_fee": 1.5}',
    ):
        with pytest.raises(ParametersRefused):
            decode_parameters(data)
