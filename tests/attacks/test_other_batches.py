"""Poisoned, dropped, reordered, injected and duplicated batches: claimed as the committed ones, or as they were.

Either way the interval differs: the committed data and the seed alone say what every step is fed.
"""

from dataclasses import replace

import numpy as np
import pytest

from assay.certificate.rejections import IntervalDiffers
from assay.training.batches import compute_content
from tests.attacks.runs import audit, find_differing, forge_run, open_feed, read_files, relink, verify

FIRST, LAST, INTERVAL = 20, 24, 5


@pytest.fixture(scope="module")
def feed(honest):
    """The batches of the honest run."""
    return open_feed(honest)


def poison(feed, step, arrays):
    """Return the batch with another label on a third of its samples."""
    labels = arrays[1].copy()
    labels[:5] = 0
    labels[5:10] = (labels[5:10] + 1) % 3
    return [arrays[0], labels]


def drop(feed, step, arrays):
    """Return the next step's batch: this one is left out."""
    return feed.get_batch(step + 1).arrays


def reorder(feed, step, arrays):
    """Return the batches of the interval from last to first."""
    return feed.get_batch(FIRST + LAST + 1 - step).arrays


def inject(feed, step, arrays):
    """Return samples that are in no data set."""
    return [np.full_like(arrays[0], 7.5), arrays[1]]


def duplicate(feed, step, arrays):
    """Return one and the same batch in each step."""
    return feed.get_batch(FIRST + 1).arrays


def flip_one_label(feed, step, arrays):
    """Return the batch with one label of one sample changed, in one step."""
    if step != LAST:
        return arrays
    labels = arrays[1].copy()
    labels[0] = (labels[0] + 1) % 3
    return [arrays[0], labels]


ATTACKS = [poison, drop, reorder, inject, duplicate, flip_one_label]


@pytest.mark.parametrize("attack", ATTACKS)
def test_other_batches_claimed_as_the_committed_ones(attack, feed, honest, honest_audit, tmp_path):
    """The model has learned from other samples than the leaves name: exactly that interval differs."""
    assert find_differing(honest_audit) == []

    def alter(step, arrays):
        return attack(feed, step, arrays) if FIRST < step <= LAST else arrays

    before = read_files(honest)
    found = audit(forge_run(honest, tmp_path / "forged", alter=alter))
    assert find_differing(found) == [INTERVAL]
    assert found.answers["interval", INTERVAL].parts[0] in {"loss", "state root"}
    with pytest.raises(IntervalDiffers):
        verify(found)
    assert read_files(honest) == before


@pytest.mark.parametrize("attack", ATTACKS)
def test_other_batches_claimed_as_what_they_were(attack, feed, honest, honest_audit, tmp_path):
    """The leaves name the samples that were really fed: they are not those that data and seed give."""
    assert find_differing(honest_audit) == []

    def claim(step, result):
        if not FIRST < step <= LAST:
            return result
        return replace(result, content=compute_content(attack(feed, step, feed.get_batch(step).arrays)))

    found = audit(relink(honest, tmp_path / "relinked", claim))
    assert find_differing(found) == [INTERVAL]
    assert found.answers["interval", INTERVAL].parts == ("content",)
