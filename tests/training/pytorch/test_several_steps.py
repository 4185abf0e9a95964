"""Several recorded steps in one run: phases of training, each with its own models and optimizers."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import assay
from assay.errors import UsageError
from assay.training.pytorch.run_errors import WrongOrder
from assay.training.recorded import RecordedRun
from tests.training.pytorch.sessions import make_data
from tests.training.pytorch.test_batches_of_all_kinds import replay

WARM = 2
"""Epochs of the first phase."""


class Phases:
    """An encoder that first learns to reconstruct, then to classify with a frozen start of Adam's slots."""

    def __init__(self):
        torch.manual_seed(0)
        self.encoder, self.decoder, self.head = nn.Linear(4, 3), nn.Linear(3, 4), nn.Linear(3, 3)
        self.first = torch.optim.SGD([*self.encoder.parameters(), *self.decoder.parameters()], lr=0.1, momentum=0.9)
        self.second = torch.optim.Adam([*self.encoder.parameters(), *self.head.parameters()], lr=0.01)

    def reconstruct(self, batch):
        """First phase."""
        loss = functional.mse_loss(self.decoder(self.encoder(batch[0]).tanh()), batch[0])
        loss.backward()
        self.first.step()
        self.first.zero_grad()
        return loss

    def classify(self, batch):
        """Second phase."""
        loss = functional.cross_entropy(self.head(self.encoder(batch[0]).tanh()), batch[1])
        loss.backward()
        self.second.step()
        self.second.zero_grad()
        return loss

    def get_weights(self):
        """All of them."""
        return [*self.encoder.parameters(), *self.decoder.parameters(), *self.head.parameters()]


def record(path, *, stop=None, alternate=False, epochs=4):
    """Record both phases, or go on; with `alternate`, the steps take turns from batch to batch."""
    made = Phases()
    run = assay.start(path, seed=1, checkpoint_every=4)
    loader = run.loader(make_data(), batch_size=4)
    steps = (
        run.step(models=[made.encoder, made.decoder], optimizers=[made.first])(made.reconstruct),
        run.step(models=[made.encoder, made.head], optimizers=[made.second])(made.classify),
    )
    losses, used = [], []
    for epoch in run.epochs(epochs):
        for batch in loader:
            if run.step_number == stop:
                run.close()
                return made, losses, used
            phase = run.step_number % 2 if alternate else int(epoch >= WARM)
            used.append((phase, [tensor.clone() for tensor in batch]))
            losses.append(steps[phase](batch).item())
    run.finish()
    return made, losses, used


@pytest.mark.parametrize("alternate", [False, True])
def test_phases_have_the_bits_of_eager_and_replay(alternate, tmp_path):
    """One after the other, or in turns: eager's losses and weights; each leaf names the program of its phase."""
    made, losses, used = record(tmp_path / "run", alternate=alternate)
    plain = Phases()
    assert losses == [(plain.classify if phase else plain.reconstruct)(batch).item() for phase, batch in used]
    assert all(map(torch.equal, made.get_weights(), plain.get_weights()))
    assert replay(tmp_path / "run") == []
    run = RecordedRun(tmp_path / "run")
    assert len(run.closing.programs) >= 2 * 2  # both phases, each with its last, smaller batch
    run.close()


@pytest.mark.parametrize("stop", [5, 14])
def test_a_run_goes_on_in_either_phase(stop, tmp_path):
    """Stopped in the first or in the second phase and resumed: the weights of the run that was not."""
    record(tmp_path / "run", stop=stop)
    resumed, _, _ = record(tmp_path / "run")
    whole, _, _ = record(tmp_path / "whole")
    assert all(map(torch.equal, resumed.get_weights(), whole.get_weights()))


def test_two_steps_on_one_batch_are_refused(tmp_path):
    """A batch is one step of the transcript: the message says to call one for each."""
    made = Phases()
    with assay.start(tmp_path / "run", seed=1) as run:
        loader = run.loader(make_data(), batch_size=4)
        one = run.step(models=[made.encoder, made.decoder], optimizers=[made.first])(made.reconstruct)
        other = run.step(models=[made.encoder, made.head], optimizers=[made.second])(made.classify)
        batch = next(iter(loader))
        one(batch)
        with pytest.raises(UsageError, match="step 2 has no batch of its own") as refused:
            other(batch)
    assert "for batch in loader" in refused.value.next_step


def test_steps_accumulate_alike(tmp_path):
    """One loader feeds all steps, so that they cannot differ in what they accumulate."""
    made = Phases()
    with assay.start(tmp_path / "run", seed=1) as run:
        run.loader(make_data(), batch_size=4)
        run.step(models=[made.encoder, made.decoder], optimizers=[made.first], accumulate=2)(made.reconstruct)
        with pytest.raises(WrongOrder, match="different numbers"):
            run.step(models=[made.encoder, made.head], optimizers=[made.second])
        run.step(models=[made.encoder, made.head], optimizers=[made.second], accumulate=2)(made.classify)


def test_steps_accumulate_alike_before_any_body_is_given(tmp_path):
    """The decorators may be made first: the second number is compared with the first, not applied to it."""
    made = Phases()
    with assay.start(tmp_path / "run", seed=1) as run:
        loader = run.loader(make_data(), batch_size=4)
        run.step(models=[made.encoder, made.decoder], optimizers=[made.first], accumulate=2)
        with pytest.raises(WrongOrder, match="different numbers"):
            run.step(models=[made.encoder, made.head], optimizers=[made.second], accumulate=3)
        assert loader.feed.batch_size == 8


def test_an_optimizer_that_rests_does_not_count(tmp_path):
    """Two optimizers share parameters and one body steps either: Adam's bias correction counts its own steps alone."""
    made, plain = Phases(), Phases()
    run = assay.start(tmp_path / "run", seed=1)
    loader = run.loader(make_data(), batch_size=4)
    made.second_turn = False

    @run.step(models=[made.encoder, made.decoder, made.head], optimizers=[made.first, made.second])
    def train_step(batch):
        return made.classify(batch) if made.second_turn else made.reconstruct(batch)

    for _ in run.epochs(3):
        for batch in loader:
            given = [tensor.clone() for tensor in batch]
            made.second_turn = run.step_number % 3 == 1
            expected = plain.classify(given) if made.second_turn else plain.reconstruct(given)
            assert torch.equal(train_step(batch), expected), run.step_number
    run.finish()
    assert all(map(torch.equal, made.get_weights(), plain.get_weights()))
    assert replay(tmp_path / "run") == []
