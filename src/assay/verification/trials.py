"""Trials of a user's script: each in a process of its own, bounded in time and memory, killed with what it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from assay.protocol.decoders import get_json_decoder

_KEPT: int = 2000


class Report(msgspec.Struct, frozen=True):
    """What a trial saw; the fields are those of `training.pytorch.trial.Observed`.

    `ended`: empty, or why there is no report: killed, out of time, out of memory.
    """

    seconds: list[float] = []
    digests: list[str] = []
    state_bytes: int = 0
    data_bytes: int = 0
    intended: int = 0
    refusal: str = ""
    code: str = ""
    next_step: str = ""
    failure: str = ""
    line: int = 0
    finished: bool = False
    generators: str = ""
    ended: str = ""


@dataclass(frozen=True)
class Trials:
    """How trials of one script are made.

    Attributes:
        script: the user's file.
        arguments: its own words.
        steps: of each trial.
        memory: bytes that a process may take beyond its start; 0: no bound.
        seconds: after which a trial is given up.
    """

    script: Path
    arguments: tuple[str, ...]
    steps: int
    memory: int
    seconds: float

    def run(self, mode: str, folder: Path, *, kill_at: int = 0) -> Report:
        """Run the script once.

        Args:
            mode: "recorded", "eager" or "plain".
            folder: of the run.
            kill_at: the step before which it dies; 0: it does not.
        """
        with tempfile.TemporaryDirectory(prefix="assay-trial-") as name:
            report = Path(name) / "report.json"
            command = [
                sys.executable, "-m", "assay.verification.trial_process", str(report), str(self.memory), mode,
                str(self.steps), str(kill_at), str(folder), str(self.script), *self.arguments,
            ]  # fmt: skip
            ended = self._watch(command)
            if not report.is_file():
                return Report(ended=ended)
            try:
                return get_json_decoder(Report).decode(report.read_bytes())
            except msgspec.MsgspecError:
                return Report(ended="the trial left no report that can be read")

    def _watch(self, command: list[str]) -> str:
        """Run a command to its end, or kill it when its time is over; return why it ended, with its last words."""
        with tempfile.TemporaryFile() as words:
            process = subprocess.Popen(  # noqa: S603 - our own module; the script is the user's own
                command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True
            )
            reason = ""
            try:
                status = process.wait(timeout=self.seconds)
                reason = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
            except subprocess.TimeoutExpired:
                reason = f"took longer than {self.seconds:g} seconds"
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            words.seek(max(0, words.seek(0, os.SEEK_END) - _KEPT))
            last = words.read().decode("utf-8", "replace").strip().splitlines()[-3:]
        return "\n".join([reason, *last])
