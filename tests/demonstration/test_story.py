"""The demonstration that `make demo` runs."""

import json
import os
import subprocess
import sys

import pytest

from assay.demonstration.stage import MARKER, prepare_folder
from assay.errors import UsageError


def test_every_finding_of_the_demonstration_is_right(tmp_path):
    """`assay demo`, told a relative folder, records, resumes, audits, finds both forgeries and verifies offline."""
    done = subprocess.run(
        [sys.executable, "-m", "assay", "demo", "--folder", "demo", "--json"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "ASSAY_HOME"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    findings = json.loads(done.stdout)
    assert findings["resumed"]["same_root"]
    assert findings["audit_digits"]["differ"] == findings["audit_text"]["differ"] == []
    assert findings["audit_digits"]["accuracy"] > 0.8
    assert findings["forged_poisoned"]["found"] == [["interval", findings["forged_poisoned"]["interval"]]]
    assert findings["forged_interpolated"]["found"] == [["interval", findings["forged_interpolated"]["interval"]]]
    exits = {name: found["exit"] for name, found in findings.items() if name.startswith("verify_")}
    assert exits == {
        "verify_digits": 0,
        "verify_text": 0,
        "verify_forgery": 1,
        "verify_tampered": 1,
        "verify_stranger": 3,
    }


def test_a_folder_that_is_not_a_demonstration_is_left_alone(tmp_path):
    """Only a folder that an earlier demonstration made is replaced."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError):
        prepare_folder(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    prepare_folder(tmp_path / "fresh")
    (tmp_path / "fresh" / "old").write_text("old")
    prepare_folder(tmp_path / "fresh")
    assert [path.name for path in (tmp_path / "fresh").iterdir()] == [MARKER]
