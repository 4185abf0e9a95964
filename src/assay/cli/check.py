"""`assay check`: whether a run gives again what a lock holds; for CI."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from assay.cli.commands import add_json
from assay.cli.lock import DEFAULT
from assay.cli.output import print_json, print_line, print_strong
from assay.errors import Unproven

if TYPE_CHECKING:
    from assay.training.compare.findings import Comparison


class OtherEnvironment(Unproven):
    """The run differs from the lock in nothing but the environment and what it computed: nothing is found."""

    code: ClassVar[str] = "check.other-environment"


class StepsMissing(Unproven):
    """The run ended before it reached the last step of the lock; what it did is equal."""

    code: ClassVar[str] = "check.steps-missing"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "run", type=Path, nargs="?", metavar="RUN", help="the new run (default: the folder that the lock names)"
    )
    parser.add_argument("--lock", type=Path, default=DEFAULT, metavar="FILE", help=f"the lock (default: {DEFAULT})")
    add_json(parser)
    parser.epilog = (
        "exit codes: 0 the run gives what the lock holds, 1 training has changed (the cause is named), 2 wrong usage, "
        "3 nothing can be said: another environment, or a file that cannot be read"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Compare the run with the lock, print, and return 0 if they are equal, else 1.

    Raises:
        OtherEnvironment: the environment differs, and nothing that went into the steps does.
        StepsMissing: the run is shorter than the lock.
        AssayError: run or lock cannot be read.
    """
    from assay.training.compare.lock import open_lock, read_lock
    from assay.training.compare.runs import compare_sides
    from assay.training.compare.side import Side

    lock = read_lock(arguments.lock)
    path = arguments.run or Path(lock.run)
    with tempfile.TemporaryDirectory(prefix="assay-lock-") as folder:
        locked = open_lock(lock, Path(folder) / "locked")
        actual = Side(path, "B")
        found = compare_sides(locked, actual)
        _refuse_to_judge(found, path)
    code = 0 if found.equal else 1
    if arguments.json:
        print_json({"exit": code, "comparison": found})
    elif found.equal:
        print_strong(f"{path} gives what {arguments.lock} holds: {found.compared} steps, bit for bit")
    else:
        _print(found, path, arguments.lock)
    return code


def _refuse_to_judge(found: Comparison, path: Path) -> None:
    causes = [finding for finding in found.findings if finding.role == "cause"]
    if causes and causes[0].kind == "environment":
        raise OtherEnvironment(
            f"{path} was recorded in another environment than the lock, and the arithmetic differs",
            expected=f"{causes[0].name} = {causes[0].a}",
            actual=f"{causes[0].name} = {causes[0].b}",
            next_step="make the lock where it is checked, or set what differs: ATEN_CPU_CAPABILITY, threads",
        )
    if not causes and found.compared < found.a.steps:
        raise StepsMissing(
            f"{path} has fewer steps than the lock", expected=f"{found.a.steps} steps", actual=f"{found.b.steps} steps"
        )


def _print(found: Comparison, path: Path, lock: Path) -> None:
    causes = [finding for finding in found.findings if finding.role == "cause"]
    print_strong(f"training has changed: {causes[0].kind}: {causes[0].text}" if causes else "training has changed")
    for finding in causes[:1]:
        for line in finding.details:
            print_line(f"  {line}")
    for finding in causes[1:]:
        print_line(f"  also {finding.kind}: {finding.text}")
    print_line(f"  A is {lock}, B is {path}; first step that differs: {found.first_step}")
    print_line(f"next: if the change is wanted, assay lock {path} --out {lock}, and commit it")
