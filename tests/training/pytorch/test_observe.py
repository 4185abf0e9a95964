"""`assay.observe`: digests of any loop, compared, chained, signed, and never taken for more than they are."""

import shutil

import msgspec
import pytest
import torch
from torch import nn

import assay
from assay.errors import Refuted, UsageError
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.model_state import compute_state_root
from assay.protocol.evidence.observed import ObservedEnd, verify_observed_plan
from assay.protocol.hashing import ZERO
from assay.training.observed import ObservationContradicts, ObservedRun, OnlyObserved
from assay.training.pytorch.layout import list_state
from assay.training.pytorch.observe import ObserveRefused
from assay.training.pytorch.run_errors import AlreadyFinished, WrongOrder
from assay.training.recorded import RecordedRun
from assay.training.state import hash_tensor
from assay.verification.observation import is_observed, summarise_observed
from assay.verification.summary import list_runs


def train(path, *, every=5, steps=23, seed=0, rate=0.01, log=True):
    """Train anyhow, with whatever draws there are; return (net, optimizer, end)."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate)
    run = assay.start(path)
    assay.observe(run, net, optimizer, every=every)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 4)), torch.randint(0, 2, (16,)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if log:
            run.log(loss=loss.item())
    return net, optimizer, run.finish()


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """An observed run of 23 steps with a state root after every fifth, and what it was made of."""
    path = tmp_path_factory.mktemp("observed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("home")))
        return path, *train(path)


def test_roots_are_those_of_the_state(seen):
    """The final root is that of models and optimizer as they are; roots stand where the period says (OBS-1, OBS-4)."""
    path, net, optimizer, end = seen
    run = ObservedRun(path)
    verify_observed_plan(run.plan)
    assert [row.step for row in run.rows if row.state_root] == [5, 10, 15, 20, 23]
    entries, aliases = list_state([net], [optimizer])
    records = []
    for entry in entries:
        data = entry.tensor.detach().numpy().tobytes()
        kind = {"float32": "f32", "int64": "i64"}[str(entry.tensor.dtype).split(".")[1]]
        records.append(hash_tensor(entry.namespace, entry.name, kind, tuple(entry.tensor.shape), data))
    assert compute_state_root(records, aliases) == end.final_state == run.rows[-1].state_root
    assert run.end == end


def test_nothing_else_is_in_the_leaves(seen):
    """Program, samples, values and loss are zero bytes; the scalars row holds the rates (OBS-2, OBS-3)."""
    rows = ObservedRun(seen[0]).rows
    assert {(row.membership, row.content, row.loss_root, row.loss) for row in rows} == {(ZERO, ZERO, ZERO, ())}
    assert [row.scalars is not None for row in rows] == [True] + [False] * 22


def test_equal_loops_have_equal_digests_and_others_part_where_they_part(seen, tmp_path):
    """The same loop gives the same transcript; another rate is seen in the first leaf."""
    assert train(tmp_path / "same")[-1].transcript == seen[-1].transcript
    train(tmp_path / "other", rate=0.02)
    pairs = zip(ObservedRun(seen[0]).rows, ObservedRun(tmp_path / "other").rows, strict=True)
    assert all(one.leaf != other.leaf for one, other in pairs)


def test_the_loop_is_left_alone(tmp_path):
    """Watching changes no bit of the training, and no number of threads."""
    threads = torch.get_num_threads()
    watched, _, _ = train(tmp_path / "run", every=1)
    assert torch.get_num_threads() == threads
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for _ in range(23):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 4)), torch.randint(0, 2, (16,)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, watched.state_dict()[name])


def test_it_is_shown_as_observed_and_never_as_more(seen):
    """List, show and every command that needs a recorded step say what the run is (OBS-7)."""
    path = seen[0]
    assert is_observed(path)
    assert [(run.level, run.steps, run.finished) for run in list_runs(path.parent)] == [("observed", 23, True)]
    summary = summarise_observed(path)
    assert (summary.level, summary.roots, summary.log_lines) == ("observed", 5, 23)
    assert any("any digests" in sentence for sentence in summary.not_known)
    with pytest.raises(OnlyObserved) as refused:
        RecordedRun(path)
    assert refused.value.code == "run.only-observed"


def test_several_models_and_optimizers(tmp_path):
    """A step is one step of the last optimizer; rates of all are kept."""
    nets = [nn.Linear(3, 3), nn.Linear(3, 1)]
    optimizers = [torch.optim.SGD(net.parameters(), lr=rate) for net, rate in zip(nets, (0.1, 0.2), strict=True)]
    run = assay.start(tmp_path / "run")
    assay.observe(run, nets, optimizers, every=1)
    for _ in range(3):
        for optimizer in optimizers:
            nets[1](nets[0](torch.ones(2, 3))).sum().backward()
            optimizer.step()
    assert run.step_number == 3
    run.finish()
    assert summarise_observed(tmp_path / "run").rates == [("0.1", "0.1"), ("0.2", "0.2")]


def test_what_cannot_be_observed_is_refused(tmp_path):
    """A run that was begun, a run twice, a step beside it, an end without a step, a finished run."""
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    begun = assay.start(tmp_path / "begun")
    begun.init()
    with pytest.raises(ObserveRefused):
        assay.observe(begun, net, optimizer)
    run = assay.start(tmp_path / "run")
    for models, optimizers, every in (([], optimizer, 1), (net, [], 1), (net, optimizer, 0), (net, optimizer, True)):
        with pytest.raises(UsageError):
            assay.observe(run, models, optimizers, every=every)
    assay.observe(run, net, optimizer)
    with pytest.raises(ObserveRefused):
        assay.observe(run, net, optimizer)
    with pytest.raises(WrongOrder):
        run.evaluate(net, [], metrics=["accuracy"])
    with pytest.raises(UsageError, match="no step was seen"):
        run.finish()
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    run.finish()
    with pytest.raises(AlreadyFinished):
        assay.start(tmp_path / "run")


def test_a_run_that_was_broken_off_is_not_resumed(tmp_path):
    """Its steps are there; observing into it again is refused, because the loop's own resuming is unknown."""
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    run = assay.start(tmp_path / "run")
    assay.observe(run, net, optimizer)
    for _ in range(3):
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    run.close()
    assert summarise_observed(tmp_path / "run").steps == 2
    again = assay.start(tmp_path / "run")
    with pytest.raises(ObserveRefused, match="was begun already"):
        assay.observe(again, net, optimizer)


def test_changed_parts_contradict_each_other(seen, tmp_path):
    """Another end, another plan or a foreign signature is refused (OBS-5, OBS-6)."""
    path = tmp_path / "copy"
    shutil.copytree(seen[0], path)
    end = decode((path / "observed-end.bin").read_bytes(), ObservedEnd)
    (path / "observed-end.bin").write_bytes(encode(msgspec.structs.replace(end, model_root=ZERO)))
    assert ObservedRun(path).rows
    with pytest.raises(Refuted):
        ObservedRun(path).read_observer()
    (path / "observed-end.bin").write_bytes(encode(msgspec.structs.replace(end, final_state=ZERO)))
    with pytest.raises(ObservationContradicts, match="final state"):
        _ = ObservedRun(path).rows
