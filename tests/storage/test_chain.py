"""The chain database: one writer, one transaction a block, snapshots beside it."""

import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from hashlib import sha256

import pytest

from assay.errors import StorageError
from assay.storage.chain import (
    DATABASE,
    ChainDatabase,
    ChainExists,
    ChainMissing,
    ChainReader,
    HeightRefused,
    get_holder,
)
from assay.storage.chain_reads import StoredBlock, StoredTransaction
from assay.storage.database import LOG_BYTES, DatabaseDamaged, DatabaseForeign, DatabaseNewer
from assay.storage.files import DiskFull, Files, FileTaken
from tests.storage.chain_process import HEIGHT, expect_state, make_block, make_changes, make_path


@pytest.fixture
def folder(tmp_path):
    """A folder that a chain may be made in."""
    return tmp_path / "chain"


def make_chain(folder, height=0):
    """Return an open chain with some blocks."""
    chain = ChainDatabase.create(folder, {"genesis": b"g"}, {HEIGHT: b"0"})
    for each in range(1, height + 1):
        chain.commit(make_block(each), make_changes(each))
    return chain


def read_all(chain):
    """Return the whole state."""
    return dict(chain._connection.execute("SELECT path, value FROM state"))


def test_blocks_state_and_nodes_are_read_back_after_reopening(folder):
    """What was committed is there, equal, also in a later process: blocks, transactions by id, state, nodes, meta."""
    make_chain(folder, 5).close()
    chain = ChainDatabase.open(folder)
    reads = chain.reads
    assert reads.read_height() == 5
    assert reads.read_meta("genesis") == b"g"
    assert read_all(chain) == expect_state(5)
    for height in range(1, 6):
        block = make_block(height)
        assert reads.read_block(height) == block
        assert reads.read_header(height) == block[:4]
        for position, each in enumerate(block.transactions):
            assert reads.find_transaction(each.id) == (height, position)
    assert reads.list_headers(2, 3) == [make_block(height)[:4] for height in (2, 3, 4)]
    assert reads.read_block(6) is None
    assert reads.read_state(make_path(b"nothing")) is None
    assert reads.find_transaction(bytes(32)) is None
    chain.close()


def test_transactions_whose_ids_begin_alike_are_told_apart(folder):
    """The index holds eight bytes of an id; the whole id decides."""
    chain = make_chain(folder)
    ids = [b"same 8 b" + bytes([i]) * 24 for i in (1, 2, 3)]
    transactions = tuple(StoredTransaction(each, b"d", b"r") for each in ids)
    chain.commit(StoredBlock(1, bytes(32), b"h", b"s", b"", transactions), {})
    assert [chain.reads.find_transaction(each) for each in ids] == [(1, 0), (1, 1), (1, 2)]
    assert chain.reads.find_transaction(b"same 8 b" + bytes(24)) is None
    chain.close()


def test_leaves_are_listed_by_prefix(folder):
    """For any depth the prefixes together list every value once, by path, with its hash; bounds are exact."""
    chain = make_chain(folder, 30)
    expected = sorted((path, sha256(value).digest()) for path, value in expect_state(30).items())
    assert chain.reads.count_leaves() == len(expected)
    for depth in (0, 1, 5, 8, 12, 13):
        found = list(chain.reads.get_leaves(depth, range(1 << depth)))
        assert len(found) == 1 << depth
        assert [leaf for leaves in found for leaf in leaves] == expected
        for prefix, leaves in enumerate(found):
            assert all(int.from_bytes(path, "big") >> (256 - depth) == prefix for path, _ in leaves)
    path = expected[7][0]
    assert list(chain.reads.get_leaves(256, [int.from_bytes(path, "big")])) == [[expected[7]]]
    assert list(chain.reads.get_leaves(256, [0, (1 << 256) - 1])) == [[], []]
    chain.close()


def test_one_process_has_the_chain(folder):
    """A second opening is refused and names the process; after closing it succeeds. A reader is always let in."""
    chain = make_chain(folder, 1)
    with pytest.raises(FileTaken) as caught:
        ChainDatabase.open(folder)
    assert caught.value.pid == get_holder(folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.storage.chain_process", str(folder)], capture_output=True, text=True, check=False
    )
    assert "FileTaken" in done.stderr
    reader = ChainReader(folder)
    with reader.snapshot() as reads:
        assert reads.read_height() == 1
    reader.close()
    chain.close()
    assert get_holder(folder) is None
    ChainDatabase.open(folder).close()


def test_a_chain_is_made_once(folder):
    """Making it twice is refused, opening none is refused, and what was begun and not finished may be made again."""
    with pytest.raises(ChainMissing):
        ChainDatabase.open(folder)
    make_chain(folder, 1).close()
    with pytest.raises(ChainExists):
        make_chain(folder)
    chain = ChainDatabase.open(folder)
    assert chain.reads.read_height() == 1
    chain.close()
    (folder / DATABASE).unlink()
    (folder / DATABASE).touch()
    with pytest.raises(ChainMissing):
        ChainDatabase.open(folder)
    make_chain(folder).close()


def test_only_the_next_height_is_committed(folder):
    """A block twice, or one ahead, is refused and changes nothing."""
    chain = make_chain(folder, 2)
    for height in (0, 1, 2, 4):
        with pytest.raises(HeightRefused):
            chain.commit(make_block(height), {HEIGHT: b"bad"})
    assert read_all(chain) == expect_state(2)
    chain.close()


