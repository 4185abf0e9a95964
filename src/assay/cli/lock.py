"""`assay lock RUN`: put what a short run must give again into one file, to be committed."""

from __future__ import annotations

import argparse
from pathlib import Path

from assay.cli.commands import add_json
from assay.cli.output import print_json, print_line

DEFAULT = Path("assay.lock")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a short run")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT, metavar="FILE", help=f"the lock, replaced if there (default: {DEFAULT})"
    )
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Write the lock and return 0."""
    from assay.storage.files import Files, write_atomic
    from assay.training.compare.lock import make_lock
    from assay.training.compare.side import Side

    side = Side(arguments.run)
    text = make_lock(side, str(arguments.run))
    write_atomic(Files(), arguments.out, [text])
    if arguments.json:
        print_json({"exit": 0, "lock": str(arguments.out), "steps": side.steps, "bytes": len(text)})
    else:
        print_line(f"wrote {arguments.out}: {side.steps} steps of {arguments.run}, {len(text)} bytes; commit it")
        print_line("next: run the script again into an empty folder, then assay check")
    return 0
