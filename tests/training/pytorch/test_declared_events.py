"""What changes a training from outside the step without changing a tensor: a metric that moves rates, an early stop."""

import json

import pytest
import torch
from torch.utils.data import TensorDataset

import assay
from assay.cli.__main__ import main
from assay.protocol.encoding import encode
from assay.protocol.evidence.events import Event
from assay.protocol.hashing import ZERO
from assay.storage.run_directory import RunDirectory
from assay.training.events import EventList, ReasonUnfit, StoredEvent
from assay.training.recorded import RecordedRun
from tests.training.pytorch.test_batches_of_all_kinds import replay

METRICS = (1.0, 2.0, 2.0, 0.5, 2.0, 2.0)
"""After each epoch: the rate is lowered after the second epoch in a row that is no better, the third and the sixth."""


def record(path, *, stop=None, why="", until=6, edit=None, intended=True):
    """Train for six epochs of two steps with a scheduler that looks at a metric; leave early or break off if told."""
    torch.manual_seed(0)
    run = assay.start(path, seed=1, checkpoint_every=2)
    with run.init():
        net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    loader = run.loader(TensorDataset(torch.arange(12.0).view(4, 3) / 12), batch_size=2)

    @run.step(models=[net], optimizers=[optimizer])
    def step(batch):
        loss = net(batch[0]).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    if not intended:
        run.begin(0)
    for epoch in run.epochs(6) if intended else range(6):
        for batch in loader:
            step(batch)
        scheduler.step(METRICS[epoch])
        if edit == epoch:
            with run.edit("shrink"), torch.no_grad():
                net.bias.mul_(0.5)
        if epoch + 1 == until:
            run.close()
            return None
        if epoch == stop:
            if why:
                run.early_stop(why)
            break
    return run.finish()


def read(path):
    """Return step, kind and reason of all events."""
    run = RecordedRun(path)
    run.rows  # noqa: B018 - checks the digest of every row
    found = [(one.event.step, one.event.kind, one.event.reason) for one in run.events]
    run.close()
    return found


LOWERED = "ReduceLROnPlateau lowered the rate from 0.1 to 0.05: no better than 1.0 for more than 1 calls"
STOPPED = "held-out loss no better"


def test_a_rate_that_a_metric_lowered_is_declared(tmp_path, home):
    """After the step before it, with old rate, new rate and the metric; what nobody trains with is not (TRN-12)."""
    record(tmp_path / "run", until=None)
    assert read(tmp_path / "run") == [(6, "metric", LOWERED)]
    assert replay(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("why", "said"), [(STOPPED, STOPPED), ("", "the loop ended after step 8 of 12; no reason given")]
)
def test_an_early_stop_is_declared_with_its_reason(why, said, tmp_path, home, capsys):
    """By `break` alone, or with a word before it; the audit matches, certificate and report show it (TRN-12)."""
    path, out = tmp_path / "run", tmp_path / "run.assay.json"
    closing = record(path, stop=3, why=why, until=None)
    assert (closing.reason, closing.steps, closing.events.size) == ("early-stop", 8, 2)
    assert read(path) == [(6, "metric", LOWERED), (8, "early-stop", said)]
    assert main(["run", "audit", str(path), "--out", str(out), "--json"]) == 0
    key = json.loads(capsys.readouterr().out)["report"]["auditor"]
    assert main(["verify", str(out), "--trust", key]) == 0
    assert "2 declared events" in capsys.readouterr().out
    assert main(["run", "show", str(path)]) == 0
    assert f"early-stop after step 8  {said}" in capsys.readouterr().out
    assert main(["run", "report", str(path), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert said in page
    assert LOWERED in page


def test_a_run_of_unknown_length_stops_early_if_it_says_so(tmp_path, home):
    """Without intended steps the end is complete, unless a reason for stopping was given."""
    assert record(tmp_path / "whole", intended=False, until=None).reason == "completed"
    assert record(tmp_path / "left", intended=False, stop=1, until=None).reason == "completed"
    assert record(tmp_path / "said", intended=False, stop=1, why=STOPPED, until=None).reason == "early-stop"
    assert read(tmp_path / "said") == [(4, "early-stop", STOPPED)]


def test_all_intended_steps_are_no_early_stop(tmp_path, home):
    """A reason that was given before the last step changes nothing when all steps are taken."""
    closing = record(tmp_path / "run", stop=5, why=STOPPED, until=None)
    assert closing.reason == "completed"
    assert [kind for _, kind, _ in read(tmp_path / "run")] == ["metric"]


@pytest.mark.parametrize("until", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("edit", [None, 2])
def test_a_resumed_run_declares_the_same(until, edit, tmp_path, home):
    """Broken off before, at and after the change, with an edit at the same place: the same roots and events."""
    whole = record(tmp_path / "whole", stop=4, why=STOPPED, edit=edit, until=None)
    record(tmp_path / "run", until=until, stop=4, why=STOPPED, edit=edit)
    assert record(tmp_path / "run", stop=4, why=STOPPED, edit=edit, until=None) == whole
    assert read(tmp_path / "run") == read(tmp_path / "whole")
    kinds = [kind for _, kind, _ in read(tmp_path / "run")]
    assert kinds == [*(["edit"] if edit else []), "metric", "early-stop"]
    assert replay(tmp_path / "run") == []


def test_an_early_stop_that_was_killed_on_its_way_is_forgotten(tmp_path, home):
    """The event was written, the closing record was not, and the script now goes on: the run did not stop."""
    record(tmp_path / "run", until=2)
    with RunDirectory.open(tmp_path / "run", write=True) as run:
        stored = StoredEvent(Event(0, run.rows, "early-stop", "killed", ZERO), None, ())
        run.write_object("events.bin", encode(EventList(0, (stored,))))
    record(tmp_path / "run", until=4)
    assert read(tmp_path / "run") == [(6, "metric", LOWERED)]
    assert record(tmp_path / "run", until=None) == record(tmp_path / "whole", until=None)


@pytest.mark.parametrize("reason", ["", "x" * 1025, "zu sp\u00e4t", "a\nb", None])
def test_a_reason_has_to_fit(reason, tmp_path):
    """Nothing is said, too much, or in other letters: refused where it is said, with what is expected."""
    with assay.start(tmp_path / "run") as run, pytest.raises(ReasonUnfit, match="1 to 1024 printable characters"):
        run.early_stop(reason)


def test_an_observed_run_logs_it(tmp_path, home):
    """A run of digests has no events: the reason is a logged value."""
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    run = assay.start(tmp_path / "run")
    assay.observe(run, net, optimizer)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    run.early_stop(STOPPED)
    run.finish()
    assert STOPPED in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