def test_a_snapshot_does_not_move(folder):
    """While blocks are committed, a snapshot shows one height, its state and its nodes; the next one shows the new."""
    chain, reader = make_chain(folder, 1), ChainReader(folder)
    with reader.snapshot() as reads:
        assert reads.read_height() == 1
        chain.commit(make_block(2), make_changes(2))
        assert (reads.read_height(), reads.read_state(HEIGHT)) == (1, b"1")
    with reader.snapshot() as reads:
        assert (reads.read_height(), reads.read_state(HEIGHT)) == (2, b"2")
    reader.close()
    chain.close()


def test_a_reader_cannot_write(folder):
    """The connection of a reader refuses every change."""
    chain, reader = make_chain(folder), ChainReader(folder)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM state")
    reader.close()
    chain.close()


def test_a_full_disk_changes_nothing_and_is_survived(folder):
    """A block that does not fit is refused; the chain stands where it stood, and goes on when there is room."""
    chain = make_chain(folder, 3)
    pages = chain._connection.execute("PRAGMA page_count").fetchone()[0]
    chain._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    big = {make_path(b"s%d" % i): bytes(3000) for i in range(200)}
    with pytest.raises(DiskFull) as caught:
        chain.commit(make_block(4), big)
    assert caught.value.next_step
    assert chain.reads.read_height() == 3
    assert read_all(chain) == expect_state(3)
    chain._connection.execute("PRAGMA max_page_count = 1000000")
    chain.commit(make_block(4), make_changes(4))
    assert read_all(chain) == expect_state(4)
    chain.close()


def test_a_log_that_cannot_grow_changes_nothing(folder):
    """No file may grow any more: a typed error, and after a restart the last height is whole."""
    chain = make_chain(folder, 3)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    failed = False
    try:
        size = (folder / f"{DATABASE}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            chain.commit(make_block(4), {make_path(b"s%d" % i): bytes(3000) for i in range(200)})
        except StorageError:
            failed = True
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert failed
    assert read_all(chain) == expect_state(3)
    chain.close()
    chain = ChainDatabase.open(folder)
    chain.commit(make_block(4), make_changes(4))
    assert read_all(chain) == expect_state(4)
    chain.close()


def test_damaged_foreign_and_newer_databases_are_refused(folder, tmp_path):
    """Garbage, a link, another program's database, another kind and a newer format each have their own class."""
    make_chain(folder).close()
    path = folder / DATABASE
    whole = path.read_bytes()
    path.write_bytes(b"x" * 8192)
    with pytest.raises(DatabaseDamaged):
        ChainDatabase.open(folder)
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(DatabaseForeign):
        ChainDatabase.open(folder)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatabaseForeign):
        ChainDatabase.open(folder)
    path.unlink()
    path.write_bytes(whole)
    connection = sqlite3.connect(path)
    for version, kind in ((1_001, DatabaseNewer), (2_000, DatabaseForeign)):
        connection.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(kind):
            ChainDatabase.open(folder)
    connection.close()
    assert get_holder(folder) is None


def get_log_size(folder):
    """Return the bytes of the write-ahead log."""
    return (folder / f"{DATABASE}-wal").stat().st_size


def test_a_reserved_log_is_overwritten(folder):
    """Its length is there from the start and stays; what lies in it means nothing, also after a kill."""
    chain = make_chain(folder, 2)
    chain.reserve_log()
    reserved = get_log_size(folder)
    assert reserved >= LOG_BYTES
    assert (chain.reads.read_meta("log"), read_all(chain)) == (None, expect_state(2))
    for height in range(3, 40):
        chain.commit(make_block(height), make_changes(height))
    assert get_log_size(folder) == reserved
    copy = folder.with_name("copy")  # as a kill leaves it
    shutil.copytree(folder, copy)
    chain.close()
    chain = ChainDatabase.open(copy)
    assert read_all(chain) == expect_state(39)
    assert chain.reads.read_meta("log") is None
    chain.close()


class NearlyFull(Files):
    """A disk with 100 MiB left."""

    def get_free_space(self, path):
        return 100 * 2**20


def test_on_a_full_disk_no_log_is_reserved(folder):
    """Nor where the disk fills up in the midst of it: what the log took is given back."""
    make_chain(folder, 3).close()
    chain = ChainDatabase.open(folder, files=NearlyFull())
    chain.reserve_log()
    assert get_log_size(folder) == 0
    chain.close()
    chain = ChainDatabase.open(folder)
    cache = chain._connection.execute("PRAGMA cache_size").fetchone()
    chain._connection.execute("PRAGMA max_page_count = 2000")
    chain.reserve_log()
    assert get_log_size(folder) == 0
    assert chain._connection.execute("PRAGMA cache_size").fetchone() == cache
    assert read_all(chain) == expect_state(3)
    chain.commit(make_block(4), make_changes(4))
    chain.close()


def test_a_log_that_another_writer_holds_back(folder):
    """Whoever writes to the database without the lock is named by a typed error."""
    chain = make_chain(folder, 1)
    chain._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(folder / DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(FileTaken):
        chain.reserve_log()
    other.execute("ROLLBACK")
    other.close()
    chain.commit(make_block(2), make_changes(2))
    assert read_all(chain) == expect_state(2)
    chain.close()
