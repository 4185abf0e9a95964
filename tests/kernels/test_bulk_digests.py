import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from assay.kernels import bulk_digests, loader
from assay.kernels.bulk_digests import BulkHasher, compute_bulk_digests

EDGES = [64, 128, 512, 1024, 2048, 3072, 4096, 16 * 1024, 32 * 1024, 1 << 20, 2 << 20, 3 << 20]
LENGTHS = [*range(9), *(edge + offset for edge in EDGES for offset in (-1, 0, 1))]
SEQUENCE = bytes(i % 251 for i in range(LENGTHS[-1]))


@pytest.fixture
def native(variant, monkeypatch):
    """Our kernels are used, also where the library's would be faster."""
    monkeypatch.setattr(bulk_digests, "is_native_faster", lambda: True)
    return variant


def expect(buffers):
    """Return the digests of the library."""
    return [blake3(buffer).digest() for buffer in buffers]


def test_each_length_alone(native):
    """Every length around the edges of blocks, chunks, groups and pieces has the library's digest."""
    for length in LENGTHS:
        buffer = SEQUENCE[:length]
        assert compute_bulk_digests([buffer]) == expect([buffer]), length


@pytest.mark.parametrize("count", [0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 65, 1025])
def test_lengths_side_by_side(native, count):
    """Buffers of different lengths that share lanes do not disturb one another."""
    short = [length for length in LENGTHS if length < 5000]
    buffers = [SEQUENCE[i % 11 :][: short[(7 * i) % len(short)]] for i in range(count)]
    assert compute_bulk_digests(buffers) == expect(buffers)


def test_long_among_short(native):
    """Buffers of several pieces, before, between and after short ones."""
    lengths = [3, (3 << 20) + 1, 0, 1 << 20, (2 << 20) - 1, 1500, 2 << 20, 1024, 700 * 1024, 700 * 1024, 64]
    buffers = [SEQUENCE[:length] for length in lengths]
    assert compute_bulk_digests(buffers) == expect(buffers)


@pytest.mark.parametrize("chunks", [*range(1, 70), 1023])
def test_every_shape_of_tree(native, chunks):
    """The tree of any number of chunks, full and not, two at a time."""
    buffers = [SEQUENCE[: 1024 * chunks], SEQUENCE[: 1024 * chunks - 5]]
    assert compute_bulk_digests(buffers) == expect(buffers)


@given(st.lists(st.integers(0, 9000), max_size=40), st.integers(0, 250))
def test_any_buffers(lengths, shift):
    """Whatever the lengths and their order: the library's digests."""
    buffers = [SEQUENCE[shift : shift + length] for length in lengths]
    assert compute_bulk_digests(buffers) == expect(buffers)


def test_same_views_with_new_content(native):
    """A hasher that knows its views sees what was written into them since."""
    array = np.zeros(5000, np.uint8)
    views = [array.data[:3000], array.data[3000:]]
    hasher = BulkHasher()
    for value in range(3):
        array[:] = value
        assert bulk_digests.split_digests(hasher.compute(views).tobytes()) == expect(views)


def test_other_views_of_the_same_lengths(native):
    """A hasher that knows its views notices when it is handed others."""
    hasher = BulkHasher()
    for first in (b"a", b"b"):
        views = [memoryview(bytearray(first * 3000)), memoryview(bytearray(first * 10))]
        assert bulk_digests.split_digests(hasher.compute(views).tobytes()) == expect(views)


def test_buffer_that_moved(native):
    """A bytearray that grew and shrank lies elsewhere; it is looked up each time."""
    hasher, buffer = BulkHasher(), bytearray(b"x" * 3000)
    hasher.compute([buffer])
    buffer.extend(bytes(10_000_000))
    del buffer[3000:]
    assert hasher.compute([buffer]).tobytes() == expect([buffer])[0]


def test_released_view_is_refused(native):
    """Memory that may be gone is not read."""
    view = memoryview(bytearray(3000))
    hasher = BulkHasher()
    hasher.compute([view])
    view.release()
    with pytest.raises(ValueError, match="released"):
        hasher.compute([view])


def test_views_of_wide_items(native):
    """The length counts bytes, not items."""
    view = memoryview(np.arange(1000, dtype="<f8"))
    assert compute_bulk_digests([view]) == expect([view.cast("B")])


def test_without_the_library(monkeypatch):
    """The path by the package gives the same digests."""
    buffers = [SEQUENCE[:length] for length in LENGTHS if length < 5000]
    assert loader.load() is not None
    monkeypatch.setattr(bulk_digests, "_bind", lambda: None)
    assert compute_bulk_digests(buffers) == expect(buffers)
