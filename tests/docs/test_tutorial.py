"""The tutorial does what it says: its script and its commands are run in order in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "first-run.md"
BLOCK = re.compile(r'^```(python|bash)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"\s+# exit (\d)$")


def get_steps(text):
    """Return the blocks of the page in order: (kind, file name, text)."""
    return [match.groups() for match in BLOCK.finditer(text)]


def run_line(line, folder):
    """Run one command line as a user with a home of their own would; return its exit status and output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "ASSAY_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_tutorial_runs_as_written(tmp_path):
    """Each command ends with the exit status that the page states, 0 where it states none."""
    lines = 0
    for kind, name, text in get_steps(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            stated = EXIT.search(line)
            status, output = run_line(EXIT.sub("", line), tmp_path)
            assert status == (int(stated[1]) if stated else 0), f"{line}\n{output}"
            lines += 1
    assert lines >= 8
