"""`run.edit`: recorded, resumed to the same root from anywhere, replayed, and refused where it cannot be declared."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import assay
from assay.errors import MalformedEvidence
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.edits import EditRefused
from assay.training.pytorch.home import NotFinite, StateChanged
from assay.training.pytorch.run_errors import StepInterrupted, WrongOrder
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer

REASONS = ["before the loop", "halve the head", "forget momentum"]


class Session:
    """A small network with Adam and dropout in a run of 12 steps, a checkpoint after every fourth."""

    def __init__(self, path):
        generator = torch.Generator().manual_seed(1)
        inputs, targets = torch.randn(48, 6, generator=generator), torch.randint(0, 3, (48,), generator=generator)
        self.data = TensorDataset(inputs, targets)
        self.run = assay.start(path, seed=1, checkpoint_every=4)
        with self.run.init():
            self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01)
        self.loader = self.run.loader(self.data, batch_size=12)

        @self.run.step(models=[self.net], optimizers=[self.optimizer])
        def train_step(batch):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            return loss

        self.train_step = train_step

    def take_steps(self, count):
        """Take the next steps of one epoch."""
        for number, batch in enumerate(self.loader):
            self.train_step(batch)
            if number + 1 == count:
                return

    def train(self, kill_at=0):
        """Train to the end with three edits: before the loop, behind a checkpointed step, and in between."""
        with self.run.edit(REASONS[0]), torch.no_grad():
            self.net[0].weight.mul_(0.5)
        for _ in self.run.epochs(3):
            self.net.train()
            for batch in self.loader:
                self.train_step(batch)
                if self.run.step_number == 4:
                    with self.run.edit(REASONS[1]), torch.no_grad():
                        self.net[3].weight.mul_(0.5)
                        self.net[3].bias.data = self.net[3].bias.data + 1
                if self.run.step_number == 6:
                    with self.run.edit(REASONS[2]):
                        self.optimizer.state[self.net[3].bias]["exp_avg"].zero_()
                if self.run.step_number == kill_at:
                    self.run.sync()
                    os.kill(os.getpid(), signal.SIGKILL)
        return self.run.finish()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run with three edits that was never interrupted."""
    path = tmp_path_factory.mktemp("edits") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("home")))
        Session(path).train()
    return path


def read_transcript(path):
    """Return the transcript root of a finished run."""
    return RecordedRun(path).closing.transcript.root


def test_edits_are_events_of_the_run(whole):
    """Step, reason, tensors and norm are kept; state roots are those before an edit, and the next leaf holds it."""
    run = RecordedRun(whole)
    assert [(one.event.step, one.event.reason) for one in run.events] == list(zip([0, 4, 6], REASONS, strict=True))
    assert [[record.name for record in one.records] for one in run.events] == [
        ["0/0.weight"],
        ["0/3.bias", "0/3.weight"],
        ["0/0/3.bias/exp_avg"],
    ]
    assert [bool(row.parts.events) for row in run.rows] == [step in {1, 5, 7} for step in range(1, 13)]
    assert run.closing.events.size == 3
    assert run.get_claimed_root(4) == run.directory.checkpoints.read_manifest(4).state_root


def test_replay_applies_them(whole):
    """From the start and from every stored state, all leaves are found again (TRN-11)."""
    run = RecordedRun(whole)
    replayer = Replayer(run, TorchBackend(run.start.aliases))
    for base in (0, 4, 8):
        replayer.load(base)
        assert replayer.replay(base, 12) is None


@pytest.mark.parametrize("kill_at", [2, 4, 5, 6, 7, 8, 9])
def test_a_killed_run_comes_to_the_same_root(whole, tmp_path, kill_at):
    """Killed anywhere, before, behind and between edits, and resumed by the same script: the same transcript."""
    path = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, "-m", "tests.training.pytorch.test_edits", path, str(kill_at)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    Session(path).train()
    assert read_transcript(path) == read_transcript(whole)
    assert RecordedRun(path).events == RecordedRun(whole).events


def test_an_edit_of_nothing_is_none(tmp_path):
    """A block that leaves all bytes as they were declares nothing."""
    session = Session(tmp_path / "run")
    session.take_steps(1)
    with session.run.edit("look only"):
        session.net[0].weight.sum()
    session.take_steps(1)
    assert session.run.finish().events.size == 0


def test_what_cannot_be_declared_is_refused(tmp_path):
    """A second edit after a step, no reason, an edit at the end, an evaluation of an edited state."""
    session = Session(tmp_path / "run")
    session.take_steps(1)
    for reason in ("", "two\nlines", "grün", "x" * 1025):
        with pytest.raises(EditRefused), session.run.edit(reason):
            pass
    with session.run.edit("once"), torch.no_grad():
        session.net[0].bias.add_(1)
    with pytest.raises(EditRefused, match="edited after step 1 already"), session.run.edit("twice"):
        pass
    with pytest.raises(WrongOrder, match=r"run\.evaluate after an edit"):
        session.run.evaluate(session.net, session.data, metrics=["accuracy"])
    with pytest.raises(WrongOrder, match=r"run\.finish after an edit"):
        session.run.finish()
    session.take_steps(1)
    assert session.run.finish().events.size == 1


@pytest.mark.parametrize("change", [
    lambda net, optimizer: optimizer.state.clear(),
    lambda net, optimizer: net.register_buffer("extra", torch.zeros(1)),
    lambda net, optimizer: setattr(net[0].bias, "data", torch.zeros(9)),
])  # fmt: skip
def test_other_tensors_are_refused(tmp_path, change):
    """What appears, vanishes or has another shape is no edit; the run goes on from its last checkpoint."""
    session = Session(tmp_path / "run")
    session.take_steps(2)
    with pytest.raises((EditRefused, assay.AssayError)), session.run.edit("rebuild"):
        change(session.net, session.optimizer)
    with pytest.raises(StepInterrupted):
        session.take_steps(1)


def test_not_a_number_is_refused(tmp_path):
    """An edit may not leave what no step may leave."""
    session = Session(tmp_path / "run")
    session.take_steps(1)
    with pytest.raises(NotFinite), session.run.edit("break"), torch.no_grad():
        session.net[0].bias.fill_(float("nan"))


def test_a_step_inside_an_edit_is_refused(tmp_path):
    """An edit happens between two steps."""
    session = Session(tmp_path / "run")
    session.take_steps(1)
    with pytest.raises(StepInterrupted), session.run.edit("train inside"):
        session.take_steps(1)


def test_an_undeclared_change_is_still_an_error(tmp_path):
    """The cure that the error names is the edit."""
    session = Session(tmp_path / "run")
    session.take_steps(1)
    with torch.no_grad():
        session.net[0].bias.add_(1)
    with pytest.raises(StateChanged) as refused:
        session.take_steps(1)
    assert "run.edit" in refused.value.next_step


def test_damaged_events_are_seen(whole, tmp_path):
    """A changed list of events is refused when the run is opened or its rows are read."""
    path = tmp_path / "copy"
    shutil.copytree(whole, path)
    data = bytearray((path / "events.bin").read_bytes())
    data[-5] ^= 1
    (path / "events.bin").write_bytes(bytes(data))
    with pytest.raises((MalformedEvidence, assay.AssayError)):
        _ = RecordedRun(path).rows


if __name__ == "__main__":
    Session(sys.argv[1]).train(int(sys.argv[2]))
