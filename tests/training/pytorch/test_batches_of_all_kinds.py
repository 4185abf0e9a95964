"""Batches as people have them: dictionaries, nested, padded to several shapes; early stop; data larger than memory."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

import assay
from assay.errors import UsageError
from assay.training import datasets
from assay.training.feed import PaddingUnfit
from assay.training.pytorch.backend import TorchBackend
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer
from tests.training.pytorch.sessions import make_data, make_net, sgd


class Sentences:
    """Rows of 2 to 9 words, a tag for each, in nested containers."""

    def __init__(self, count=22):
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(2, 10, (count,), generator=generator).tolist()
        self.words = [torch.randint(1, 20, (n,), generator=generator) for n in lengths]

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        words = self.words[index]
        return {"words": words, "more": {"tags": words % 3, "weight": [1.0 + index % 2]}}


class Tagger(nn.Module):
    """Tags each word."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 6, padding_idx=0), nn.Linear(6, 3)

    def forward(self, words):
        return self.head(self.embedding(words))


def replay(path):
    """Replay a run from its start and every stored state; return the steps that differ."""
    run = RecordedRun(path)
    replayer = Replayer(run, TorchBackend(run.start.aliases))
    found = []
    for base, end in pairwise(sorted({0, *run.directory.checkpoints.list_steps(), run.steps})):
        replayer.load(base)
        difference = replayer.replay(base, end)
        found += [difference.step] if difference else []
    run.close()
    return found


def record_tags(path, *, epochs=2, stop=None, **options):
    """Record a tagger over sentences; return the shapes of the batches and the closing record."""
    run = assay.start(path, seed=1)
    with run.init():
        net = Tagger()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = run.loader(Sentences(), batch_size=4, **options)
    shapes = []

    @run.step(models=[net], optimizers=[optimizer])
    def step(batch):
        logits = net(batch["words"]).flatten(0, 1)
        loss = functional.cross_entropy(logits, batch["more"]["tags"].flatten(), ignore_index=-100)
        loss = loss * batch["more"]["weight"][0].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return {"loss": loss, "count": (batch["words"] > 0).sum()}

    for _ in run.epochs(epochs):
        for batch in loader:
            if stop is not None and run.step_number == stop:
                return shapes, run.finish()
            tags, words = batch["more"]["tags"], batch["words"]
            assert torch.equal(tags[words > 0], words[words > 0] % 3)
            assert (tags[words == 0] == -100).all()
            shapes.append(tuple(words.shape))
            assert step(batch)["count"] == (words > 0).sum()
    return shapes, run.finish()


def test_padded_dictionaries_are_recorded_and_replayed(tmp_path):
    """Samples of different lengths are padded to multiples of four with a fill of each field's own (DAT-15)."""
    shapes, closing = record_tags(tmp_path / "run", pad={"more/tags": -100}, pad_to=4)
    assert {length for _, length in shapes} <= {4, 8, 12}
    assert len({length for _, length in shapes}) > 1
    assert closing.steps == 12
    run = RecordedRun(tmp_path / "run")
    assert run.plan.collate == "pad:4:-100,0,0"
    run.close()
    assert replay(tmp_path / "run") == []


def test_a_run_that_stops_early_says_so(tmp_path):
    """The closing record names the reason, and what was recorded replays."""
    _, closing = record_tags(tmp_path / "run", pad={"more/tags": -100}, stop=5)
    assert (closing.reason, closing.steps) == ("early-stop", 5)
    assert replay(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({}, UsageError, "different shapes"),
        ({"pad": {"no": 1}}, UsageError, "'no'"),
        ({"pad": 0.5}, UsageError, "0.5"),
        ({"pad": 0, "pad_to": 0}, UsageError, "pad_to"),
        ({"pad": {"words": 2**70}}, PaddingUnfit, "words"),
    ],
)
def test_unfit_padding_is_refused(options, kind, words, tmp_path):
    """The message names what does not fit, and what would."""
    with assay.start(tmp_path / "run") as run, pytest.raises(kind, match=words):
        run.loader(Sentences(), batch_size=4, **options)


def test_large_fields_are_collected_outside_memory(tmp_path, monkeypatch):
    """Fields beyond the bound lie in a file while they are read; the commitment is the same."""

    class Rows:
        def __len__(self):
            return 30

        def __getitem__(self, index):
            return torch.full((4,), float(index)), index % 3

    roots = []
    for bound in (2**28, 64):
        monkeypatch.setattr(datasets, "MAX_IN_MEMORY", bound)
        with assay.start(tmp_path / str(bound)) as run:
            roots.append(run.loader(Rows(), batch_size=4).data.record.leaves.root)
    assert roots[0] == roots[1]


def test_nested_lists_come_as_default_collate_gives_them(tmp_path):
    """A plain tuple of two tensors is the usual pair."""
    with assay.start(tmp_path / "run", seed=1) as run:
        net = make_net()
        optimizer = sgd(net)
        loader = run.loader(make_data(8), batch_size=4)

        @run.step(models=[net], optimizers=[optimizer])
        def step(inputs, labels):
            loss = functional.cross_entropy(net(inputs), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        losses = [step(*batch).item() for _ in run.epochs(2) for batch in loader]
    assert len(losses) == 4
