"""What a node keeps for others: declared, verified, within quotas, and never deleted while a hold lasts."""

import errno
import random
import shutil
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import StorageError
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.files import DiskFull, Files, FileTaken
from assay.storage.retained_blobs import (
    MAX_OBJECT,
    HoldMissing,
    NotDeclared,
    ObjectMissing,
    ObjectRefused,
    QuotaExceeded,
    RetainedBlobs,
    Wanted,
)
from tests.storage.faults import Crash, FaultyFiles, QuickFiles

ALICE, BOB = b"a" * 32, b"b" * 32


class SmallDisk(Files):
    """A disk with a hundred free bytes."""

    def get_free_space(self, path):
        return 100


def want(data):
    """Return the declaration of some bytes."""
    return Wanted(compute_bulk_digest(data), len(data))


@pytest.fixture
def store(tmp_path):
    """An open store with a hold of Alice to height 10."""
    with RetainedBlobs(tmp_path / "blobs", max_bytes=10_000, files=QuickFiles()) as opened:
        opened.hold(ALICE, until=10, max_bytes=5_000)
        yield opened


def test_declared_objects_are_stored_verified_and_read_back(store, tmp_path):
    """What is missing is listed, shrinks with each object, and all is there after reopening."""
    data = [b"one", b"two" * 100, b""]
    store.declare(ALICE, map(want, data))
    assert store.list_missing(ALICE) == store.list_wanted(ALICE) == sorted(map(want, data))
    for count, each in enumerate(data, 1):
        store.put(want(each).digest, each)
        store.put(want(each).digest, each)
        assert len(store.list_missing(ALICE)) == 3 - count
    store.close()
    with RetainedBlobs(tmp_path / "blobs", max_bytes=10_000) as again:
        assert [again.open(want(each).digest) for each in data] == data
        assert again.measure() == (303, 10_000)
        assert again.get_until(ALICE) == 10
        assert again.get_until(BOB) is None


def test_only_the_declared_bytes_are_taken(store):
    """Undeclared objects, other bytes, other lengths and impossible declarations are refused, and nothing is stored."""
    wanted = want(b"right")
    store.declare(ALICE, [wanted])
    with pytest.raises(NotDeclared):
        store.put(want(b"other").digest, b"other")
    for wrong in (b"wrong", b"right and more", b"righ", b""):
        with pytest.raises(ObjectRefused):
            store.put(wanted.digest, wrong)
    for odd in (Wanted(b"short", 5), Wanted(want(b"x").digest, -1), Wanted(want(b"x").digest, MAX_OBJECT + 1)):
        with pytest.raises(ObjectRefused):
            store.declare(ALICE, [odd])
    with pytest.raises(ObjectRefused):
        store.declare(ALICE, [Wanted(wanted.digest, 6)])
    with pytest.raises(HoldMissing):
        store.declare(BOB, [wanted])
    with pytest.raises(NotDeclared):
        store.open(want(b"other").digest)
    assert store.list_missing(ALICE) == [wanted]


def test_quotas_hold_for_the_holder_and_the_node(store):
    """A declaration beyond either quota declares nothing; an object under two holds counts once for the node."""
    store.declare(ALICE, [want(b"a" * 4_000)])
    with pytest.raises(QuotaExceeded, match="the holder"):
        store.declare(ALICE, [want(b"c"), want(b"b" * 1_001)])
    assert store.list_wanted(ALICE) == [want(b"a" * 4_000)]
    store.hold(BOB, until=5, max_bytes=100_000)
    store.declare(BOB, [want(b"a" * 4_000), want(b"b" * 6_000)])
    assert store.measure() == (10_000, 10_000)
    with pytest.raises(QuotaExceeded, match="the node"):
        store.declare(BOB, [want(b"c")])


def test_a_damaged_object_is_never_returned_and_asked_for_again(store, tmp_path):
    """Altered, truncated, longer or linked bytes are an ObjectMissing; then it is listed and can be stored again."""
    data = b"0123456789" * 10
    wanted = want(data)
    store.declare(ALICE, [wanted])
    path = tmp_path / "blobs" / "objects" / wanted.digest.hex()
    for wrong in (data[:-1], data + b"x", b"", data[:5] + b"X" + data[6:]):
        store.put(wanted.digest, data)
        assert store.open(wanted.digest) == data
        path.write_bytes(wrong)
        with pytest.raises(ObjectMissing):
            store.open(wanted.digest)
        assert store.list_missing(ALICE) == [wanted]
    (tmp_path / "elsewhere").write_bytes(data)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ObjectMissing):
        store.open(wanted.digest)


