"""The feed gives each step its batch from data and seed alone."""

import numpy as np
import pytest

from assay.protocol.evidence.order import SEQUENTIAL, SHUFFLE
from assay.training.batches import compute_content, compute_membership
from assay.training.datasets import commit_dataset
from assay.training.feed import Feed

SEED = bytes(range(32))


class Numbers:
    """Ten samples: the index, and its square."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return np.float32(index), np.int64(index * index)


def make_feed(order=SHUFFLE, last="keep", size=4, seed=SEED):
    """A feed over the ten samples."""
    data = commit_dataset(Numbers(), check_seed=bytes(32))
    options = {"seed": seed, "order_version": order, "batch_size": size, "last_batch": last}
    return Feed(data.packed, data.leaf_hashes, **options), data


@pytest.mark.parametrize(("last", "sizes"), [("keep", [4, 4, 2]), ("drop", [4, 4])])
def test_an_epoch_has_its_batches(last, sizes):
    """Batches have the asked size, the last one is kept or dropped, and no sample comes twice in an epoch."""
    feed, _ = make_feed(last=last)
    assert feed.per_epoch == len(sizes)
    for epoch in range(2):
        batches = [feed.get_batch(epoch * len(sizes) + step) for step in range(1, len(sizes) + 1)]
        assert [len(batch.indices) for batch in batches] == sizes
        indices = np.concatenate([batch.indices for batch in batches])
        assert len(set(indices.tolist())) == len(indices)


def test_batches_follow_from_their_step_alone():
    """Asked in another order, each step has the same batch; other epochs and seeds have other orders."""
    feed, _ = make_feed()
    forward = [feed.get_batch(step).indices.tolist() for step in range(1, 7)]
    other, _ = make_feed()
    assert [other.get_batch(step).indices.tolist() for step in range(6, 0, -1)] == forward[::-1]
    assert forward[:3] != forward[3:]
    third, _ = make_feed(seed=bytes(32))
    assert [third.get_batch(step).indices.tolist() for step in range(1, 7)] != forward


def test_a_sequential_order_is_that_of_the_data():
    """Every epoch goes through the data from the beginning."""
    feed, _ = make_feed(order=SEQUENTIAL)
    assert [feed.get_batch(step).indices.tolist() for step in (1, 3, 4)] == [[0, 1, 2, 3], [8, 9], [0, 1, 2, 3]]


def test_a_batch_has_the_roots_of_its_samples():
    """Arrays are those of the samples; membership and content are recomputed from leaves and arrays."""
    feed, data = make_feed()
    batch = feed.get_batch(2)
    assert batch.arrays[0].tolist() == [float(i) for i in batch.indices]
    assert batch.arrays[1].tolist() == [int(i) ** 2 for i in batch.indices]
    assert batch.membership == compute_membership(data.leaf_hashes[batch.indices])
    assert batch.content == compute_content(batch.arrays)
