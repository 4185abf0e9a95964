import json

import pytest

from assay.cli.__main__ import main
from benchmarks.doctor_scripts import PLANTED


def test_doctor_prints_place_reason_and_cure(tmp_path, capsys):
    """One object for programs, with the line; exit 1 because there are blockers."""
    script = tmp_path / "train.py"
    script.write_text(PLANTED["a value read in the recorded step"], encoding="utf-8")
    assert main(["doctor", str(script), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["examination"]
    assert found["usesAssay"]
    assert {blocker["code"] for blocker in found["blockers"]} == {"value-read", "capture.refused"}
    assert len({blocker["line"] for blocker in found["blockers"]}) == 1


@pytest.mark.parametrize("command", ["doctor", "estimate"])
@pytest.mark.parametrize(
    "words",
    [
        "",
        "/nowhere.py",
        "{script} --trial-steps 2",
        "{script} --time-limit 0",
        "{script} --memory much",
        "{script} --nope",
    ],
)
def test_wrong_usage_exits_with_two(command, words, tmp_path, capsys):
    """No script, numbers that cannot be, an unknown flag."""
    script = tmp_path / "train.py"
    script.write_text("x = 1", encoding="utf-8")
    assert main([command, *words.format(script=script).split()]) == 2
    assert "assay: " in capsys.readouterr().err


def test_a_script_that_fails_exits_with_three(tmp_path, capsys):
    """The script's own fault is no finding about training."""
    script = tmp_path / "train.py"
    script.write_text("raise ValueError('no data')", encoding="utf-8")
    assert main(["doctor", str(script)]) == 3
    assert "no data" in capsys.readouterr().err


ACCUMULATING = """
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import assay

run = assay.start("run", seed=0)
with run.init():
    net = torch.nn.Linear(6, 3)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
data = TensorDataset(torch.arange(240.0).reshape(40, 6) / 240, torch.arange(40) % 3)
loader = run.loader(DataLoader(data, batch_size=3, shuffle=True))


@run.step(models=[net], optimizers=[optimizer], accumulate=2)
def train_step(batches):
    total = torch.zeros(())
    for inputs, labels in batches:
        loss = F.cross_entropy(net(inputs), labels) / len(batches)
        loss.backward()
        total = total + loss.detach()
    optimizer.step()
    optimizer.zero_grad()
    return total


for _ in run.epochs(60):
    assert len(loader) == 7
    for batches in loader:
        train_step(batches)
run.finish()
"""


def test_a_script_that_accumulates_is_estimated(tmp_path, capsys):
    """Without Assay it goes through the same lists of batches."""
    script = tmp_path / "train.py"
    script.write_text(ACCUMULATING, encoding="utf-8")
    assert main(["estimate", str(script), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "420" in json.dumps(found)  # 60 epochs of 7 steps
