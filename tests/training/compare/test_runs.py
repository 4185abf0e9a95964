import shutil

import pytest
import torch

from assay.errors import AssayError
from assay.storage.run_layout import NotARun
from assay.storage.step_rows import LogDamaged
from assay.training.compare.runs import compare_runs
from assay.training.compare.side import NothingToCompare, SideContradicts
from benchmarks import differing as planted


def change_sample(inputs, labels):
    """Change one element of sample 17."""
    inputs[17, 3] += 1e-3


def change_label(inputs, labels):
    """Give sample 5 another label."""
    labels[5] = (labels[5] + 1) % 3


def change_all(inputs, labels):
    """Shift every sample, as another normalisation does."""
    inputs += 0.01


def edit_weights(net, optimizer, run):
    """Halve the weights before step 5, declared."""
    if run.step_number == 4:
        with run.edit("halve"), torch.no_grad():
            net[0].weight.mul_(0.5)


def swap_samples(inputs, labels):
    """Exchange two samples."""
    for field in (inputs, labels):
        field[[0, 1]] = field[[1, 0]]


CAUSES = {
    "another seed": ({"seed": 2}, "seed", "seed", 1),
    "another rate": ({"rate": 0.11}, "scalars", "rate", 1),
    "another rate from step 8 on": ({"rate": lambda step: 0.1 if step < 8 else 0.05}, "scalars", "rate", 8),
    "more weight decay": ({"decay": 2e-3}, "scalars", "weight decay", 1),
    "no weight decay": ({"decay": 0.0}, "program", "weight decay", 1),
    "another initialisation": ({"scale": 2.0}, "start", "initialisation", 1),
    "dropout off": ({"dropout": 0.0}, "program", "dropout", 1),
    "more dropout": ({"dropout": 0.3}, "program", "dropout", 1),
    "no shuffling": ({"shuffle": False}, "order", "order function", 1),
    "noise on the batch": ({"noise": 0.1}, "program", "augmentation", 1),
    "a declared edit": ({"each": edit_weights}, "edit", "declared edit", 5),
    "another optimizer": ({"adam": True}, "program", "optimizer", 1),
    "one sample": ({"change": change_sample}, "data", "one sample", 4),
    "one label": ({"change": change_label}, "data", "one label", 3),
    "all samples": ({"change": change_all}, "data", "samples", 1),
    "two samples exchanged": ({"change": swap_samples}, "data", "order of the samples", 3),
}


@pytest.mark.parametrize("case", CAUSES)
def test_a_planted_cause_is_named_first(case, base, tmp_path):
    """The first finding is the cause that was planted, and the first step is the first that it touches."""
    changes, kind, name, step = CAUSES[case]
    planted.record(tmp_path / "other", **changes)
    found = compare_runs(base, tmp_path / "other")
    assert (found.findings[0].kind, found.findings[0].name, found.findings[0].role) == (kind, name, "cause")
    assert not found.equal
    assert found.first_step == step
    assert [finding.role for finding in found.findings].count("cause") == 1


def test_the_same_script_again_gives_equal_runs(base, tmp_path):
    """Nothing is found in two runs of one script; a longer one and one in progress are equal as far as both go."""
    for name, changes in {"same": {}, "longer": {"epochs": 3}, "unfinished": {"finish": False}}.items():
        planted.record(tmp_path / name, **changes)
        found = compare_runs(base, tmp_path / name)
        assert (found.equal, found.first_step, found.compared) == (True, None, found.compared)
        assert not [finding for finding in found.findings if finding.role != "beside"]
    assert found.compared == 12


def test_another_period_of_roots_is_no_difference(base, tmp_path):
    """A plan that differs in what decides no bit is named beside, and the rows are compared where both have a root."""
    planted.record(tmp_path / "other", options={"root_period": 1, "checkpoint_every": 3})
    found = compare_runs(base, tmp_path / "other")
    assert found.equal
    assert [(finding.kind, finding.role) for finding in found.findings] == [("plan", "beside")]
    assert "root_period: 4 in A, 1 in B" in found.findings[0].details


