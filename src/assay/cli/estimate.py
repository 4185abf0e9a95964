"""`assay estimate train.py`: what recording costs, before the first step."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from assay.cli.commands import add_json
from assay.cli.doctor import TrialArgument, add_trial_arguments, make_trials
from assay.cli.meter import Meter, require_training
from assay.cli.output import print_json, print_line, print_strong


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_trial_arguments(parser, 40)
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="steps of the whole training, for the disk")
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Measure, print, and return 0."""
    require_training("assay estimate")
    from assay.cli.run_text import format_bytes
    from assay.verification.examination import STATES, estimate

    if not 0 <= arguments.steps < 2**40:
        raise TrialArgument("not a number of steps", expected="0 or more", actual=arguments.steps)
    trials = make_trials(arguments)
    with Meter(quiet=arguments.json) as meter, tempfile.TemporaryDirectory(prefix="assay-estimate-") as folder:
        found = estimate(trials, Path(folder), arguments.steps, meter.update)
    if arguments.json:
        print_json({"exit": 0, "estimate": found})
        return 0
    if found.ratio is not None and found.recorded is not None and found.eager is not None:
        print_strong(f"recording takes {found.ratio:.2f} times the time of plain training")
        print_line(f"  a step: {found.recorded * 1e3:.2f} ms recorded, {found.eager * 1e3:.2f} ms without Assay")
    else:
        eager = f"{found.eager * 1e3:.2f} ms" if found.eager is not None else "unknown"
        print_strong(f"a step takes {eager}; recording was not measured, because the script does not use Assay")
    print_line(f"  hashing the state once: {found.hashing * 1e3:.2f} ms, by default every tenth step")
    if found.disk_bytes is None:
        print_line(
            f"  a stored state: {format_bytes(found.state_bytes)}, at most {STATES} are kept; name --steps for more"
        )
        return 0
    print_strong(f"at most {format_bytes(found.disk_bytes)} on the disk for {found.steps} steps")
    print_line(f"  {STATES} states of {format_bytes(found.state_bytes)}, data {format_bytes(found.data_bytes)}, rows")
    return 0
