"""The page of the command line, from what `--help` prints: what a user sees is what is documented."""

import os
import re
import subprocess
import sys

COMMAND = re.compile(r"^[│ ] {1,2}([a-z][a-z0-9-]*)\*?(?: {2,}|\s*│?$)")
ENVIRONMENT = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb", "TYPER_USE_RICH": "0"}

EXITS = """## Exit codes

| code | meaning |
|---|---|
| 0 | it holds, or the command did what was asked |
| 1 | refuted, by an explicit finding only |
| 2 | wrong usage |
| 3 | everything else: unreadable or malformed file, unknown signer, policy not met, newer format, unexpected failure |
"""


def get_help(words: tuple[str, ...]) -> str:
    """Return what `assay WORDS --help` prints at a width of 100 columns, without colours.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "assay", *words, "--help"],
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def find_commands(text: str) -> list[str]:
    """Return the names listed under a heading of commands, in the order of the help."""
    names, inside = [], False
    for line in text.splitlines():
        heading = line.strip("╭╰─╮╯ :")
        if heading and (line.startswith("╭") or re.fullmatch(r"\S.*:", line)):
            inside = "command" in heading.lower()
        elif inside and (match := COMMAND.match(line)):
            names.append(match[1])
    return names


def render_cli(notice: str) -> str:
    """Return the page: the help of `assay`, then of every command below it, depth first."""
    lines = [notice, "# Command line", "", "What each command prints for `--help`.", "", EXITS]
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        words = waiting.pop()
        text = get_help(words)
        lines += [f"## `{' '.join(('assay', *words))}`", "", "```text", text, "```", ""]
        waiting += [(*words, name) for name in reversed(find_commands(text))]
    return "\n".join(lines)
