"""Progress of long work: a bar on a terminal, nothing on a pipe; and the check that torch is there."""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType
from typing import Any, Self

from assay.cli.output import print_line
from assay.errors import UsageError


class TorchMissing(UsageError):
    """The command computes, and torch is not installed."""

    code = "cli.torch-missing"


def require_training(command: str) -> None:
    """Check that torch can be imported, without importing it.

    Raises:
        TorchMissing: it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise TorchMissing(f"{command} needs PyTorch", next_step="pip install 'assay[torch]'")


class Meter:
    """Shows how far each piece of work has come.

    Args:
        quiet: show nothing at all, as for `--json`.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, title: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done."""
        if self._progress is None:
            return
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(title, total=total)
        self._progress.update(self._tasks[title], completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._tasks.pop(title))

    def say(self, sentence: str) -> None:
        """Print a finding."""
        if not self.quiet:
            print_line(f"· {sentence}")
            sys.stdout.flush()
