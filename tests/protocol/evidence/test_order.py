import json
from pathlib import Path

import pytest

from assay.protocol.evidence import order
from assay.protocol.evidence.order import UnknownOrder

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "randomness.json").read_text(encoding="utf-8"))


def test_order_vectors():
    """RND-11: sequential, and the permutation of the epoch."""
    for case in VECTORS["order"]:
        found = order.compute_order(case["version"], bytes.fromhex(case["seed"]), case["epoch"], case["size"])
        assert found == case["values"]
        assert sorted(found) == list(range(case["size"]))


def test_epochs_and_seeds_have_different_orders():
    """RND-11: neither another epoch nor another seed repeats an order of 20 samples."""
    orders = {tuple(order.compute_order(1, bytes([seed] * 32), epoch, 20)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_an_unknown_version_is_refused():
    """RND-11: a reader that does not know an order function says so."""
    with pytest.raises(UnknownOrder):
        order.compute_order(2, bytes(32), 0, 5)


@pytest.mark.parametrize(
    ("size", "batch_size", "keep", "drop"), [(10, 5, 2, 2), (11, 5, 3, 2), (4, 5, 1, 0), (0, 5, 0, 0), (1, 1, 1, 1)]
)
def test_the_number_of_batches_counts_a_partial_one_where_it_is_kept(size, batch_size, keep, drop):
    """RND-12: rounded up with "keep", down with "drop"."""
    assert order.count_batches(size, batch_size, "keep") == keep
    assert order.count_batches(size, batch_size, "drop") == drop


@pytest.mark.parametrize(("batch_size", "rule"), [(0, "keep"), (5, "pad")])
def test_impossible_batches_are_refused(batch_size, rule):
    """RND-12: a batch holds at least one sample, and there are two rules."""
    with pytest.raises(UnknownOrder):
        order.count_batches(10, batch_size, rule)


def test_steps_walk_through_the_batches_of_each_epoch():
    """RND-12: with three batches an epoch, step 4 is the first of epoch 1."""
    assert [order.locate_step(t, 3) for t in range(1, 8)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    for step, batches in ((0, 3), (1, 0)):
        with pytest.raises(UnknownOrder):
            order.locate_step(step, batches)
