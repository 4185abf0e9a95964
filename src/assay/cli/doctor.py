"""`assay doctor train.py`: reproducible, resume-safe, replayable; and what stands in the way."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from assay.cli.commands import add_json
from assay.cli.meter import Meter, require_training
from assay.cli.output import print_json, print_line, print_strong, print_table
from assay.errors import UsageError

if TYPE_CHECKING:
    from assay.verification.examination import Examination
    from assay.verification.trials import Trials


class TrialArgument(UsageError):
    """An argument of a trial that cannot be."""

    code: ClassVar[str] = "doctor.argument"


def add_trial_arguments(parser: argparse.ArgumentParser, steps: int) -> None:
    """Add the arguments that bound trials of a script."""
    parser.add_argument("script", type=Path, metavar="SCRIPT", help="the training script; it is run: use your own")
    parser.add_argument("words", nargs="*", metavar="WORD", help="its own arguments, after --")
    parser.add_argument(
        "--trial-steps", type=int, default=steps, metavar="N", help=f"steps of a trial (default: {steps})"
    )
    parser.add_argument("--time-limit", type=float, default=300.0, metavar="SECONDS", help="of a trial (default: 300)")
    parser.add_argument("--memory", default="0", metavar="SIZE", help="of a trial, such as 4G; 0: no bound (default)")


def make_trials(arguments: argparse.Namespace) -> Trials:
    """Return the bounds of the trials.

    Raises:
        TrialArgument: a number that cannot be.
    """
    from assay.cli.run import parse_size
    from assay.verification.trials import Trials

    if not 6 <= arguments.trial_steps <= 10_000:
        raise TrialArgument("not a number of steps for a trial", expected="6 to 10000", actual=arguments.trial_steps)
    if not 0 < arguments.time_limit <= 86_400:
        raise TrialArgument("not a limit of time", expected="above 0, at most 86400", actual=arguments.time_limit)
    return Trials(
        arguments.script,
        tuple(arguments.words),
        arguments.trial_steps,
        parse_size(arguments.memory),
        arguments.time_limit,
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_trial_arguments(parser, 12)
    add_json(parser)
    parser.epilog = "exit codes: 0 nothing in the way, 1 blockers were found, 2 wrong usage, 3 the script itself failed"


def execute(arguments: argparse.Namespace) -> int:
    """Examine, print, and return 0 if nothing is in the way, else 1."""
    require_training("assay doctor")
    from assay.verification.examination import NO, examine

    trials = make_trials(arguments)
    with Meter(quiet=arguments.json) as meter, tempfile.TemporaryDirectory(prefix="assay-doctor-") as folder:
        found = examine(trials, Path(folder), meter.update)
    code = 1 if found.blockers or any(goal.verdict == NO for goal in found.goals) else 0
    if arguments.json:
        print_json({"exit": code, "examination": found})
    else:
        _print(found)
    return code


def _print(found: Examination) -> None:
    from assay.cli.run_text import format_bytes

    print_table([[goal.goal, goal.verdict, goal.how.splitlines()[0] if goal.how else ""] for goal in found.goals])
    for blocker in found.blockers:
        print_line()
        place = f"{blocker.file}:{blocker.line}" if blocker.line else blocker.file
        print_strong(f"{place}: {blocker.reason}")
        print_line(f"  in the way of: {blocker.goal} ({blocker.code})")
        print_line(f"  cure: {blocker.cure}")
    if not found.blockers:
        print_line()
        print_line("no blocker was found; a trial of a few steps cannot see what happens later")
    if found.disk_bytes is not None:
        print_line(f"recording all of it takes at most {format_bytes(found.disk_bytes)} on the disk")
    print_line(f"what it costs in time: assay estimate {found.script}")
