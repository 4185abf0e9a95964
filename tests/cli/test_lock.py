import json

import pytest

from assay.cli.__main__ import main
from benchmarks import differing as planted


def stop(net, optimizer, run):
    """Stop before step 9."""
    if run.step_number == 8:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, the same again, one with another rate, one that stopped early, one of other instructions."""
    folder = tmp_path_factory.mktemp("locked")
    for name, changes in {"first": {}, "rate": {"rate": 0.2}}.items():
        planted.record(folder / name, **changes)
    with pytest.raises(KeyboardInterrupt):
        planted.record(folder / "early", each=stop)
    planted.record_apart(folder / "capability", ATEN_CPU_CAPABILITY="default")
    return folder


def test_a_lock_holds_for_the_same_training_and_names_a_change(runs, tmp_path, capsys):
    """`lock` writes one file; `check` exits with 0 for the run, with 1 and the cause for a changed one."""
    lock = tmp_path / "assay.lock"
    assert main(["lock", str(runs / "first"), "--out", str(lock), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 12
    assert main(["check", "--lock", str(lock)]) == 0
    assert "12 steps, bit for bit" in capsys.readouterr().out
    assert main(["check", str(runs / "rate"), "--lock", str(lock)]) == 1
    assert "training has changed: scalars" in capsys.readouterr().out
    assert main(["check", str(runs / "rate"), "--lock", str(lock), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["comparison"]["findings"][0]["name"] == "rate"


def test_what_cannot_be_judged_exits_with_three(runs, tmp_path, capsys):
    """Another environment, a run that stopped early, a damaged lock: nothing is said about the training."""
    lock = tmp_path / "assay.lock"
    assert main(["lock", str(runs / "first"), "--out", str(lock)]) == 0
    assert main(["check", str(runs / "capability"), "--lock", str(lock)]) == 3
    assert "recorded in another environment" in capsys.readouterr().err
    assert main(["check", str(runs / "early"), "--lock", str(lock)]) == 3
    assert "fewer steps" in capsys.readouterr().err
    lock.write_text("{}", encoding="utf-8")
    assert main(["check", str(runs / "first"), "--lock", str(lock)]) == 3
    assert "is no lock" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["lock"], ["lock", "/nowhere"], ["check", "/nowhere", "--lock", "{lock}"], ["lock", "{run}", "x"]]
)
def test_wrong_usage_exits_with_two(words, runs, tmp_path, capsys):
    """No run, an unknown run, too many words."""
    lock = tmp_path / "assay.lock"
    assert main(["lock", str(runs / "first"), "--out", str(lock)]) == 0
    capsys.readouterr()
    assert main([word.format(run=runs / "first", lock=lock) for word in words]) == 2
    assert capsys.readouterr().err.startswith("assay: ")
    assert main(["check", "--lock", str(tmp_path / "none")]) == 3
