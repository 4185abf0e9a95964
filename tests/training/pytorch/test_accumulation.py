"""`accumulate=k`: several batches of the loader make one step, which goes through their list."""

import pytest
import torch
from torch.nn import functional

import assay
from assay.errors import UsageError
from assay.training.pytorch.loader import BatchChanged, LengthTold
from assay.training.pytorch.run_errors import WrongOrder
from assay.training.recorded import RecordedRun
from tests.training.pytorch.sessions import make_data, make_net, sgd
from tests.training.pytorch.test_batches_of_all_kinds import replay

COUNT, SIZE, EACH = 22, 4, 3
"""22 samples in batches of 4, three batches a step: an epoch is [4, 4, 4] and [4, 4, 2]."""


def make_accumulating(net, optimizer):
    """Gradients of all batches of a list, then one update."""

    def body(batches):
        total = torch.zeros(())
        for inputs, labels in batches:
            loss = functional.cross_entropy(net(inputs), labels) / len(batches)
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        optimizer.zero_grad()
        return total

    return body


def record(path, *, epochs=3, stop=None, spoil=None, finish=True):
    """Record, or go on; return the model, its losses and what the step was given."""
    net = make_net()
    optimizer = sgd(net)
    run = assay.start(path, seed=1, checkpoint_every=2)
    loader = run.loader(make_data(COUNT), batch_size=SIZE)
    step = run.step(models=[net], optimizers=[optimizer], accumulate=EACH)(make_accumulating(net, optimizer))
    losses, given = [], []
    for _ in run.epochs(epochs):
        for batches in loader:
            if run.step_number == stop:
                run.close()
                return net, losses, given
            given.append([[tensor.clone() for tensor in batch] for batch in batches])
            if spoil is not None:
                spoil(batches)
            losses.append(step(batches).item())
    if finish:
        run.finish()
    return net, losses, given


def test_a_step_has_the_bits_of_eager_and_replays(tmp_path):
    """Lists of three batches, the last one with a smaller batch: eager's losses and weights, and every step again."""
    net, losses, given = record(tmp_path / "run")
    assert [[len(batch[0]) for batch in batches] for batches in given] == [[4, 4, 4], [4, 4, 2]] * 3
    plain = make_net()
    body = make_accumulating(plain, sgd(plain))
    assert losses == [body(batches).item() for batches in given]
    assert all(map(torch.equal, net.state_dict().values(), plain.state_dict().values()))
    assert replay(tmp_path / "run") == []


def test_the_samples_of_an_epoch_are_those_of_single_batches(tmp_path):
    """Accumulation moves the borders of steps, and no sample: each is used once, in the order of the seed."""
    _, _, given = record(tmp_path / "run", epochs=1)
    run = assay.start(tmp_path / "other", seed=1)
    net = make_net()
    loader = run.loader(make_data(COUNT), batch_size=SIZE)
    step = run.step(models=[net], optimizers=[sgd(net)])(make_single(net))
    single = []
    for _ in run.epochs(1):
        for batch in loader:
            single.append(batch[0].clone())
            step(batch)
    run.close()
    assert torch.equal(torch.cat(single), torch.cat([batch[0] for batches in given for batch in batches]))


def make_single(net):
    """A step without an update."""

    def body(batch):
        return functional.cross_entropy(net(batch[0]), batch[1])

    return body


def test_an_interrupted_run_goes_on(tmp_path):
    """Stopped in the middle of an epoch and resumed: the weights of the run that was not."""
    record(tmp_path / "run", stop=3)
    resumed, _, _ = record(tmp_path / "run")
    whole, _, _ = record(tmp_path / "whole")
    assert all(map(torch.equal, resumed.state_dict().values(), whole.state_dict().values()))


def test_a_change_of_one_batch_of_a_list_is_refused(tmp_path):
    """The batches share the memory that was committed: writing into one is seen, and so is another order."""

    def write(batches):
        batches[1][0].add_(1)

    def turn(batches):
        batches.reverse()

    for number, spoil in enumerate((write, turn)):
        with pytest.raises(BatchChanged):
            record(tmp_path / str(number), spoil=spoil, finish=False)


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "2", 4097])
def test_other_counts_are_refused(count, tmp_path):
    """A count is a whole number within bounds."""
    with assay.start(tmp_path / "run") as run:
        run.loader(make_data(), batch_size=4)
        net = make_net()
        with pytest.raises(UsageError, match="accumulate is a number from 1 to 4096"):
            run.step(models=[net], optimizers=[sgd(net)], accumulate=count)


