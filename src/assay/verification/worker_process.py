"""One worker process as its parent sees it: started with the profile of the run, asked, timed, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from assay.protocol.decoders import get_json_decoder
from assay.verification.tasks import MAX_LINE, Answer, Ready, Task

_KEPT_LINES = 5
_LINE = 300
_GRACE = 1.0
_NONSENSE = "the worker said something that is no answer, and was stopped"
_SILENT = "the worker gave no answer, and was stopped"


class WorkerProcess:
    """A running worker. One thread asks it; any thread may kill it.

    Args:
        path: the run.
        environment: of the process.
        memory: bytes that it may take beyond its start; 0: no bound.
        seconds: after which it is killed, counted anew for its start and for each task.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, path: Path, environment: dict[str, str], memory: int, seconds: float) -> None:
        self.seconds = seconds
        self._stopped_for = ""
        # -P: modules are not taken from the working directory, which may be a stranger's run.
        command = [sys.executable, "-P", "-m", "assay.verification.worker", str(path), str(memory)]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, which kills it
        )
        self._last_words: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True)
        self._listener.start()

    def await_ready(self) -> Ready | None:
        """Return its first line, or None if it died."""
        line = self._read_line()
        try:
            return get_json_decoder(Ready).decode(line) if line is not None else None
        except msgspec.MsgspecError:
            self._stop(_NONSENSE)
            return None

    def reopen(self, path: Path) -> Ready | None:
        """Let it go on with another run of the same environment; return its answer, or None if it died."""
        try:
            stdin = self._get(self._process.stdin)
            stdin.write(msgspec.json.encode(Task("open", 0, path=str(path))) + b"\n")
            stdin.flush()
        except (OSError, ValueError):  # it is gone
            return None
        return self.await_ready()

    def ask(self, task: Task) -> Answer:
        """Return the answer to a task; a failed one, with the reason, if the worker died or talks nonsense."""
        try:
            stdin = self._get(self._process.stdin)
            stdin.write(msgspec.json.encode(task) + b"\n")
            stdin.flush()
            line = self._read_line()
            if line is not None:
                answer = get_json_decoder(Answer).decode(line)
                if (answer.kind, answer.index) == (task.kind, task.index):
                    return answer
                self._stop(_NONSENSE)
        except msgspec.MsgspecError:
            self._stop(_NONSENSE)
        except (OSError, ValueError):  # it is gone
            pass
        self._stop(_SILENT)
        return Answer(task.kind, task.index, "failed", detail=self.describe_death())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def describe_death(self) -> str:
        """Return why it ended, with the last lines that it wrote to standard error."""
        self._stop(_SILENT)
        self._listener.join(timeout=1)
        status = self._process.returncode
        if self._stopped_for:
            reason = self._stopped_for
        elif status < 0:
            reason = f"the worker was killed by {_name_signal(-status)}"
        else:
            reason = f"the worker ended with status {status}"
        return "\n".join([reason, *self._last_words])

    def kill(self) -> None:
        """End it and everything that it started; returns when it is gone. Killing twice does nothing."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Kill it and close its pipes; only for the thread that asks."""
        self.kill()
        self._listener.join(timeout=1)
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                self._get(stream).close()

    def _listen(self, stream: IO[bytes] | None) -> None:
        """Keep the last lines of standard error, so that the worker never waits for a reader."""
        with self._get(stream) as lines, suppress(OSError, ValueError):
            while line := lines.readline(_LINE):
                if line.strip():
                    self._last_words.append(line.decode("utf-8", "replace").rstrip())

    def _read_line(self) -> bytes | None:
        """Return the next line, or None if the worker died, or was killed because it took too long."""
        late = f"the worker took longer than {self.seconds:g} seconds and was stopped"
        timer = threading.Timer(self.seconds, self._stop, [late])
        timer.daemon = True
        timer.start()
        try:
            line = self._get(self._process.stdout).readline(MAX_LINE)
        finally:
            timer.cancel()
        return line if line.endswith(b"\n") else None

    def _stop(self, reason: str) -> None:
        """Kill it and keep why, if it has not ended by itself."""
        with suppress(subprocess.TimeoutExpired):  # one that has closed its pipe is about to end
            self._process.wait(timeout=_GRACE if reason == _SILENT else 0)
        if self._process.returncode is None and not self._stopped_for:
            self._stopped_for = reason
        self.kill()

    @staticmethod
    def _get(stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:  # all three are pipes
            raise OSError("a worker has no pipes")
        return stream


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
