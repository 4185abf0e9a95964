"""Worker processes: started with the profile of the run, bounded in memory and time, killed cleanly."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar

import msgspec

from assay.errors import Refuted, Unproven
from assay.verification.tasks import MAX_LINE, Answer, Ready, Task

MAX_RESTARTS = 3


class CannotJudge(Unproven):
    """This machine cannot recompute the run; nothing is found for or against it."""

    code: ClassVar[str] = "audit.cannot-judge"


class RunRefuted(Refuted):
    """The run contradicts itself before any step is recomputed."""

    code: ClassVar[str] = "audit.run-refuted"


@dataclass
class _Shared:
    """What the threads that watch the workers share."""

    tasks: deque[Task]
    answers: queue.Queue[Answer | BaseException | None]
    stop: threading.Event = field(default_factory=threading.Event)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Pool:
    """Carries out tasks in worker processes.

    Args:
        path: the run.
        environment: of the workers.
        workers: how many.
        memory: bytes that each may take beyond its start; 0: no bound.
        seconds: after which a task is given up.
    """

    def __init__(
        self, path: Path, environment: dict[str, str], *, workers: int, memory: int, seconds: float
    ) -> None:
        self.path = path
        self.environment = environment
        self.workers = workers
        self.memory = memory
        self.seconds = seconds

    def carry_out(self, tasks: Sequence[Task], receive: Callable[[Answer], None]) -> None:
        """Carry out all tasks and hand each answer to `receive`, in the caller's thread.

        Raises:
            CannotJudge: a worker cannot have the profile, or gets other known answers.
            RunRefuted: the run contradicts itself.
            KeyboardInterrupt: all workers have been killed.
        """
        shared = _Shared(deque(tasks), queue.Queue())
        count = max(1, min(self.workers, len(tasks)))
        threads = [threading.Thread(target=self._watch, args=(shared,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        ended = 0
        try:
            while ended < count:
                message = shared.answers.get()
                if message is None:
                    ended += 1
                elif isinstance(message, BaseException):
                    raise message
                else:
                    receive(message)
        finally:
            shared.stop.set()
            with shared.lock:
                for process in shared.processes:
                    _kill(process)
            for thread in threads:
                thread.join(timeout=10)

    def _watch(self, shared: _Shared) -> None:
        """Keep one worker going until no task is left."""
        try:
            restarts = 0
            while shared.tasks and not shared.stop.is_set():
                if not self._serve(shared):
                    restarts += 1
                    if restarts > MAX_RESTARTS:
                        raise CannotJudge("workers keep dying", next_step="give them more memory with --memory")
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            shared.answers.put(error)
        finally:
            shared.answers.put(None)

    def _serve(self, shared: _Shared) -> bool:
        """Start a worker and feed it; False if it died or was killed before the tasks were done."""
        process = self._start(shared)
        try:
            if process.stdin is None or process.stdout is None:
                raise CannotJudge("a worker has no pipes")
            self._await_ready(process, process.stdout)
            while not shared.stop.is_set():
                try:
                    task = shared.tasks.popleft()
                except IndexError:
                    return True
                answer = self._ask(process, process.stdin, process.stdout, task)
                shared.answers.put(answer)
                if process.poll() is not None or answer.detail in _FATAL:
                    return False
            return True
        finally:
            _kill(process)

    def _start(self, shared: _Shared) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "assay.verification.worker", str(self.path), str(self.memory)]
        with shared.lock:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,
            )
            shared.processes.append(process)
        return process

    def _await_ready(self, process: subprocess.Popen[bytes], stream: IO[bytes]) -> None:
        line = self._read_line(process, stream)
        if line is None:
            raise CannotJudge("a worker died before it began", next_step="give it more memory with --memory")
        ready = msgspec.json.decode(line, type=Ready)
        if ready.refuted:
            raise RunRefuted(ready.reason)
        if not ready.ready:
            raise CannotJudge(
                ready.reason, next_step="audit on a machine like the one that recorded; the profile is in the run"
            )

    def _ask(self, process: subprocess.Popen[bytes], tasks: IO[bytes], answers: IO[bytes], task: Task) -> Answer:
        try:
            tasks.write(msgspec.json.encode(task) + b"\n")
            tasks.flush()
            line = self._read_line(process, answers)
            if line is not None:
                return msgspec.json.decode(line, type=Answer)
        except (OSError, msgspec.MsgspecError):
            pass
        return Answer(task.kind, task.index, "failed", detail=_DIED)

    def _read_line(self, process: subprocess.Popen[bytes], stream: IO[bytes]) -> bytes | None:
        """Return the next line, or None if the worker died, or was killed because it took too long."""
        timer = threading.Timer(self.seconds, _kill, [process])
        timer.daemon = True
        timer.start()
        try:
            line = stream.readline(MAX_LINE)
        finally:
            timer.cancel()
        return line if line.endswith(b"\n") else None


_DIED = "the worker died or took too long"
_FATAL = frozenset({_DIED, "out of memory"})


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                pass
