"""From a data set to the loader of a run: commitment, order, batches.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from assay.errors import UsageError
from assay.protocol.evidence.collation import DEFAULT, MAX_MULTIPLE, Padding, parse_collation
from assay.protocol.evidence.order import SEQUENTIAL, SHUFFLE
from assay.training.datasets import MapDataset, commit_dataset
from assay.training.feed import Feed, verify_padding
from assay.training.packed import PackedData
from assay.training.pytorch.collating import CollatedSamples, verify_collate
from assay.training.pytorch.loader import Loader, get_whole_arrays, to_array
from assay.training.pytorch.takeover import choose_settings


@dataclass(frozen=True)
class Wishes:
    """What the caller of `run.loader` asked for; None: the default, or what a `DataLoader` says."""

    batch_size: int | None = None
    shuffle: bool | None = None
    drop_last: bool | None = None
    pad: int | Mapping[str, int] | None = None
    pad_to: int = 1
    collate_fn: Callable[[list[Any]], Any] | None = None


def make_padding(packed: PackedData, pad: int | Mapping[str, int], multiple: int) -> Padding:
    """Return the padding that a plan names.

    Args:
        packed: the data.
        pad: one fill for all fields, or fills by the names of fields; those that are not named get 0.
        multiple: padded extents are multiples of this.

    Raises:
        UsageError: no whole number, or a field that the data do not have.
        PaddingUnfit: a fill that an element type cannot hold.
    """
    if not isinstance(multiple, int) or isinstance(multiple, bool) or not 1 <= multiple <= MAX_MULTIPLE:
        raise UsageError(f"pad_to is a number from 1 to {MAX_MULTIPLE}", actual=repr(multiple))
    named = pad if isinstance(pad, Mapping) else {f.name: pad for f in packed.fields if f.shapes is not None}
    for name, fill in named.items():
        if name not in packed.names or not isinstance(fill, int) or isinstance(fill, bool):
            raise UsageError(
                f"pad: {name!r} cannot be filled with {fill!r}",
                expected=f"whole numbers for fields of {', '.join(map(repr, packed.names))}",
            )
    padding = Padding(multiple, tuple(named.get(name, 0) for name in packed.names))
    verify_padding(packed, padding)
    parse_collation(padding.name)
    return padding


def make_loader(
    dataset: MapDataset | DataLoader[Any], wishes: Wishes, *, seed: bytes, begin: Callable[[], int]
) -> Loader:
    """Commit to a data set and return the loader that fixes its order.

    Args:
        dataset: map-style, or a `DataLoader` over such a data set.
        wishes: of the caller.
        seed: of the run.
        begin: called before the first batch; returns the next step.

    Raises:
        LoaderRefused: a `DataLoader` or a collate function that does something which a run cannot do again.
        UnusableDataset, UnsupportedSample, RandomTransform, RaggedData, PaddingUnfit: with the cure.
    """
    settings = choose_settings(
        dataset,
        batch_size=wishes.batch_size,
        shuffle=wishes.shuffle,
        drop_last=wishes.drop_last,
        collate_fn=wishes.collate_fn,
    )
    own = None if settings.collate is None else CollatedSamples(settings.dataset, settings.collate)
    data = commit_dataset(
        own or settings.dataset,
        check_seed=secrets.token_bytes(32),
        to_array=to_array,
        arrays=[] if own else get_whole_arrays(settings.dataset),
    )
    collate = DEFAULT if wishes.pad is None else make_padding(data.packed, wishes.pad, wishes.pad_to).name
    feed = Feed(
        data.packed,
        data.leaf_hashes,
        seed=seed,
        order_version=SHUFFLE if settings.shuffle else SEQUENTIAL,
        batch_size=settings.batch_size,
        last_batch="drop" if settings.drop_last else "keep",
        collate=collate,
    )
    data.packed.gather(np.zeros(1, np.int64), parse_collation(collate))
    if feed.per_epoch < 1:
        raise UsageError(
            "an epoch has no batch", expected=f"at least {settings.batch_size} samples", actual=len(settings.dataset)
        )
    if own is not None:
        verify_collate(own, feed)
    return Loader(data, feed, begin)
