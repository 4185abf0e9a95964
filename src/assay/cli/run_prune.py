"""`assay run prune`: make a finished run smaller, and say what stays provable."""

from __future__ import annotations

import argparse
from pathlib import Path

from assay.cli.output import print_json, print_line, print_strong


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--states", type=int, metavar="N", help="keep N stored states, the last one always")
    parser.add_argument("--data", action="store_true", help="drop the stored training and test data")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and say what would happen")


def prune(arguments: argparse.Namespace) -> int:
    """Prune, print what stays provable, and return 0."""
    from assay.cli.run_text import format_bytes
    from assay.verification.pruning import prune as prune_run

    found = prune_run(arguments.run, states=arguments.states, data=arguments.data, dry_run=arguments.dry_run)
    if arguments.json:
        print_json({"exit": 0, "dryRun": arguments.dry_run, "pruning": found})
        return 0
    if arguments.dry_run:
        print_strong(
            f"nothing was changed; {len(found.dropped)} of {len(found.dropped) + len(found.kept)} states would go"
        )
    else:
        saved = format_bytes(found.before - found.after)
        print_strong(f"{saved} freed; {arguments.run} takes {format_bytes(found.after)}")
    print_line(
        f"  states of steps {', '.join(map(str, found.kept)) or 'none'} stay{'; the data go' if found.data else ''}"
    )
    for title, sentences in (("still provable", found.provable), ("no longer provable", found.lost)):
        print_line(f"{title}:")
        for sentence in sentences or ["nothing"]:
            print_line(f"  {sentence}")
    return 0
