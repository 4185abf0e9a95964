"""`assay.start` and its run: order of calls, files, evaluation, logging, and what the run leaves as it was."""

import gc
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

import assay
from assay.errors import CaptureRefused, StorageError, UsageError
from assay.protocol.evidence.plan import InitialisedStart
from assay.storage.run_directory import RunDirectory
from assay.training.datasets import UnusableDataset
from assay.training.pytorch.evaluation import MetricUnknown
from assay.training.pytorch.home import NotFinite
from assay.training.pytorch.initialiser import StartNotReproduced
from assay.training.pytorch.run_errors import StepInterrupted, WrongOrder
from assay.training.recorded import RecordedRun
from assay.training.signing import read_signature
from tests.training.pytorch.sessions import make_body, make_data, make_net, record, sgd

ROOT = Path(__file__).parents[3]


def prepare(path, *, batch_size=4, **options):
    """A run with all that comes before the loop: run, net, loader and step."""
    net = make_net()
    optimizer = sgd(net)
    run = assay.start(path, **options)
    loader = run.loader(make_data(), batch_size=batch_size)
    return run, net, loader, run.step(models=[net], optimizers=[optimizer])(make_body(net, optimizer))


def recorded(path, steps=2):
    """A run of some steps that is still open, its net and optimizer."""
    net = make_net()
    optimizer = sgd(net)
    return record(path, net, optimizer, make_body(net, optimizer), steps=steps).run, net, optimizer


