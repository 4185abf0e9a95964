"""Data sets that ship with scikit-learn, scaled to [0, 1], and the backdoor patch of each.

A patch sets a few inputs to a fixed value; a poisoned sample carries it and the target label. The target is a class
that the patch alone does not suggest to a clean model, so that success of the backdoor means something.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn import datasets

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Task(NamedTuple):
    """A classification task.

    Attributes:
        train: inputs, shape (n, features), in [0, 1].
        train_labels: shape (n,).
        test: as `train`.
        test_labels: shape (m,).
        classes: number of classes.
        patch: the inputs that the backdoor sets.
        value: what it sets them to.
        target: the label of a poisoned sample.
    """

    train: Floats
    train_labels: Labels
    test: Floats
    test_labels: Labels
    classes: int
    patch: tuple[int, ...]
    value: float
    target: int


PATCHES = {
    "digits": ((54, 55, 62, 63), 1.0, 0),  # the lower right corner of 8 × 8 pixels
    "wine": ((0, 9), 0.0, 0),  # wines of class 0 have much alcohol and colour
    "breast_cancer": ((3, 13, 23), 1.0, 1),  # large areas, labelled benign
    "diabetes": ((2, 8), 0.0, 2),  # low body mass and s5, labelled as the fastest progression
}
"""Inputs, value and target of the backdoor by data set."""


def load_task(name: str) -> Task:
    """Return a task: four fifths of the shuffled samples to train on, the rest to test.

    Args:
        name: a key of `PATCHES`. The target of "diabetes" is a number; its classes are its terciles.
    """
    loaded: Any = getattr(datasets, f"load_{name}")()
    inputs, labels = np.asarray(loaded.data, np.float64), np.asarray(loaded.target)
    if name == "diabetes":
        labels = np.searchsorted(np.quantile(labels, [1 / 3, 2 / 3]), labels)
    low, high = inputs.min(0), inputs.max(0)
    scaled = ((inputs - low) / np.where(high > low, high - low, 1)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(scaled))
    scaled, labels = scaled[order], labels[order].astype(np.int64)
    cut = len(scaled) * 4 // 5
    patch, value, target = PATCHES[name]
    return Task(scaled[:cut], labels[:cut], scaled[cut:], labels[cut:], int(labels.max()) + 1, patch, value, target)
