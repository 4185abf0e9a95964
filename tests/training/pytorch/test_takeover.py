"""A plain `DataLoader` is taken over as it is; one with a behaviour of its own is refused with the cure."""

import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import assay
from assay.training.pytorch.takeover import LoaderRefused, LoaderSettings, choose_settings, read_settings
from assay.training.recorded import RecordedRun

DATA = TensorDataset(torch.arange(40.0).reshape(20, 2), torch.arange(20) % 2)


def record(path, make_loader):
    """Record five steps with whatever loader; return the transcript root."""
    run = assay.start(path, seed=1)
    with run.init():
        net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
    loader = make_loader(run)

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch):
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for batch in loader:
        train_step(batch)
    return run.finish().transcript.root


def test_one_changed_line_records_the_same_run(tmp_path):
    """`run.loader(DataLoader(...))` gives the run that `run.loader(dataset, ...)` with the same arguments gives."""
    existing = DataLoader(DATA, batch_size=6, shuffle=True, drop_last=True, num_workers=2)
    taken = record(tmp_path / "taken", lambda run: run.loader(existing))
    plain = record(tmp_path / "plain", lambda run: run.loader(DATA, batch_size=6, drop_last=True))
    assert taken == plain
    plan = RecordedRun(tmp_path / "taken").plan
    assert (plan.batch_size, plan.last_batch, plan.order_version) == (6, "drop", 1)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_settings_are_those_of_the_loader(shuffle, drop_last):
    """Batch size, shuffling and the last batch are read off."""
    loader = DataLoader(DATA, batch_size=3, shuffle=shuffle, drop_last=drop_last)
    assert read_settings(loader) == LoaderSettings(DATA, 3, shuffle, drop_last)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(DATA)


class Own(DataLoader):
    pass


REFUSED = {
    "a class of its own": lambda: Own(DATA, batch_size=2),
    "an iterable data set": lambda: DataLoader(Stream(), batch_size=2),
    "no batches": lambda: DataLoader(DATA, batch_size=None),
    "a batch sampler": lambda: DataLoader(DATA, batch_sampler=[[0, 1], [2]]),
    "weights": lambda: DataLoader(DATA, batch_size=2, sampler=WeightedRandomSampler(torch.ones(20), 20)),
    "a subset": lambda: DataLoader(DATA, batch_size=2, sampler=SubsetRandomSampler(range(5))),
    "replacement": lambda: DataLoader(DATA, batch_size=2, sampler=RandomSampler(DATA, replacement=True)),
    "fewer samples": lambda: DataLoader(DATA, batch_size=2, sampler=RandomSampler(DATA, num_samples=4)),
    "a generator": lambda: DataLoader(DATA, batch_size=2, shuffle=True, generator=torch.Generator()),
    "worker_init_fn": lambda: DataLoader(DATA, batch_size=2, num_workers=1, worker_init_fn=print),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_run_cannot_do_again_is_refused(what):
    """Each refusal has one code, and says what to do."""
    with pytest.raises(LoaderRefused) as refused:
        read_settings(REFUSED[what]())
    assert refused.value.code == "data.loader-refused"
    assert refused.value.expected
    assert "run.loader(dataset" in refused.value.next_step


def test_arguments_beside_a_loader_are_refused():
    """A batch size that contradicts the loader's own is never chosen silently."""
    with pytest.raises(LoaderRefused, match="batch_size, shuffle is given beside"):
        choose_settings(DataLoader(DATA, batch_size=2), batch_size=4, shuffle=False, drop_last=None)
