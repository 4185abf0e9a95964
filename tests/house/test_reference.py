"""The generated reference pages say what the code says now."""

from tools.cli_reference import find_commands
from tools.reference import PAGES, find_stale

PLAIN = """Usage: assay run [OPTIONS] COMMAND [ARGS]...

  Runs and their transcripts: commands that read one.

Options:
  --help  Show this message and exit.

Commands:
  audit        Recompute intervals and write a certificate. This line is long
               enough to be wrapped.
  show-parts   Show a run.
"""

BOXED = """ Usage: assay [OPTIONS] COMMAND [ARGS]...

╭─ Options ─────────────────────────╮
│ --help          Show this message │
╰───────────────────────────────────╯
╭─ Commands ────────────────────────╮
│ run      Runs: list, show, audit, │
│          export.                  │
│ verify   Verify a certificate.    │
╰───────────────────────────────────╯
"""


def test_pages_are_fresh():
    """Every generated page on disk is what would be written now."""
    assert [path.name for path in find_stale()] == [], "run: python -m tools.reference"


def test_generated_pages_are_three():
    """Errors, command line and Python API are generated, and nothing else claims to be."""
    generated = {path.name for path in PAGES.glob("*.md") if path.read_text().startswith("<!-- Generated")}
    assert generated == {"api.md", "cli.md", "errors.md"}


def test_commands_are_found_in_plain_help():
    """Names under the heading of commands are read, wrapped lines and options are not."""
    assert find_commands(PLAIN) == ["audit", "show-parts"]


def test_commands_are_found_in_boxed_help():
    """The boxed form of the help lists the same kind of names."""
    assert find_commands(BOXED) == ["run", "verify"]