def test_two_threads_that_gave_the_same_bits_are_no_cause(base, tmp_path):
    """An environment that differs and changed no bit is named beside."""
    planted.record(tmp_path / "other", threads=2)
    found = compare_runs(base, tmp_path / "other")
    assert found.equal
    assert (found.findings[0].kind, found.findings[0].name, found.findings[0].role) == (
        "environment", "threads", "beside",
    )  # fmt: skip


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Weights and optimizer state after the first epoch of the script of `base`."""
    net, optimizer = planted.record(tmp_path_factory.mktemp("half") / "run", epochs=1)
    return {name: value.clone() for name, value in net.state_dict().items()}, optimizer.state_dict()


def test_a_resumption_without_the_state_of_the_optimizer_is_named(base, halves, tmp_path):
    """A run that starts from the model of step 6 alone is set beside step 7, and the lost slots are named."""
    options = {"checkpoint_every": 6}
    planted.record(tmp_path / "whole", options=options)
    planted.record(tmp_path / "other", weights=halves[0], options=options, epochs=1)
    found = compare_runs(tmp_path / "whole", tmp_path / "other")
    assert found.shift == 6
    assert (found.findings[0].kind, found.findings[0].name) == ("start", "optimizer state")
    assert "momentum_buffer" in found.findings[0].details[0]
    assert [(f.kind, f.name, f.role) for f in found.findings][1] == ("order", "order begins again", "cause")
    assert any("that of step 1 of A (epoch 0, batch 0" in line for line in found.findings[1].details)


def test_what_cannot_be_compared_is_refused(base, tmp_path):
    """One run twice, a folder without a run, a run without a step: each is named."""
    with pytest.raises(NothingToCompare, match="are one run"):
        compare_runs(base, base)
    with pytest.raises(NotARun):
        compare_runs(base, tmp_path)
    with pytest.raises(NotARun):
        compare_runs(tmp_path / "none", base)
    shutil.copytree(base, tmp_path / "empty")
    (tmp_path / "empty" / "plan.bin").unlink()
    with pytest.raises(NothingToCompare, match="no step"):
        compare_runs(base, tmp_path / "empty")


def test_a_damaged_log_is_named_and_nothing_is_compared(base, tmp_path):
    """A log that was cut, and one with a changed byte in its last row, are errors that name the file."""
    shutil.copytree(base, tmp_path / "cut")
    log = tmp_path / "cut" / "steps.log"
    log.write_bytes(log.read_bytes()[:900])
    with pytest.raises(SideContradicts, match="another number of rows"):
        compare_runs(base, tmp_path / "cut")
    shutil.copytree(base, tmp_path / "changed")
    log = tmp_path / "changed" / "steps.log"
    data = bytearray(log.read_bytes())
    data[-100] ^= 1
    log.write_bytes(data)
    with pytest.raises(LogDamaged, match=r"steps\.log is damaged"):
        compare_runs(base, tmp_path / "changed")


def test_random_bytes_in_a_run_give_typed_errors_or_an_answer(base, tmp_path):
    """Whatever byte of a record is changed: an error of ours, or a comparison, and never another exception."""
    planted.record(tmp_path / "other", rate=0.2)
    target = tmp_path / "other"
    generator = torch.Generator().manual_seed(0)
    for name in ("plan.bin", "start.bin", "profile.bin", "closing.bin", "steps.log"):
        whole = (target / name).read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            data[int(torch.randint(0, len(data), (), generator=generator))] ^= 1 << int(
                torch.randint(0, 8, (), generator=generator)
            )
            (target / name).write_bytes(data)
            try:
                found = compare_runs(base, target)
            except AssayError:
                continue
            assert not found.equal
        (target / name).write_bytes(whole)
