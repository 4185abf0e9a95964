"""`assay diff A B`: why two runs differ."""

from __future__ import annotations

import argparse
from pathlib import Path

from assay.cli.commands import add_json
from assay.cli.output import print_json


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("a", type=Path, metavar="A", help="the folder of a run")
    parser.add_argument("b", type=Path, metavar="B", help="the folder of another run, or of one that goes on from A")
    parser.add_argument("--explain", action="store_true", help="list everything that was compared, and what was equal")
    add_json(parser)
    parser.epilog = (
        "exit codes: 0 nothing differs in the steps that both have, 1 something differs, 2 wrong usage, "
        "3 a run cannot be read"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Compare, print, and return 0 if nothing differs, else 1."""
    from assay.cli.diff_text import print_comparison
    from assay.training.compare.runs import compare_runs

    found = compare_runs(arguments.a, arguments.b)
    code = 0 if found.equal else 1
    if arguments.json:
        print_json({"exit": code, "comparison": found})
    else:
        print_comparison(found, explain=arguments.explain)
    return code