def test_the_collector_keeps_what_a_live_hold_needs(store, tmp_path):
    """An object goes when the last hold on it has passed and its holder is dead; nothing goes before."""
    shared, alone = b"shared", b"alone"
    store.hold(BOB, until=20, max_bytes=100)
    store.declare(ALICE, [want(shared), want(alone)])
    store.declare(BOB, [want(shared)])
    for each in (shared, alone):
        store.put(want(each).digest, each)
    assert store.collect(10, lambda _: False) == (0, 0)
    assert store.collect(11, lambda _: True) == (0, 0)
    assert store.open(want(alone).digest) == alone
    assert store.collect(11, lambda _: False) == (1, 1)
    assert store.open(want(shared).digest) == shared
    assert store.list_wanted(ALICE) == []
    with pytest.raises(NotDeclared):
        store.open(want(alone).digest)
    store.hold(BOB, until=5, max_bytes=1)
    assert store.get_until(BOB) == 20
    store.hold(BOB, until=30, max_bytes=1)
    assert store.collect(21, lambda _: False) == (0, 0)
    assert store.collect(31, lambda _: False) == (1, 1)
    assert list((tmp_path / "blobs" / "objects").iterdir()) == []


def test_room_is_left_for_the_chain(tmp_path):
    """An object that would leave less than the reserve is refused before a byte is written."""
    with RetainedBlobs(tmp_path / "blobs", max_bytes=10_000, reserve=50, files=SmallDisk()) as store:
        store.hold(ALICE, until=1, max_bytes=1_000)
        store.declare(ALICE, [want(b"x" * 50), want(b"x" * 51)])
        store.put(want(b"x" * 50).digest, b"x" * 50)
        with pytest.raises(DiskFull):
            store.put(want(b"x" * 51).digest, b"x" * 51)
        assert store.list_missing(ALICE) == [want(b"x" * 51)]


def test_one_process_has_the_store(tmp_path, store):
    """A second opening is refused."""
    with pytest.raises(FileTaken):
        RetainedBlobs(tmp_path / "blobs", max_bytes=1)


def tell_story(folder, files, promised):
    """Store objects and collect; note in `promised` what was reported as stored."""
    with RetainedBlobs(folder, max_bytes=10_000, files=files) as store:
        store.hold(ALICE, until=3, max_bytes=1_000)
        store.hold(BOB, until=9, max_bytes=1_000)
        for name, holder in ((b"1", ALICE), (b"2", BOB), (b"3", BOB)):
            data = name * 300
            store.declare(holder, [want(data)])
            store.put(want(data).digest, data)
            promised[want(data).digest] = data
        promised.pop(want(b"1" * 300).digest)
        store.collect(4, lambda _: False)


@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO], ids=["crash", "full", "broken"])
def test_a_fault_at_any_call_loses_nothing_that_was_reported(tmp_path, error):
    """The process dies or the disk fails at each call in turn, then power is lost: what was stored is whole."""
    counter = FaultyFiles(make_root(tmp_path / "count"))
    tell_story(tmp_path / "count" / "blobs", counter, {})
    assert counter.calls > 15
    for fail_at in range(1, counter.calls + 1):
        root, promised = make_root(tmp_path / f"at{fail_at}"), {}
        files = FaultyFiles(root, fail_at=fail_at, error=error, seed=fail_at)
        with suppress(Crash, StorageError):
            tell_story(root / "blobs", files, promised)
        after = tmp_path / f"after{fail_at}"
        files.lose_power(after, seed=fail_at, page=64)
        for name in ("holds.sqlite", "holds.sqlite-wal"):
            if (root / "blobs" / name).exists() and (after / "blobs").exists():
                shutil.copy(root / "blobs" / name, after / "blobs" / name)
        with RetainedBlobs(after / "blobs", max_bytes=10_000, files=QuickFiles()) as store:
            for digest, data in promised.items():
                assert store.open(digest) == data
            for wanted in [*store.list_wanted(ALICE), *store.list_wanted(BOB)]:
                with suppress(ObjectMissing):
                    assert len(store.open(wanted.digest)) == wanted.size


def make_root(path):
    """Return a new folder."""
    path.mkdir()
    return path


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_any_history_keeps_exactly_what_is_held(tmp_path_factory, seed):
    """Against a dictionary: after random holds, declarations, stores and collections the same objects can be read."""
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("history")
    names = [b"%d" % i * 20 for i in range(8)]
    holds, held, stored = {}, {}, set()
    with RetainedBlobs(folder / "blobs", max_bytes=10**6, files=QuickFiles()) as store:
        for height in range(25):
            holder, data = bytes([rng.randrange(4)]) * 32, rng.choice(names)
            until = height + rng.randrange(4)
            store.hold(holder, until=until, max_bytes=10**5)
            holds[holder] = max(until, holds.get(holder, 0))
            store.declare(holder, [want(data)])
            held.setdefault(holder, set()).add(data)
            if rng.random() < 0.8:
                store.put(want(data).digest, data)
                stored.add(data)
            alive = bytes([rng.randrange(4)]) * 32
            store.collect(height, lambda each, alive=alive: each == alive)
            for each in [each for each, end in holds.items() if end < height and each != alive]:
                del holds[each], held[each]
            stored &= set().union(*held.values())
            for each in names:
                try:
                    found = store.open(want(each).digest)
                except (NotDeclared, ObjectMissing):
                    found = None
                assert found == (each if each in stored else None)
