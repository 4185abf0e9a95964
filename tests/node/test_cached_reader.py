"""Remembered values of the ledger state are those of the last commit, whatever the threads do."""

import random
import threading

from hypothesis import given
from hypothesis import strategies as st

from assay.node.cached_reader import MAX_LENGTH, CachedReader


class Store:
    def __init__(self, values=()):
        self.values = dict(values)
        self.reads = 0
        self.before_return = None

    def get(self, key):
        self.reads += 1
        value = self.values.get(key)
        if self.before_return is not None:
            act, self.before_return = self.before_return, None
            act()
        return value

    def get_many(self, keys):
        return [self.get(key) for key in keys]


def commit(store, reader, changes):
    """Change a store as a commit does, and tell the reader."""
    for key, value in changes.items():
        if value is None:
            store.values.pop(key, None)
        else:
            store.values[key] = value
    reader.note_commit(changes)


def test_a_value_is_read_once_and_follows_the_commits():
    """Present and absent values are remembered, changes and deletions taken over, long values read again."""
    store = Store({b"a": b"1", b"long": b"x" * (MAX_LENGTH + 1)})
    reader = CachedReader(store)
    assert [reader.get(key) for key in (b"a", b"a", b"b", b"b")] == [b"1", b"1", None, None]
    assert store.reads == 2
    commit(store, reader, {b"a": None, b"b": b"2"})
    assert (reader.get(b"a"), reader.get(b"b"), store.reads) == (None, b"2", 2)
    assert reader.get(b"long") == reader.get(b"long") == store.values[b"long"]
    assert store.reads == 4
    commit(store, reader, {b"b": b"y" * (MAX_LENGTH + 1)})
    assert reader.get(b"b") == store.values[b"b"]


def test_a_value_read_before_a_commit_is_not_kept_after_it():
    """A slow read that a commit overtakes returns what it found, and the next read finds the new value."""
    store = Store({b"a": b"old"})
    reader = CachedReader(store)
    store.before_return = lambda: commit(store, reader, {b"a": b"new"})
    assert reader.get(b"a") == b"old"
    assert reader.get(b"a") == b"new"
    store.before_return = lambda: commit(store, reader, {b"other": b"1"})
    assert reader.get(b"unread") is None


def test_what_was_read_ahead_is_not_read_again():
    """Known keys are left out, absent ones remembered, long values not; never more than half of the room is filled."""
    store = Store({b"a": b"1", b"b": b"2", b"long": b"x" * (MAX_LENGTH + 1)})
    reader = CachedReader(store, max_values=8)
    reader.get(b"a")
    reader.prefetch([b"a", b"b", b"b", b"none", b"long"])
    assert store.reads == 4
    assert [reader.get(key) for key in (b"a", b"b", b"none")] == [b"1", b"2", None]
    assert store.reads == 4
    assert reader.get(b"long") == store.values[b"long"]
    reads = store.reads
    reader.prefetch([b"%d" % i for i in range(100)])
    assert store.reads == reads + 4


def test_what_was_read_ahead_before_a_commit_is_not_kept_after_it():
    """A commit that overtakes the reading ahead wins."""
    store = Store({b"a": b"old"})
    reader = CachedReader(store)
    store.before_return = lambda: commit(store, reader, {b"a": b"new"})
    reader.prefetch([b"a"])
    assert reader.get(b"a") == b"new"


@given(st.integers(0, 2**32))
def test_any_history_reads_as_the_store(seed):
    """With room for a few values only, and forgetting at times, every read is what the store holds."""
    rng = random.Random(seed)
    store = Store()
    reader = CachedReader(store, max_values=5)
    keys = [b"%d" % i for i in range(12)]
    for number in range(60):
        reader.prefetch(rng.sample(keys, rng.randrange(4)))
        assert all(reader.get(key) == store.values.get(key) for key in rng.sample(keys, 4))
        changes = {key: rng.choice([None, b"%d" % number]) for key in rng.sample(keys, rng.randrange(4))}
        commit(store, reader, changes)
        if rng.random() < 0.1:
            reader.forget()


def test_threads_never_see_a_value_go_back():
    """While one thread commits rising numbers, others never read a smaller one after a larger one."""
    store, stop, faults = Store({b"n": b"0"}), threading.Event(), []
    reader = CachedReader(store, max_values=3)

    def watch():
        last = 0
        while not stop.is_set():
            found = int(reader.get(b"n"))
            if found < last:
                faults.append((last, found))
            last = found
            reader.get(b"%d" % (found % 7))

    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(3000):
        commit(store, reader, {b"n": b"%d" % number})
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
