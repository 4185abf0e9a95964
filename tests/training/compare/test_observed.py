import pytest
import torch
from torch import nn

import assay
from assay.cli.__main__ import main
from assay.training.compare.observed import are_observed, compare_observed
from assay.training.compare.side import NothingToCompare
from assay.verification.difference import explain_difference


def observe(path, *, rate=0.1, shift=0.0, start=0.0, steps=6, threads=1):
    """Watch a plain loop of a few steps; the data may be shifted."""
    torch.manual_seed(0)
    net = nn.Linear(4, 2)
    with torch.no_grad():
        net.bias.add_(start)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    torch.set_num_threads(threads)
    run = assay.start(path)
    assay.observe(run, net, optimizer, every=2)
    torch.set_num_threads(1)
    for step in range(steps):
        inputs = torch.arange(12.0).reshape(3, 4) / 12 + step + shift
        net(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    run.finish()
    run.close()
    return path


CASES = {
    "rate": ({"rate": 0.05}, "scalars", "rate", 1),
    "data": ({"shift": 0.5}, "arithmetic", "states", 2),
    "start": ({"start": 1.0}, "start", "weights", 2),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_watched_is_compared(case, tmp_path):
    """Rates and starts are named; a difference of unknown origin is said to be of unknown origin."""
    changes, kind, name, step = CASES[case]
    found = explain_difference(observe(tmp_path / "a"), observe(tmp_path / "b", **changes)).comparison
    assert (found.findings[0].kind, found.findings[0].name, found.findings[0].role) == (kind, name, "cause")
    assert (found.equal, found.first_step) == (False, step)
    if case == "data":
        assert "record both to be told" in found.findings[0].text
    assert {ruled.kind for ruled in found.looked_at if ruled.result == "not compared"} >= {"data", "program", "order"}


def test_the_same_loop_again_is_equal_under_two_threads(tmp_path):
    """An environment that changed nothing is named beside; a shorter run is equal as far as it goes."""
    found = compare_observed(observe(tmp_path / "a"), observe(tmp_path / "b", threads=2, steps=4))
    assert (found.equal, found.compared) == (True, 4)
    assert [(finding.kind, finding.role) for finding in found.findings] == [("environment", "beside")]


def test_levels_are_not_mixed(tmp_path, capsys):
    """An observed run beside a recorded one, one run twice, a picture of what is not kept."""
    from benchmarks import differing

    observe(tmp_path / "a")
    differing.record(tmp_path / "recorded")
    with pytest.raises(NothingToCompare, match="only observed"):
        are_observed(tmp_path / "a", tmp_path / "recorded")
    assert main(["diff", str(tmp_path / "recorded"), str(tmp_path / "a")]) == 2
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "a")]) == 2
    observe(tmp_path / "b")
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b"), "--picture", str(tmp_path / "p.svg")]) == 2
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "equal: nothing differs in the 6 steps" in capsys.readouterr().out