def test_the_loader_comes_first(tmp_path):
    """Without a loader there is nothing to make lists of."""
    with assay.start(tmp_path / "run") as run:
        net = make_net()
        with pytest.raises(WrongOrder, match=r"after run\.loader"):
            run.step(models=[net], optimizers=[sgd(net)], accumulate=2)


def test_the_loader_may_say_it(tmp_path):
    """`run.loader(accumulate=k)` records the same run, and its length is that of the steps from the beginning."""
    record(tmp_path / "by-step")
    net = make_net()
    optimizer = sgd(net)
    run = assay.start(tmp_path / "by-loader", seed=1, checkpoint_every=2)
    loader = run.loader(make_data(COUNT), batch_size=SIZE, accumulate=EACH)
    assert len(loader) == 2
    body = make_accumulating(net, optimizer)
    step = run.step(models=[net], optimizers=[optimizer])(body)
    run.step(models=[net], optimizers=[optimizer], accumulate=EACH)(body)
    run.step(models=[net], optimizers=[optimizer])(body)
    with pytest.raises(WrongOrder, match="different numbers"):
        run.step(models=[net], optimizers=[optimizer], accumulate=EACH + 1)
    for _ in run.epochs(3):
        for batches in loader:
            step(batches)
    closing = run.finish()
    other = RecordedRun(tmp_path / "by-step")
    assert closing == other.closing
    other.close()


def test_a_length_that_was_told_is_not_changed(tmp_path):
    """A schedule may count by `len(loader)`: refused with both numbers and the cure, unless it stays."""
    with assay.start(tmp_path / "run") as run:
        loader = run.loader(make_data(COUNT), batch_size=SIZE)
        assert len(loader) == 6
        net = make_net()
        with pytest.raises(LengthTold, match="was 6 before") as refused:
            run.step(models=[net], optimizers=[sgd(net)], accumulate=EACH)
        assert f"run.loader(..., accumulate={EACH})" in refused.value.next_step
        run.step(models=[net], optimizers=[sgd(net)], accumulate=1)


class Ragged:
    """Samples of one to five numbers."""

    def __len__(self):
        return COUNT

    def __getitem__(self, place):
        return torch.arange(1.0, 2.0 + place % 5), torch.tensor(place % 2)


def test_padded_batches_of_one_step_have_one_length(tmp_path):
    """With `pad=` all batches of a list are padded to the longest of the whole step; recorded, resumed and replayed."""

    def train(path, stop=None):
        torch.manual_seed(0)
        net = torch.nn.Linear(1, 1)
        optimizer = sgd(net)
        run = assay.start(path, seed=1, checkpoint_every=2)
        loader = run.loader(Ragged(), batch_size=SIZE, pad=-1, accumulate=EACH)

        @run.step(models=[net], optimizers=[optimizer])
        def step(batches):
            total = torch.zeros(())
            for values, _ in batches:
                mask = (values > 0).float()
                loss = (net(values.unsqueeze(-1)).squeeze(-1).square() * mask).sum() / 100
                loss.backward()
                total = total + loss.detach()
            optimizer.step()
            optimizer.zero_grad()
            return total

        seen = []
        for _ in run.epochs(2):
            for batches in loader:
                if run.step_number == stop:
                    run.close()
                    return None
                seen.append([tuple(values.shape) for values, _ in batches])
                step(batches)
        return seen, run.finish()

    seen, closing = train(tmp_path / "run")
    assert all(len({shape[1] for shape in shapes}) == 1 for shapes in seen)
    assert {shape[1] for shapes in seen for shape in shapes} <= {4, 5}
    assert replay(tmp_path / "run") == []
    train(tmp_path / "resumed", stop=3)
    assert train(tmp_path / "resumed")[1] == closing
