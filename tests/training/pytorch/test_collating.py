"""A collate function of one's own: recorded where it does to each sample what it does to it alone, else refused."""

import collections
import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, TensorDataset, default_collate

import assay
from assay.training.datasets import RandomTransform
from assay.training.packed import RaggedData
from assay.training.pytorch.takeover import LoaderRefused
from assay.training.recorded import RecordedRun
from assay.training.samples import UnsupportedSample
from tests.training.pytorch.test_batches_of_all_kinds import replay

DATA = TensorDataset(torch.arange(40.0).reshape(20, 2) / 40, torch.arange(20) % 2)


class Texts:
    """Texts with a label: nothing that a data set of a run may return."""

    def __len__(self):
        return 20

    def __getitem__(self, place):
        return {"text": "ab" * (1 + place % 4), "label": place % 2}


def tokenize(rows):
    """Make letters numbers, and pad them as tokenizers do; a mapping of a kind of its own."""
    ids = [torch.tensor([ord(letter) - 96 for letter in row["text"]]) for row in rows]
    padded = pad_sequence(ids, batch_first=True)
    labels = torch.tensor([row["label"] for row in rows])
    return collections.UserDict(ids=padded, mask=(padded > 0).long(), labels=labels)


def record(path, make_loader, *, stop=None):
    """Record two epochs; return the closing record and the first batch."""
    torch.manual_seed(0)
    run = assay.start(path, seed=1, checkpoint_every=2)
    net = nn.ModuleDict({"table": nn.Embedding(8, 3), "head": nn.Linear(3, 2), "plain": nn.Linear(2, 2)})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    first = None
    try:
        loader = make_loader(run)

        @run.step(models=[net], optimizers=[optimizer])
        def train_step(batch):
            if isinstance(batch, dict):
                hidden = (net["table"](batch["ids"]) * batch["mask"].unsqueeze(-1)).sum(1)
                loss = functional.cross_entropy(net["head"](hidden), batch["labels"])
            else:
                loss = functional.cross_entropy(net["plain"](batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        for _ in run.epochs(2):
            for batch in loader:
                first = first or batch
                if run.step_number == stop:
                    return None
                train_step(batch)
        return run.finish(), first
    finally:
        run.close()


def stack(rows):
    """Stack by hand, as many scripts do."""
    return torch.stack([row[0] for row in rows]), torch.tensor([int(row[1]) for row in rows])


class Stacker:
    """The same as an object."""

    def __call__(self, rows):
        return stack(rows)


@pytest.mark.parametrize("collate", [stack, Stacker(), functools.partial(stack), default_collate])
def test_stacking_by_hand_records_what_the_default_records(collate, tmp_path):
    """As an argument or of a `DataLoader`: the same data, the same batches, the same run."""
    plain, _ = record(tmp_path / "plain", lambda run: run.loader(DATA, batch_size=6))
    given, _ = record(tmp_path / "given", lambda run: run.loader(DATA, batch_size=6, collate_fn=collate))
    loader = DataLoader(DATA, batch_size=6, shuffle=True, collate_fn=collate)
    taken, _ = record(tmp_path / "taken", lambda run: run.loader(loader))
    assert plain == given == taken


def test_texts_that_a_collate_function_tokenizes(tmp_path):
    """Each text is committed as its numbers, padded by name; resumed and replayed without the function (DAT-15)."""
    loader = DataLoader(Texts(), batch_size=6, shuffle=True, collate_fn=tokenize)
    closing, first = record(tmp_path / "run", lambda run: run.loader(loader, pad=0))
    assert type(first) is dict
    assert sorted(first) == ["ids", "labels", "mask"]
    assert replay(tmp_path / "run") == []
    run = RecordedRun(tmp_path / "run")
    assert run.plan.collate == "pad:1:0,0,0"
    run.close()
    record(tmp_path / "resumed", lambda run: run.loader(loader, pad=0), stop=3)
    again, _ = record(tmp_path / "resumed", lambda run: run.loader(loader, pad=0))
    assert again == closing


def test_samples_of_several_lengths_need_a_fill(tmp_path):
    """Without `pad=` the refusal names it; with another fill than the function's the batches differ."""
    with pytest.raises(RaggedData, match=r"run\.loader|shape") as refused:
        record(tmp_path / "none", lambda run: run.loader(Texts(), batch_size=6, collate_fn=tokenize))
    assert "pad=0" in str(refused.value)
    with pytest.raises(LoaderRefused, match="field 'ids' has other values"):
        record(tmp_path / "other", lambda run: run.loader(Texts(), batch_size=6, collate_fn=tokenize, pad={"ids": 7}))


def turn(rows):
    """Turn the batch round."""
    return stack(rows[::-1])


def mix(rows):
    """Mix each sample with its neighbour."""
    inputs, labels = stack(rows)
    return (inputs + inputs.roll(1, 0)) / 2, labels


def centre(rows):
    """Take the mean of the batch from each sample."""
    inputs, labels = stack(rows)
    return inputs - inputs.mean(0), labels


def sort(rows):
    """Sort by the first number, longest first, as for packed sequences."""
    return stack(sorted(rows, key=lambda row: -float(row[0][0])))


def widen(rows):
    """Return another element type for several samples than for one."""
    inputs, labels = stack(rows)
    return inputs.double() if len(rows) > 1 else inputs, labels


def pad_left(rows):
    """Pad at the beginning."""
    padded = pad_sequence([torch.ones(1 + int(row[1])) for row in rows], batch_first=True, padding_side="left")
    return padded, torch.tensor([int(row[1]) for row in rows])


@pytest.mark.parametrize("collate", [turn, mix, centre, sort, widen])
@pytest.mark.parametrize("taken", [True, False])
def test_what_looks_at_the_neighbours_is_refused(collate, taken, tmp_path):
    """With file and line of the function, the batch, the field and the cure; nothing is recorded."""

    def make(run):
        if taken:
            return run.loader(DataLoader(DATA, batch_size=6, shuffle=True, collate_fn=collate))
        return run.loader(DATA, batch_size=6, collate_fn=collate)

    with pytest.raises(LoaderRefused, match=r"field '#0'|batch") as refused:
        record(tmp_path / "run", make)
    assert f"{__file__}:{collate.__code__.co_firstlineno}: the collate function does more" in refused.value.message
    assert "in the step" in refused.value.next_step
    assert not (tmp_path / "run" / "plan.bin").exists()


def test_padding_at_the_beginning_is_refused(tmp_path):
    """Only padding at the end has a name."""
    with pytest.raises(LoaderRefused, match="has other values"):
        record(tmp_path / "run", lambda run: run.loader(DATA, batch_size=6, collate_fn=pad_left, pad=0))


def draw(rows):
    """Add noise."""
    inputs, labels = stack(rows)
    return inputs + torch.rand_like(inputs), labels


def test_a_random_function_is_refused(tmp_path):
    """Its samples are other ones on the second reading (DAT-9)."""
    with pytest.raises(RandomTransform):
        record(tmp_path / "run", lambda run: run.loader(DATA, batch_size=6, collate_fn=draw))


FORMS = {
    "a number": lambda rows: (stack(rows)[0], len(rows)),
    "no dimension of samples": lambda rows: (stack(rows)[0], torch.tensor(3.0)),
    "joined, not stacked": lambda rows: (torch.cat([row[0] for row in rows]), stack(rows)[1]),
    "a list of texts": lambda rows: ([str(row[1]) for row in rows], stack(rows)[0]),
    "nothing": lambda rows: None,
    "fails on one": lambda rows: torch.stack([rows[0][0], rows[1][0]]),
}


@pytest.mark.parametrize("collate", FORMS.values(), ids=FORMS)
def test_other_forms_are_refused(collate, tmp_path):
    """What is no batch of one of one sample: with the line of the function, what was found, and the cure."""
    with pytest.raises(LoaderRefused) as refused:
        record(tmp_path / "run", lambda run: run.loader(DATA, batch_size=6, collate_fn=collate))
    assert refused.value.message.startswith(f"{__file__}:")
    assert refused.value.expected
    assert refused.value.next_step


def test_arrays_and_empty_containers(tmp_path):
    """NumPy arrays are as good as tensors; an empty container has no bytes; what is no function is refused."""
    closing, _ = record(
        tmp_path / "arrays",
        lambda run: run.loader(
            DATA, batch_size=6, collate_fn=lambda rows: [np.stack(one) for one in zip(*rows, strict=True)]
        ),
    )
    plain, _ = record(tmp_path / "plain", lambda run: run.loader(DATA, batch_size=6))
    assert closing == plain
    with pytest.raises(UnsupportedSample):
        record(tmp_path / "empty", lambda run: run.loader(DATA, batch_size=6, collate_fn=lambda rows: {}))
    with pytest.raises(LoaderRefused, match="not a function"):
        record(tmp_path / "text", lambda run: run.loader(DATA, batch_size=6, collate_fn="default"))
    with pytest.raises(LoaderRefused, match="collate_fn is given beside"):
        record(tmp_path / "twice", lambda run: run.loader(DataLoader(DATA, batch_size=6), collate_fn=stack))