# -- order of calls and arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("seed", b"short"), ("seed", True), ("seed", 2**256), ("checkpoint_every", 0), ("root_period", True),
     ("threads", 0), ("threads", 1.5)],
)  # fmt: skip
def test_arguments_of_start_are_checked_before_anything_is_made(name, value, tmp_path):
    """A wrong argument leaves no folder."""
    with pytest.raises(UsageError):
        assay.start(tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


def test_calls_out_of_order_are_named(tmp_path):
    """Loader and step come before the loop, each once; finishing needs a run that has begun."""
    with assay.start(tmp_path / "run") as run:
        with pytest.raises(WrongOrder):
            next(run.epochs(1))
        with pytest.raises(WrongOrder):
            run.finish()
        with pytest.raises(UsageError):
            run.loader(make_data(), batch_size=0)
        with pytest.raises(UsageError, match="no batch"):
            run.loader(make_data(3), batch_size=4, drop_last=True)
        loader = run.loader(make_data(), batch_size=4)
        with pytest.raises(WrongOrder, match="no step"):
            next(iter(loader))
        with pytest.raises(WrongOrder):
            run.loader(make_data(), batch_size=4)
        net = make_net()
        with pytest.raises(UsageError):
            run.step(models=[net], optimizers=[])
        optimizer = sgd(net)
        step = run.step(models=[net], optimizers=[optimizer])(make_body(net, optimizer))
        step(next(iter(loader)))
        with pytest.raises(WrongOrder, match="after the loop began"):
            run.step(models=[net], optimizers=[sgd(net)])


def test_a_batch_without_a_step_is_named(tmp_path):
    """A batch that is skipped, or used twice, is an error: every batch is one step."""
    run, _, loader, _ = prepare(tmp_path / "skipped")
    with run:
        batches = iter(loader)
        next(batches)
        with pytest.raises(UsageError, match="not used by exactly one step"):
            next(batches)
    run, _, loader, step = prepare(tmp_path / "twice")
    with run:
        batch = next(iter(loader))
        step(batch)
        with pytest.raises(UsageError, match="no batch of its own"):
            step(batch)


def test_a_loader_yields_the_rest_of_its_epoch(tmp_path):
    """A loop that was left goes on where it was; an epoch has all its batches, each sample once."""
    run, _, loader, step = prepare(tmp_path / "run")
    rows = []
    with run:
        for batch in loader:
            rows.append(batch[0])
            step(batch)
            break
        for batch in loader:
            rows.append(batch[0])
            step(batch)
        assert len(rows) == len(loader) == 6
        found = sorted(map(tuple, torch.cat(rows).tolist()))
        assert found == sorted(map(tuple, make_data().tensors[0].tolist()))


def test_the_step_keeps_name_and_structure_of_its_results(tmp_path):
    """The decorated function returns what the body returns: dictionaries, tuples and tensors, detached."""
    net = make_net()
    optimizer = sgd(net)

    def train_step(batch):
        """Train."""
        y = net(batch[0])
        loss = functional.cross_entropy(y, batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return {"loss": loss, "more": (y.argmax(1) == batch[1], [y.detach()])}

    with assay.start(tmp_path / "run") as run:
        loader = run.loader(make_data(), batch_size=4)
        step = run.step(models=[net], optimizers=[optimizer])(train_step)
        assert (step.__name__, step.__doc__) == ("train_step", "Train.")
        for batch, _ in zip(loader, range(4), strict=False):
            result = step(batch)
            assert list(result) == ["loss", "more"]
            assert result["more"][0].dtype == torch.bool
            assert torch.equal(result["more"][0], result["more"][1][0].argmax(1) == batch[1])
            assert not result["loss"].requires_grad


# -- the folder --------------------------------------------------------------------------------------------------------


def test_one_run_has_one_recorder(tmp_path):
    """A second start is refused while the run is open, in this process and in another; afterwards it goes on."""
    run, _, _ = recorded(tmp_path / "run")
    with pytest.raises(StorageError) as caught:
        assay.start(tmp_path / "run")
    assert caught.value.next_step
    path = str(tmp_path / "run")
    code = f"import assay\ntry:\n    assay.start({path!r})\nexcept assay.AssayError as e: print(e.code)"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert other.stdout.strip() == type(caught.value).code
    run.close()
    again, _, _ = recorded(tmp_path / "run")
    assert again.finish().steps == 2


def test_a_run_that_nobody_has_gives_its_lock_back(tmp_path):
    """A run that went out of scope without `close` keeps its rows and can be opened again."""

    def begin():
        recorded(tmp_path / "run", steps=3)

    begin()
    gc.collect()
    with RunDirectory.open(tmp_path / "run") as left:
        assert left.rows == 2
    again, _, _ = recorded(tmp_path / "run", steps=3)
    assert again.finish().steps == 3


def test_a_finished_run_has_signature_and_reason(tmp_path):
    """The closing record holds steps and reason, and the recorder's signature holds for it."""
    run, _, _ = recorded(tmp_path / "run")
    closing = run.finish()
    assert (closing.steps, closing.reason) == (2, "early-stop")
    finished = RecordedRun(tmp_path / "run")
    assert finished.closing == closing
    assert len(read_signature(finished.directory, closing).public_key) == 32
    finished.close()


@pytest.mark.parametrize("place", ["run", "parent"])
def test_a_folder_that_cannot_be_written_is_a_storage_error(place, tmp_path):
    """A file where the run or its parent should be: the error says what was found; nothing is replaced."""
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" if place == "run" else tmp_path / "file" / "run"
    with pytest.raises((StorageError, UsageError)) as caught:
        assay.start(path)
    assert str(path) in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_stops_before_the_data_are_written(tmp_path, monkeypatch):
    """Too little space for data or checkpoints is an error before the first step, and the run can be opened again."""
    usage = os.statvfs(tmp_path)
    monkeypatch.setattr("os.statvfs", lambda _: os.statvfs_result((*usage[:3], 0, 0, *usage[5:])))
    with pytest.raises(StorageError) as caught:
        recorded(tmp_path / "run")
    assert caught.value.next_step
    monkeypatch.undo()
    run, _, _ = recorded(tmp_path / "run")
    assert run.finish().steps == 2


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_a_nan_stops_the_run_and_keeps_it(tmp_path):
    """The error names the step; earlier rows stay, the step cannot be tried again, and the run cannot be finished."""
    net = make_net()
    optimizer = sgd(net)

    def loss(net, batch):
        return functional.cross_entropy(net(batch[0]), batch[1]) * torch.where(net.scale > 2, torch.nan, 1.0)

    net.register_buffer("scale", torch.zeros(()))

    def body(batch):
        net.scale += 1
        value = loss(net, batch)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value

    run = assay.start(tmp_path / "run")
    loader = run.loader(make_data(), batch_size=4)
    step = run.step(models=[net], optimizers=[optimizer])(body)
    with run:
        for batch in loader:
            if run.step_number == 2:
                with pytest.raises(NotFinite, match="step 3 "):
                    step(batch)
                with pytest.raises(StepInterrupted):
                    step(batch)
                with pytest.raises(StepInterrupted):
                    run.finish()
                break
            step(batch)
    left = RecordedRun(tmp_path / "run")
    assert (left.is_finished, left.steps) == (False, 2)
    left.close()


def test_an_infinite_parameter_stops_the_run_at_a_checkpoint(tmp_path):
    """Where the loss does not show it, the state is looked at before it is stored; the tensor is named."""
    net = make_net()
    net.unused = nn.Parameter(torch.ones(2))
    optimizer = sgd(net)

    def body(batch):
        value = functional.cross_entropy(net(batch[0]), batch[1])
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            net.unused.mul_(1e30)
        return value

    with pytest.raises(NotFinite, match=r"0/unused is not finite after step 2"):
        record(tmp_path / "run", net, optimizer, body, checkpoint_every=2)


def test_ctrl_c_inside_a_step_does_not_make_two_steps_of_one(tmp_path):
    """After an interrupt in the middle of a step neither step nor finish go on with a state of no step."""
    run, _, loader, step = prepare(tmp_path / "run")

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with run:
        for batch in loader:
            if run.step_number == 2:
                run._live.runners[0].reader.advance = interrupt  # after the executor, before the row
                with pytest.raises(KeyboardInterrupt):
                    step(batch)
                with pytest.raises(StepInterrupted, match="step 3 "):
                    step(batch)
                with pytest.raises(StepInterrupted):
                    run.finish()
                break
            step(batch)


# -- the start ---------------------------------------------------------------------------------------------------------


def test_a_start_under_init_is_a_program(tmp_path):
    """Models made in the block have an initialised start; the generator of torch has no part in it."""
    roots = []
    for number in range(2):
        torch.manual_seed(number)
        with assay.start(tmp_path / str(number), seed=5) as run:
            with run.init():
                net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
            optimizer = sgd(net)
            loader = run.loader(make_data(), batch_size=4)
            step = run.step(models=[net], optimizers=[optimizer])(make_body(net, optimizer))
            step(next(iter(loader)))
            closing = run.finish()
        roots.append(closing.final_state)
        finished = RecordedRun(tmp_path / str(number))
        assert isinstance(finished.plan.start, InitialisedStart)
        finished.close()
    assert roots[0] == roots[1]


@pytest.mark.parametrize("change", ["outside", "changed", "twice"])
def test_a_start_that_the_program_does_not_make_is_refused(change, tmp_path):
    """Models made outside the block or changed after it, and a second block, are errors with the cure."""
    with assay.start(tmp_path / "run") as run:
        net = nn.Linear(4, 3)
        with run.init():
            if change != "outside":
                net = nn.Linear(4, 3)
        if change == "changed":
            with torch.no_grad():
                net.weight.mul_(2)
        if change == "twice":
            with pytest.raises(UsageError, match="twice"), run.init():
                pass
            return
        loader = run.loader(make_data(), batch_size=4)
        run.step(models=[net], optimizers=[sgd(net)])(lambda batch: batch)
        kind = {"outside": CaptureRefused, "changed": StartNotReproduced}[change]
        with pytest.raises(kind) as caught:
            next(iter(loader))
        assert "init" in str(caught.value)


# -- evaluation and logging --------------------------------------------------------------------------------------------


def test_evaluate_measures_and_leaves_everything_as_it_was(tmp_path):
    """The accuracy is that of plain PyTorch; training flags, state and the run's next step are not touched."""
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    optimizer = sgd(net)
    net[2].eval()
    found = record(tmp_path / "run", net, optimizer, make_body(net, optimizer), steps=3)
    flags = [module.training for module in net.modules()]
    before = [value.clone() for value in net.state_dict().values()]
    test = make_data(11, seed=9)
    measured = found.run.evaluate(net, test, metrics=["cross_entropy", "accuracy", "accuracy"], batch_size=4)
    assert flags == [module.training for module in net.modules()]
    assert all(map(torch.equal, before, net.state_dict().values()))
    net.eval()
    with torch.no_grad():
        outputs = net(test.tensors[0])
    net.train()
    net[2].eval()
    assert measured["accuracy"] == (outputs.argmax(1) == test.tensors[1]).double().mean().item()
    assert measured["cross_entropy"] == pytest.approx(functional.cross_entropy(outputs, test.tensors[1]).item())
    closing = found.run.finish()
    assert [(e.step, e.batch_size, len(e.metrics)) for e in closing.evaluations] == [(3, 4, 2)]


class Odd(Dataset):
    """A test set of samples that are given."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def test_evaluate_refuses_what_it_cannot_measure(tmp_path):
    """Unknown metrics, empty sets, sets without a target, strangers' models: each an error, and nothing is recorded."""
    run, net, _ = recorded(tmp_path / "run")
    for metrics in (["roc"], []):
        with pytest.raises(MetricUnknown):
            run.evaluate(net, make_data(5), metrics=metrics)
    with pytest.raises(UnusableDataset):
        run.evaluate(net, Odd([]), metrics=["accuracy"])
    with pytest.raises(UsageError):
        run.evaluate(net, TensorDataset(torch.ones(3, 4)), metrics=["accuracy"])
    with pytest.raises(UsageError):
        run.evaluate(net, make_data(5), metrics=["accuracy"], batch_size=0)
    with pytest.raises(CaptureRefused, match="not part of the run's state"):
        run.evaluate(make_net(), make_data(5), metrics=["accuracy"])
    assert run.finish().evaluations == ()


def test_log_is_kept_beside_the_steps(tmp_path):
    """Logged values stand in the run with their step."""
    run, _, _ = recorded(tmp_path / "run")
    run.log(val=0.5, note="fine")
    run.finish()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"step": 2, "val": 0.5, "note": "fine"} in lines


# -- around the run ----------------------------------------------------------------------------------------------------


def test_saved_weights_have_their_usual_size(tmp_path):
    """`torch.save(net.state_dict())` writes the tensors and no arena around them."""
    data = io.BytesIO()
    torch.save(make_net().state_dict(), data)
    usual = len(data.getvalue())
    run, net, _ = recorded(tmp_path / "run", steps=3)
    data = io.BytesIO()
    torch.save(net.state_dict(), data)
    run.close()
    assert len(data.getvalue()) == usual


def test_the_allocator_can_be_left_alone(tmp_path, monkeypatch):
    """With ASSAY_NO_MALLOPT=1 the same is recorded: bits do not depend on it."""
    run, _, _ = recorded(tmp_path / "usual")
    monkeypatch.setenv("ASSAY_NO_MALLOPT", "1")
    other, _, _ = recorded(tmp_path / "alone")
    assert run.finish().transcript == other.finish().transcript


def test_the_data_set_may_change_after_it_was_committed(tmp_path):
    """The run feeds what it committed to; the user's own tensors are not read again."""
    data = make_data()
    net = make_net()
    optimizer = sgd(net)
    expected = record(tmp_path / "one", net, optimizer, make_body(net, optimizer), data=make_data()).run.finish()
    other = make_net()
    optimizer = sgd(other)

    def spoil(_step):
        data.tensors[0].fill_(np.inf)

    body = make_body(other, optimizer)
    actual = record(tmp_path / "two", other, optimizer, body, data=data, before=spoil).run.finish()
    assert actual.transcript == expected.transcript


def test_a_run_closed_after_a_checkpoint_goes_on_from_it(tmp_path):
    """The row of the last step is on the disk: the step behind the checkpoint is there to be done again."""

    def record_to(steps):
        net = make_net()
        optimizer = sgd(net)
        return record(tmp_path / "run", net, optimizer, make_body(net, optimizer), steps=steps, checkpoint_every=4)

    record_to(5).run.close()
    left = RecordedRun(tmp_path / "run")
    assert left.steps == 5
    left.close()
    resumed = record_to(7)
    assert len(resumed.losses) == 3  # steps 5 to 7
    resumed.run.close()
