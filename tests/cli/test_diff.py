import json

import pytest

from assay.cli.__main__ import main
from benchmarks import differing as planted


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two runs that differ in their rate."""
    folder = tmp_path_factory.mktemp("pair")
    planted.record(folder / "a")
    planted.record(folder / "b", rate=0.2)
    return folder / "a", folder / "b"


def test_diff_names_the_cause_and_exits_with_one(pair, capsys):
    """The first line is the answer; `--explain` lists what was equal."""
    assert main(["diff", *map(str, pair), "--explain"]) == 1
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith("scalars: the optimizer's numbers differ at step 1")
    assert "lr is 0.1 in A, 0.2 in B" in shown
    assert "data         equal" in shown


def test_diff_prints_one_object_for_programs(pair, capsys):
    """`--json` gives the findings in order."""
    assert main(["diff", *map(str, pair), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["exit"] == 1
    assert (said["comparison"]["findings"][0]["kind"], said["comparison"]["findings"][0]["name"]) == ("scalars", "rate")


def test_equal_runs_exit_with_zero(pair, tmp_path, capsys):
    """The same script again: equal, exit 0."""
    planted.record(tmp_path / "again")
    assert main(["diff", str(pair[0]), str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.startswith("equal: nothing differs in the 12 steps")


@pytest.mark.parametrize("words", [["{a}", "{a}"], ["{a}", "/nowhere/at/all"], ["{a}"], ["{a}", "{b}", "--nope"]])
def test_wrong_usage_exits_with_two(pair, words, capsys):
    """One run twice, no run, too few paths, an unknown flag."""
    assert main(["diff", *(word.format(a=pair[0], b=pair[1]) for word in words)]) == 2
    assert capsys.readouterr().err.startswith("assay: ")


def test_a_run_that_cannot_be_read_exits_with_three(pair, tmp_path, capsys):
    """A run without its profile: nothing is said about the other."""
    planted.record(tmp_path / "broken")
    (tmp_path / "broken" / "profile.bin").unlink()
    assert main(["diff", str(pair[0]), str(tmp_path / "broken")]) == 3
    assert "profile.bin is missing" in capsys.readouterr().err
