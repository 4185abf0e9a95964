import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.protocol.evidence import order as oracle
from assay.protocol.evidence.order import UnknownOrder
from assay.training import order


@given(st.integers(0, 1), st.binary(min_size=32, max_size=32), st.integers(0, 2**40), st.integers(0, 200))
def test_the_order_is_the_oracles(version, seed, epoch, size):
    """RND-11: NumPy's order is that of the definition."""
    assert order.compute_order(version, seed, epoch, size).tolist() == oracle.compute_order(version, seed, epoch, size)


@given(st.integers(1, 50), st.integers(1, 60), st.sampled_from(["keep", "drop"]))
def test_the_batches_of_an_epoch_cover_the_order(size, batch_size, rule):
    """RND-12: batches follow each other; what is missing at the end is less than a batch, and nothing with "keep"."""
    positions = order.compute_order(1, bytes(32), 0, size)
    count = order.count_batches(size, batch_size, rule)
    batches = [order.get_batch_indices(positions, batch_size, number).tolist() for number in range(count)]
    joined = [index for batch in batches for index in batch]
    assert joined == positions[: len(joined)].tolist()
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(joined) == (size if rule == "keep" else size - size % batch_size)


def test_an_unknown_version_is_refused():
    """RND-11: as in the definition."""
    with pytest.raises(UnknownOrder):
        order.compute_order(7, bytes(32), 0, 5)
