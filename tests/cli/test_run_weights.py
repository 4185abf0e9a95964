"""`assay run weights`: text, JSON, pictures, refusals."""

import json

import pytest
from safetensors.numpy import save_file

from assay.cli.__main__ import main
from tests.verification.weight_analysis.examples import walk


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Safetensors files of a training whose ninth interval changes four times as much."""
    folder = tmp_path_factory.mktemp("states")
    paths = []
    for number, state in enumerate(walk([4.0 if number == 8 else 1.0 for number in range(16)])):
        paths.append(str(folder / f"{number:02}.safetensors"))
        save_file({"block.0.weight": state[:300], "block.1.weight": state[300:]}, paths[-1])
    return paths


def test_the_table_names_what_is_flagged(states, capsys):
    """Steps, the four measures, the flag and the layers, and that a flag proves nothing; exit 0."""
    assert main(["run", "weights", *states, "--layers"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 16 intervals flagged: absolute change of 400 weights" in shown
    assert "proves nothing" in shown
    assert [line.split()[0] for line in shown.splitlines() if line.endswith("FLAGGED")] == ["8-9"]
    assert sum(line.endswith("not judged") for line in shown.splitlines()) == 3
    assert "layers in steps 8-9" in shown
    assert "  block.0" in shown


def test_json_has_all_measures(states, capsys):
    """One object with the flagged numbers and the whole analysis."""
    assert main(["run", "weights", *states, "--json", "--measure", "l2", "--threshold", "sigma", "--factor", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["exit"], found["flagged"]) == (0, [8])
    analysis = found["analysis"]
    assert analysis["threshold"] == {"kind": "sigma", "factor": 3.0}
    assert set(analysis["intervals"][8]["measures"]) == {"absolute", "l2", "percent", "cosine"}
    assert len(analysis["layers"]) == 2
    assert analysis["caveat"]


@pytest.mark.parametrize("name", ["x.svg", "x.html"])
def test_a_picture_is_written(states, tmp_path, capsys, name):
    """The picture lies where it was asked for."""
    assert main(["run", "weights", *states, "--picture", str(tmp_path / name)]) == 0
    assert f"wrote {tmp_path / name}" in capsys.readouterr().out
    assert "<svg " in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--measure", "loss"], "weights.measure"),
        (["--threshold", "max"], "weights.threshold"),
        (["--factor", "-1"], "weights.threshold"),
        (["--picture", "x.png"], "weights.argument"),
    ],
)
def test_wrong_wishes_are_usage(states, capsys, words, code):
    """Unknown measures, thresholds and pictures are refused by code, exit 2."""
    assert main(["run", "weights", *states, "--json", *words]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == code


def test_too_few_states_and_foreign_files(states, tmp_path, capsys):
    """Eight states are too few (2); a file that is no safetensors is unreadable (3)."""
    assert main(["run", "weights", *states[:8], "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "weights.too-few"
    (tmp_path / "odd.safetensors").write_bytes(b"\x80\x04cposix\nsystem\n(S'true'\ntR.")
    assert main(["run", "weights", *states, str(tmp_path / "odd.safetensors"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"] == "safetensors.malformed"
