import json

import pytest

from assay.cli.__main__ import main
from assay.training.compare.side import Side
from benchmarks import differing


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, and one whose sample 5 has another label."""
    folder = tmp_path_factory.mktemp("data")

    def relabel(inputs, labels):
        labels[5] = (labels[5] + 1) % 3

    differing.record(folder / "a")
    differing.record(folder / "b", change=relabel)
    return folder / "a", folder / "b"


def test_what_was_said_of_a_sample_is_proven_or_refuted(runs, tmp_path, capsys):
    """`--in` and `--not-in` exit with 0 where they hold and with 1 where they do not."""
    a, b = runs
    assert main(["data", "prove", f"{a}:5", "--in", str(a), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sample"]["indices"] == [5]
    assert main(["data", "prove", f"{b}:5", "--not-in", str(a)]) == 0
    assert "sample 5 has the same bytes in field '#0'" in capsys.readouterr().out
    assert main(["data", "prove", f"{a}:5", "--not-in", str(a)]) == 1
    assert main(["data", "prove", f"{b}:5", "--in", str(a), "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"] == "data.absent"


def test_proofs_are_checked_without_the_run(runs, tmp_path, capsys):
    """A proof that was written holds for its root and sample; for others, and with any byte changed, it does not."""
    a, b = runs
    root = Side(a).plan.data.leaves.root.hex()
    for name, sample, claim in (("in", f"{a}:5", "--in"), ("out", f"{b}:5", "--not-in")):
        proof = tmp_path / name
        assert main(["data", "prove", sample, claim, str(a), "--out", str(proof)]) == 0
        assert main(["data", "check", str(proof), sample, "--root", root]) == 0
        assert main(["data", "check", str(proof), f"{a}:6", "--root", root]) == 1
        assert main(["data", "check", str(proof), sample, "--root", "00" * 32]) == 1
        whole = proof.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 40)):
            proof.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert main(["data", "check", str(proof), sample, "--root", root]) in {1, 3}
    capsys.readouterr()


def test_duplicates_and_overlap_are_listed(runs, capsys):
    """A data set without duplicates; two runs that share all samples but one."""
    a, b = runs
    assert main(["data", "duplicates", str(a), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"] == []
    assert main(["data", "overlap", str(a), str(b), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["sets"].values()
    assert len(found["pairs"]) == 47
    assert main(["data", "overlap", str(a)]) == 0
    assert "has no test set" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    ["prove", "prove x", "prove {a}:5 --in {a} --not-in {a}", "prove word --in {a}", "prove {a}:5 --in /nowhere",
     "check", "check /nowhere {a}:5 --root 12", "duplicates", "duplicates /nowhere", "nothing"],
)  # fmt: skip
def test_wrong_usage_exits_with_two(words, runs, capsys):
    """Missing words, both claims, no sample, no run, no root."""
    assert main(["data", *(word.format(a=runs[0]) for word in words.split())]) == 2
    assert "assay: " in capsys.readouterr().err
