"""What both demonstrations share: findings that have to be right, training in a process of its own, a reader apart."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from assay.errors import StorageError, UsageError

MARKER = ".assay-demo"
POISONED, INTERPOLATED = 4, 7
"""Intervals, counted from 0, that the forgers falsify."""

_STEP = re.compile(rb"step (\d+) of (\d+)")

_ISOLATED = """
import socket, sys
def refuse(*_, **__): raise OSError("this process has no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.modules["torch"] = None
from assay.cli.__main__ import main
code = main(sys.argv[1:])
sys.exit(code if not [name for name in sys.modules if name.startswith("torch.")] else 70)
"""

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


class DemoFailed(UsageError):
    """A finding of the demonstration is not what it has to be."""

    code: ClassVar[str] = "demo.failed"


@dataclass
class Story(ABC):
    """The folder and the findings of one demonstration; the story fails if a finding is not what it has to be.

    Attributes:
        folder: everything is written below it.
        say: is told each finding as a sentence.
        progress: is told what is under way, how much is done, of how much.
        findings: name to what was found.
    """

    folder: Path
    say: Say
    progress: Progress
    findings: dict[str, object] = field(default_factory=dict)

    def run(self) -> dict[str, object]:
        """Tell the whole story and return the findings.

        Raises:
            DemoFailed: something was found that must not be.
        """
        begun = time.monotonic()
        self.folder = self.folder.absolute()
        prepare_folder(self.folder)
        os.environ["ASSAY_HOME"] = str(self.folder / "home")
        self._tell()
        self.findings["seconds"] = round(time.monotonic() - begun, 1)
        return self.findings

    @abstractmethod
    def _tell(self) -> None:
        """Tell it, in a folder and a home of its own."""

    def _note(self, name: str, value: object, sentence: str, *, right: bool) -> None:
        """Keep a finding and say it.

        Raises:
            DemoFailed: it is not right.
        """
        self.findings[name] = value
        if not right:
            raise DemoFailed(f"the demonstration found something wrong: {sentence}", actual=value)
        self.say(sentence)


def train(script: str, folder: Path, title: str, progress: Progress, kill_at: int = 0) -> None:
    """Run a training script in a process of its own.

    Args:
        script: name of the module in this package.
        folder: of the run.
        title: for `progress`.
        progress: is told the steps.
        kill_at: the step after which the process is killed; 0: not at all.

    Raises:
        DemoFailed: it failed.
    """
    command = [sys.executable, "-m", f"assay.demonstration.{script}", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stdout or ():
            match = _STEP.match(line)
            if match is None:
                continue
            step, total = int(match[1]), int(match[2])
            progress(title, step, total)
            if kill_at and step >= kill_at:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return
        errors = process.stderr.read().decode(errors="replace") if process.stderr else ""
    if process.returncode:
        raise DemoFailed(f"{title} failed", actual=errors[-2000:])


def verify_isolated(words: list[str], home: Path | None = None) -> int:
    """Run `assay` in a process without torch and without network, and return its exit code.

    Args:
        words: after `assay`.
        home: of its keys and anchors; None: that of this process.
    """
    environment = dict(os.environ) if home is None else {**os.environ, "ASSAY_HOME": str(home)}
    command = [sys.executable, "-c", _ISOLATED, *words]
    return subprocess.run(command, capture_output=True, check=False, env=environment).returncode


def prepare_folder(folder: Path) -> None:
    """Make an empty folder for the demonstration; one that an earlier demonstration made is replaced.

    Raises:
        UsageError: the folder holds something else.
        StorageError: it cannot be written.
    """
    try:
        if folder.exists():
            if not (folder / MARKER).is_file():
                raise UsageError(
                    f"{folder} exists and was not made by a demonstration", next_step="choose another folder"
                )
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (folder / MARKER).write_text("made by assay demo; replaced by the next one\n", encoding="ascii")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written", actual=error.strerror) from None
