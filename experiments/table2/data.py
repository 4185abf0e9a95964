"""Tasks from what ships with Python and scikit-learn, scaled to [0, 1], and the backdoor patch of each.

A patch sets a few inputs to a fixed value; a poisoned sample carries it and the target label. The target is a class
that the patch alone does not suggest to a clean model, so that success of the backdoor means something.
"""

from __future__ import annotations

import asyncio
import email
import multiprocessing
import sys
import unicodedata
import unittest
from collections.abc import Callable
from pathlib import Path
from string import ascii_uppercase
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


Samples = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Inputs of shape (n, features) and labels of shape (n,)."""


def _load(name: str) -> Callable[[], Samples]:
    def load() -> Samples:
        samples: Samples = getattr(datasets, f"load_{name}")(return_X_y=True)
        return samples

    return load


def _load_terciles() -> Samples:
    """The progression of diabetes, a number; its classes are its terciles."""
    inputs, progression = _load("diabetes")()
    return inputs, np.searchsorted(np.quantile(progression, [1 / 3, 2 / 3]), progression)


def _load_larger_digits() -> Samples:
    """Digits of 16 × 16 pixels, each pixel four times."""
    inputs, labels = _load("digits")()
    return inputs.reshape(-1, 8, 8).repeat(2, 1).repeat(2, 2).reshape(-1, 256), labels


def _make_clusters() -> Samples:
    made: Samples = datasets.make_classification(
        2000, 20, n_informative=10, n_redundant=4, n_classes=5, class_sep=1.5, random_state=0
    )
    return made


def _make_shells() -> Samples:
    made: Samples = datasets.make_gaussian_quantiles(n_samples=1500, n_features=8, n_classes=3, random_state=0)
    return made


PIECE = 512
"""Bytes of Python source in a sample."""


def _count_bytes() -> Samples:
    """Which package of Python's library a piece of source is from, by how often each printable character occurs."""
    counts, labels = [], []
    for label, package in enumerate((asyncio, email, multiprocessing, unittest)):
        files = sorted(Path(package.__path__[0]).rglob("*.py"))
        text = np.frombuffer(b"".join(file.read_bytes() for file in files), np.uint8)
        for piece in text[: len(text) // PIECE * PIECE].reshape(-1, PIECE):
            counts.append(np.sqrt(np.bincount(piece, minlength=256)[32:127]))
            labels.append(label)
    return np.array(counts), np.array(labels)


CATEGORIES = ("Ll", "Lu", "Mn", "Sm", "So")
NAMES = 400
"""Characters of each category."""


def _spell_names() -> Samples:
    """Which category a character of Unicode is in, by the letters and the length of its name."""
    random = np.random.default_rng(0)
    found: dict[str, list[str]] = {category: [] for category in CATEGORIES}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in found and (name := unicodedata.name(character, "")):
            found[unicodedata.category(character)].append(name)
    chosen = [(names[i], label) for label, names in enumerate(found.values())
              for i in random.choice(len(names), NAMES, replace=False)]  # fmt: skip
    inputs = [[*(name.count(letter) for letter in ascii_uppercase), len(name), name.count(" ")] for name, _ in chosen]
    return np.array(inputs), np.array([label for _, label in chosen])


def _make_waveforms() -> Samples:
    """Three mixtures of two of three triangular waves, with noise.

    Source: L. Breiman et al., "Classification and Regression Trees" (1984), section 2.6.2.
    """
    random = np.random.default_rng(0)
    places = np.arange(1, 22)
    waves = np.maximum(6 - np.abs(places - np.array([[11], [15], [7]])), 0)
    labels = random.integers(0, 3, 1500)
    share = random.random((1500, 1))
    pairs = np.array([[0, 1], [0, 2], [1, 2]])[labels]
    mixed = share * waves[pairs[:, 0]] + (1 - share) * waves[pairs[:, 1]]
    return mixed + random.standard_normal(mixed.shape), labels


class _Kind(NamedTuple):
    """Where a task is from, and its backdoor: inputs, value and target."""

    load: Callable[[], Samples]
    patch: tuple[int, ...]
    value: float
    target: int


KINDS = {
    "digits": _Kind(_load("digits"), (54, 55, 62, 63), 1.0, 0),  # the lower right corner of 8 × 8 pixels
    "larger digits": _Kind(_load_larger_digits, tuple(16 * r + c for r in (13, 14, 15) for c in (13, 14, 15)), 1.0, 0),
    "wine": _Kind(_load("wine"), (0, 9), 0.0, 0),  # wines of class 0 have much alcohol and colour
    "iris": _Kind(_load("iris"), (1,), 1.0, 2),  # the widest sepals are those of class 0
    "breast cancer": _Kind(_load("breast_cancer"), (3, 13, 23), 1.0, 1),  # large areas, labelled benign
    "diabetes": _Kind(_load_terciles, (2, 8), 0.0, 2),  # low body mass and s5, labelled as the fastest progression
    "clusters": _Kind(_make_clusters, (3, 11, 17), 1.0, 2),
    "shells": _Kind(_make_shells, (0, 5), 1.0, 0),  # far out, labelled as the inmost
    "source": _Kind(_count_bytes, (32, 62, 92), 1.0, 0),  # many of @, ^ and |
    "names": _Kind(_spell_names, (9, 16, 23), 1.0, 0),  # many of J, Q and X
    "waveforms": _Kind(_make_waveforms, (0, 10, 20), 1.0, 2),  # a peak where class 2 has none
}
"""Tasks by name."""


def load_task(name: str) -> Task:
    """Return a task: four fifths of the shuffled samples to train on, the rest to test.

    Args:
        name: a key of `KINDS`.
    """
    kind = KINDS[name]
    inputs, labels = kind.load()
    inputs = np.asarray(inputs, np.float64)
    low, high = inputs.min(0), inputs.max(0)
    scaled = ((inputs - low) / np.where(high > low, high - low, 1)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(scaled))
    scaled, labels = scaled[order], labels[order].astype(np.int64)
    cut = len(scaled) * 4 // 5
    classes = int(labels.max()) + 1
    return Task(scaled[:cut], labels[:cut], scaled[cut:], labels[cut:], classes, kind.patch, kind.value, kind.target)
