"""`assay run report`: what it writes, where, and that it needs neither torch nor the network."""

import json
import subprocess
import sys

import pytest

from assay.cli.__main__ import main
from tests.attacks import runs
from tests.cli.test_run import WITHOUT_TORCH


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """The folder of a finished run of 10 intervals with a certificate beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("recorder")))
        path = tmp_path_factory.mktemp("cli") / "flowers"
        runs.record(path)
    path.with_suffix(".assay.json").write_bytes(runs.make_certificate(runs.audit(path)))
    return path


def test_it_writes_one_file_and_says_what_is_in_it(honest, tmp_path, monkeypatch, capsys):
    """The first word is the level; the file is named after the run unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    assert main(["run", "report", str(honest)]) == 0
    assert capsys.readouterr().out.startswith("replayable: 40 steps in 10 intervals")
    page = (tmp_path / "flowers.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "nobody has recomputed them" in page


def test_trust_comes_from_the_command_or_the_store(honest, tmp_path, capsys):
    """With `--trust` the certificate counts; JSON says the same as the page."""
    out, key = tmp_path / "page.html", runs.get_public_key(runs.AUDITOR).hex()
    certificate = str(honest.with_suffix(".assay.json"))
    words = ["run", "report", str(honest), "--certificate", certificate, "--out", str(out), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["level"] == "replayable"
    assert main([*words, "--trust", key]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["level"], said["outcome"], said["bytes"]) == ("recomputed", "holds", out.stat().st_size)
    assert main(["trust", "add", "office", key]) == 0
    assert main(words) == 0
    assert "recomputed by office" in capsys.readouterr().out


def test_a_parent_of_a_run_from_scratch_is_a_wrong_question(honest, tmp_path, capsys):
    """`--parent` for a run that names none, and for a file that is not there: no page is written."""
    certificate, out = str(honest.with_suffix(".assay.json")), tmp_path / "page.html"
    words = ["run", "report", str(honest), "--certificate", certificate, "--out", str(out), "--parent"]
    assert main([*words, certificate]) == 2
    assert "names none" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "gone")]) == 3
    assert not out.exists()


def test_it_needs_no_torch(honest, tmp_path):
    """A base install writes reports of runs that were recorded elsewhere."""
    words = ["run", "report", str(honest), "--out", str(tmp_path / "page.html")]
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *words], check=True, capture_output=True)
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_a_folder_that_is_not_there_is_named(honest, tmp_path, capsys):
    """Nothing is written, and the error says where it should have been."""
    assert main(["run", "report", str(honest), "--out", str(tmp_path / "none" / "page.html")]) == 3
    assert "none" in capsys.readouterr().err
