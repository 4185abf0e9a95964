"""Letting go of a run: what a resumed run does differently is said once, however the run is closed."""

import pytest
import torch
from torch.utils.data import TensorDataset

import assay
from assay.storage.run_directory import RunDirectory
from assay.training.recorder import ResumeDiffers


def record(path, *, rate=0.1, steps, ends=("with",)):
    """Take some steps, and let go of the run in the named ways."""
    torch.manual_seed(0)
    with assay.start(path, checkpoint_every=2) as run:
        net = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(net.parameters(), lr=rate)
        loader = run.loader(TensorDataset(torch.ones(16, 3)), batch_size=2, shuffle=False)

        @run.step(models=[net], optimizers=[optimizer])
        def step(batch):
            loss = net(batch[0]).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        for _ in run.epochs(1):
            for batch in loader:
                optimizer.param_groups[0]["lr"] = rate
                step(batch)
                if run.step_number == steps:
                    break
        try:
            if "close" in ends:
                run.close()
        finally:
            if "twice" in ends:
                run.close()


def list_chain(error):
    """Return an exception and those that were being handled when it was raised."""
    found = []
    while error is not None:
        found.append(error)
        error = error.__context__
    return [type(one) for one in found]


@pytest.mark.parametrize("ends", [("with",), ("close",), ("close", "twice")])
@pytest.mark.parametrize("steps", [5, 8])
def test_what_differs_is_said_once(ends, steps, tmp_path):
    """By the step behind it or by the first close, and by no later one; no row is written and the run is let go of."""
    record(tmp_path / "run", steps=5)
    with RunDirectory.open(tmp_path / "run") as run:
        before = [parts.leaf for parts in run.iterate_rows()]
    with pytest.raises(ResumeDiffers, match="at step 5") as caught:
        record(tmp_path / "run", rate=0.2, steps=steps, ends=ends)
    assert list_chain(caught.value) == [ResumeDiffers]
    with RunDirectory.open(tmp_path / "run") as run:
        assert [parts.leaf for parts in run.iterate_rows()] == before


def test_a_run_is_closed_as_often_as_one_likes(tmp_path):
    """Only the first close does anything; the same script goes on."""
    record(tmp_path / "run", steps=3, ends=("close", "twice"))
    record(tmp_path / "run", steps=5, ends=("close",))
    with RunDirectory.open(tmp_path / "run") as run:
        assert run.rows == 5
