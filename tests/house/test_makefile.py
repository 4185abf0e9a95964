"""The verbs of the Makefile are the ones that help and the documents name."""

import re
import subprocess

from tests.house import rules

MAKEFILE = (rules.ROOT / "Makefile").read_text(encoding="utf-8")
VERBS = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()) - {
    "help",
    "install",
    "install-dev",
    "browser",
}


def test_help_is_the_default_and_lists_every_verb():
    """`make` alone prints the help, and the help names each verb once."""
    done = subprocess.run(["make", "-s"], cwd=rules.ROOT, capture_output=True, text=True, check=True)
    assert sorted(re.findall(r"^make ([a-z-]+)", done.stdout, re.MULTILINE)) == sorted(VERBS)


def test_documents_name_existing_verbs():
    """Each `make VERB` in a document is a verb of the Makefile."""
    documents = [*rules.ROOT.glob("*.md"), *(rules.ROOT / "docs").rglob("*.md"), rules.ROOT / ".ci" / "run"]
    for path in documents:
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) | set(re.findall(r"`make ([a-z-]+)", text))
        assert named <= VERBS, path.name


def test_ci_ends_with_the_tests():
    """The last command of .ci/run is the test run, so that pytest's summary is its last line."""
    lines = (rules.ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()
    assert lines[-1] == "make test"
    assert "set -euo pipefail" in lines
