import json
from pathlib import Path

import pytest

from assay.training.compare.side import Side
from assay.training.lines import read_line
from assay.training.pytorch.source_lines import show_location
from assay.training.pytorch.tape import Location
from benchmarks import differing

SOURCE = Path(differing.__file__).read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run under AdamW, whose programs have nodes of the forward pass, the backward pass and the update."""
    path = tmp_path_factory.mktemp("lines") / "run"
    differing.record(path, adam=True)
    return path


def test_every_node_has_the_line_that_made_it(run):
    """Draws and losses come from the loss, gradients from backward, updates from the optimizer's step."""
    side = Side(run)
    identity = side.program_ids[-1]
    program = side.read_program(identity)
    wanted = {
        "bernoulli": "loss = nn.functional",
        "addmm": "loss = nn.functional",
        "mm": "loss.backward()",
        "threshold_backward": "loss.backward()",
        "lerp": "optimizer.step()",
        "addcdiv": "optimizer.step()",
    }
    seen = set()
    for number, node in enumerate(program.nodes):
        file, _, line = read_line(side, identity, number).rpartition(":")
        assert file == "benchmarks/differing.py"
        name = node.operator.split(".")[1]
        if name in wanted:
            assert SOURCE[int(line) - 1].strip().startswith(wanted[name])
            seen.add(name)
    assert seen == set(wanted)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b"[[]]"], ids=range(5))
def test_a_damaged_file_of_lines_is_as_good_as_none(run, tmp_path, data):
    """Lines are for people: whatever is in the file, there is a text, and no error."""
    import shutil

    shutil.copytree(run, tmp_path / "run")
    side = Side(tmp_path / "run")
    identity = side.program_ids[-1]
    (tmp_path / "run" / "programs" / f"{identity.hex()}.lines.json").write_bytes(data)
    assert read_line(side, identity, 0) == ""
    assert read_line(Side(run), identity, 10**6) == ""


def test_folders_of_the_maker_are_not_shown(tmp_path, monkeypatch):
    """A file outside the working directory is shown by its name alone."""
    monkeypatch.chdir(tmp_path)
    assert show_location(Location("/home/somebody/secret/train.py", 3)) == "train.py:3"
    assert show_location(Location(str(tmp_path / "src" / "train.py"), 4)) == "src/train.py:4"
    assert json.dumps(show_location(Location("<unknown>", 0))) == '"<unknown>:0"'
