"""A crash, a lack of memory, an unreadable file or a closed terminal must never look like a refutation.

An interpreter that dies of an uncaught exception exits with 1, which is "refuted": so nothing may get past `main`.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import assay.certificate.verify
from assay.cli.__main__ import main
from assay.protocol.signatures import get_public_key
from tests.attacks.certificates import run_verify, write_files
from tests.certificate.cases import AUDITOR, make_certificate, make_model_file

FAILURES = [
    MemoryError(),
    RecursionError("deep"),
    RuntimeError("bug"),
    AssertionError(),
    OSError(5, "I/O"),
    KeyboardInterrupt(),
    GeneratorExit(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_no_failure_inside_is_a_refutation(failure, tmp_path, monkeypatch):
    """Whatever is raised in the middle of a check, the exit is 3 (CRT-30)."""
    assert run_verify(tmp_path, make_certificate(), make_model_file(), trusted=[AUDITOR]) == 0

    def fail(*_):
        raise failure

    monkeypatch.setattr(assay.certificate.verify, "scan_model", fail)
    assert run_verify(tmp_path, make_certificate(), make_model_file(), trusted=[AUDITOR]) == 3


def test_unreadable_files_are_not_refuted(tmp_path):
    """A missing file, a folder, an empty certificate: 3 (CRT-26)."""
    certificate, model = write_files(tmp_path, make_certificate(), make_model_file())
    missing, folder = str(tmp_path / "none"), str(tmp_path)
    for words in ([missing, model], [certificate, missing], [folder, model], [certificate, folder]):
        assert main(["verify", *words]) == 3
    assert run_verify(tmp_path, b"", make_model_file(), trusted=[AUDITOR]) == 3


WRONG = ["", "--certificate", "c m more", "c --min-share 2", "c --trust x", "c --min-level x"]


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage_is_not_refuted(words):
    """Wrong words: 2 (CRT-30)."""
    assert main(["verify", *words.split()]) == 2


def run_process(words, **settings):
    """Run the command in a process of its own and return its exit code."""
    command = [sys.executable, "-m", "assay", "verify", *words, "--trust", get_public_key(AUDITOR).hex()]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL, timeout=120, **settings).returncode


def test_a_process_without_memory_does_not_exit_with_one(tmp_path):
    """Under every limit on memory under which bare Python starts, the exit is not 1; under some it is 3 (CRT-30)."""
    words = write_files(tmp_path, make_certificate(), make_model_file())
    codes = set()
    for megabytes in range(16, 160, 8):

        def limit(size=megabytes * 1024 * 1024):
            resource.setrlimit(resource.RLIMIT_AS, (size, size))

        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "preexec_fn": limit}
        if subprocess.run([sys.executable, "-c", "pass"], check=False, **quiet).returncode == 0:
            codes.add(run_process(words, stdout=subprocess.DEVNULL, preexec_fn=limit))
    assert {0, 3} <= codes
    assert 1 not in codes


def test_output_that_cannot_be_written_is_not_refuted(tmp_path):
    """A full disk or a closed pipe under standard output: neither 0, since nobody read it, nor 1."""
    words = write_files(tmp_path, make_certificate(), make_model_file())
    with Path("/dev/full").open("w") as full:
        assert run_process(words, stdout=full) not in {0, 1}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run_process(words, stdout=writer) not in {0, 1}
    finally:
        os.close(writer)
