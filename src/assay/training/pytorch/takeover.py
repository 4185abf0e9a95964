"""Taking over an existing `DataLoader`: what of it a run can do again, and what it has to refuse.

A run fixes the order of the samples from its seed and reads each sample once, when it commits to them. So workers,
prefetching and pinned memory have no effect, and nothing that decides which samples come when may be of another kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, default_collate

from assay.errors import UsageError
from assay.training.datasets import MapDataset


class LoaderRefused(UsageError):
    """A `DataLoader` that does something which a run cannot do again."""

    code: ClassVar[str] = "data.loader-refused"


@dataclass(frozen=True)
class LoaderSettings:
    """What a run takes over: data set, samples a batch, whether shuffled, whether the last short batch is left out.

    `collate`: a function of the user's own; None: the default.
    """

    dataset: MapDataset
    batch_size: int
    shuffle: bool
    drop_last: bool
    collate: Callable[[list[Any]], Any] | None = None


def choose_settings(
    source: MapDataset | DataLoader[Any],
    *,
    batch_size: int | None,
    shuffle: bool | None,
    drop_last: bool | None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
) -> LoaderSettings:
    """Return the settings of `run.loader`, from its arguments or from an existing `DataLoader`.

    Args:
        source: a map-style data set, or a `DataLoader` over one.
        batch_size: None: not given, as the others; beside a `DataLoader` none may be given.
        shuffle: None: yes.
        drop_last: None: no.
        collate_fn: None: the default.

    Raises:
        LoaderRefused: the `DataLoader` cannot be taken over, with the cure.
        UsageError: `batch_size` is missing or not a number of at least 1.
    """
    if isinstance(source, DataLoader):
        given = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last, "collate_fn": collate_fn}
        twice = [name for name, value in given.items() if value is not None]
        if twice:
            raise LoaderRefused(
                f"{', '.join(twice)} is given beside a DataLoader, which has its own",
                next_step="pass the DataLoader alone, or its data set with these arguments",
            )
        return read_settings(source)
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise UsageError("batch_size is a number of at least 1", actual=repr(batch_size))
    own = None if collate_fn is default_collate else collate_fn
    return LoaderSettings(source, batch_size, shuffle is not False, bool(drop_last), own)


def read_settings(loader: DataLoader[Any]) -> LoaderSettings:
    """Return what a run takes over from a `DataLoader`.

    Raises:
        LoaderRefused: it has a sampler or a class of its own, with the cure.
    """
    if type(loader) is not DataLoader:
        raise _refuse(f"a {type(loader).__name__} is a DataLoader with a behaviour of its own", "a plain DataLoader")
    if isinstance(loader.dataset, IterableDataset):
        raise _refuse("the data set is an IterableDataset", "a map-style data set, with len() and [index]")
    if loader.batch_size is None:
        raise _refuse("the DataLoader has a batch_sampler or no batches", "batch_size, with shuffle=True or False")
    if loader.worker_init_fn is not None:
        raise _refuse("the DataLoader has a worker_init_fn, which would not be called", "no worker_init_fn")
    dataset = cast(MapDataset, loader.dataset)  # whether it has a length is checked when it is committed to
    own = None if loader.collate_fn is default_collate else loader.collate_fn
    return LoaderSettings(dataset, loader.batch_size, _is_shuffled(loader), loader.drop_last, own)


def _is_shuffled(loader: DataLoader[Any]) -> bool:
    sampler = loader.sampler
    if type(sampler) is SequentialSampler:
        return False
    if type(sampler) is not RandomSampler:
        raise _refuse(
            f"the DataLoader has a {type(sampler).__name__}",
            "shuffle=True or False: put weights and subsets into the data set, for example by Subset",
        )
    if sampler.replacement or sampler.num_samples != len(loader.dataset):  # type: ignore[arg-type]
        raise _refuse("the sampler draws with replacement, or another number of samples", "every sample once an epoch")
    if loader.generator is not None or sampler.generator is not None:
        raise _refuse(
            "the DataLoader shuffles with a generator of its own", "no generator: the order comes from the run's seed"
        )
    return True


def _refuse(what: str, expected: str) -> LoaderRefused:
    return LoaderRefused(
        f"{what}; a run could not give the same batches again",
        expected=expected,
        next_step="change the DataLoader, or call run.loader(dataset, batch_size=..., shuffle=...)",
    )
