"""The order in which samples are fed, and where a step stands in it.

Source: `spec/randomness.md`.
"""

from __future__ import annotations

from assay.errors import MalformedEvidence
from assay.protocol.evidence.randomness import ORDER, derive_key, draw_permutation

SEQUENTIAL, SHUFFLE = range(2)
"""Versions of the order function."""

LAST_BATCH_RULES = ("keep", "drop")
"""What happens to a last batch that is not full."""


class UnknownOrder(MalformedEvidence):
    """An order version, a last-batch rule or a position that this format does not have."""

    code = "order.unknown"


def compute_order(version: int, seed: bytes, epoch: int, size: int) -> list[int]:
    """Return the indices of all samples in the order of an epoch (RND-11).

    Args:
        version: SEQUENTIAL, or SHUFFLE: the permutation of the key (seed, ORDER, step = epoch), ordinal 0.
        seed: 32 bytes.
        epoch: counted from 0.
        size: number of samples.

    Raises:
        UnknownOrder: another version.
    """
    if version == SEQUENTIAL:
        return list(range(size))
    if version != SHUFFLE:
        raise UnknownOrder("unknown order version", expected="0 or 1", actual=version)
    return draw_permutation(derive_key(seed, ORDER, epoch), 0, size)


def count_batches(size: int, batch_size: int, last_batch: str) -> int:
    """Return the number of batches of an epoch (RND-12).

    Raises:
        UnknownOrder: a batch size below 1, or another rule than "keep" and "drop".
    """
    if batch_size < 1 or last_batch not in LAST_BATCH_RULES:
        raise UnknownOrder("no such batches", expected="size ≥ 1, keep or drop", actual=(batch_size, last_batch))
    return size // batch_size if last_batch == "drop" else -(-size // batch_size)


def locate_step(step: int, batches_per_epoch: int) -> tuple[int, int]:
    """Return epoch and batch, both counted from 0, of a step counted from 1 (RND-12).

    Raises:
        UnknownOrder: a step below 1, or an epoch without a batch.
    """
    if step < 1 or batches_per_epoch < 1:
        raise UnknownOrder("no such step", expected="step ≥ 1, batches ≥ 1", actual=(step, batches_per_epoch))
    return divmod(step - 1, batches_per_epoch)
