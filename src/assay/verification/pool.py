"""Worker processes in parallel: each takes bundles of tasks until none is left, and is replaced when it dies."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from assay.errors import Refuted, Unproven
from assay.verification.tasks import OUT_OF_MEMORY, Answer, Ready, Task
from assay.verification.worker_process import WorkerProcess

MAX_DEATHS = 3
"""Workers that may die one after the other, with no answer between, before a lane is given up."""


_SEE = "see the reason; --memory or --time-limit may help"


class CannotJudge(Unproven):
    """This machine cannot recompute the run; nothing is found for or against it."""

    code: ClassVar[str] = "audit.cannot-judge"


class RunRefuted(Refuted):
    """The run contradicts itself before any step is recomputed."""

    code: ClassVar[str] = "audit.run-refuted"


@dataclass
class _Shared:
    """What the threads share. `lock` guards `bundles`, `workers` and `stopped`."""

    bundles: deque[deque[Task]]
    messages: queue.Queue[Answer | BaseException | None] = field(default_factory=queue.Queue)
    lock: threading.Lock = field(default_factory=threading.Lock)
    workers: list[WorkerProcess] = field(default_factory=list)
    stopped: bool = False

    def take(self) -> deque[Task] | None:
        """Return the next bundle, or None if there is none or the pool is stopped."""
        with self.lock:
            return self.bundles.popleft() if self.bundles and not self.stopped else None

    def give_back(self, bundle: deque[Task]) -> None:
        """Put the rest of a bundle back to the front."""
        with self.lock:
            if bundle:
                self.bundles.appendleft(bundle)

    def stop(self) -> None:
        """Kill all workers; none is started afterwards."""
        with self.lock:
            self.stopped = True
            for worker in self.workers:
                worker.kill()


class Pool:
    """Carries out tasks in worker processes.

    Args:
        path: the run.
        environment: of the workers.
        workers: how many.
        memory: bytes that each may take beyond its start; 0: no bound.
        seconds: after which a start or a task is given up.
    """

    def __init__(self, path: Path, environment: dict[str, str], *, workers: int, memory: int, seconds: float) -> None:
        self.path = path
        self.environment = environment
        self.workers = workers
        self.memory = memory
        self.seconds = seconds

    def carry_out(self, bundles: Sequence[Sequence[Task]], receive: Callable[[Answer], None]) -> None:
        """Carry out all tasks and hand each answer to `receive`, in the caller's thread.

        Args:
            bundles: tasks of one bundle go to one worker, in their order, as long as it lives.
            receive: takes each answer when it comes; tasks whose worker died come as failed.

        Raises:
            CannotJudge: a worker cannot have the profile, gets other known answers, or workers keep dying.
            RunRefuted: the run contradicts itself.
            KeyboardInterrupt: all workers have been killed.
        """
        shared = _Shared(deque(deque(bundle) for bundle in bundles if bundle))
        count = max(1, min(self.workers, len(shared.bundles)))
        threads: list[threading.Thread] = []
        try:
            for _ in range(count):
                thread = threading.Thread(target=self._run_lane, args=(shared,), daemon=True)
                thread.start()
                threads.append(thread)
            self._receive_all(shared, count, receive)
        finally:
            shared.stop()
            for thread in threads:
                thread.join(timeout=10)

    @staticmethod
    def _receive_all(shared: _Shared, count: int, receive: Callable[[Answer], None]) -> None:
        ended = 0
        while ended < count:
            message = shared.messages.get()
            if message is None:
                ended += 1
            elif isinstance(message, BaseException):
                raise message
            else:
                receive(message)

    def _run_lane(self, shared: _Shared) -> None:
        """Keep one worker going until no bundle is left; always says when it ends."""
        deaths = 0
        try:
            while (bundle := shared.take()) is not None:
                before = len(bundle)
                reason = self._serve(shared, bundle)
                shared.give_back(bundle)
                if reason is None:
                    continue
                deaths = 1 if before - len(bundle) > 1 else deaths + 1
                if deaths >= MAX_DEATHS:
                    shared.messages.put(CannotJudge("workers keep dying", actual=reason, next_step=_SEE))
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            shared.messages.put(error)
        finally:
            shared.messages.put(None)

    def _serve(self, shared: _Shared, bundle: deque[Task]) -> str | None:
        """Start a worker and feed it this bundle and further ones; return why it died, or None if all is done.

        What is left of a bundle when the worker died stays in `bundle`.
        """
        with shared.lock:
            if shared.stopped:
                return None
            worker = WorkerProcess(self.path, self.environment, self.memory, self.seconds)
            shared.workers.append(worker)
        try:
            self._await_ready(worker)
            while True:
                while bundle:
                    answer = worker.ask(bundle.popleft())
                    shared.messages.put(answer)
                    if not worker.is_alive or answer.detail == OUT_OF_MEMORY:
                        return answer.detail
                following = shared.take()
                if following is None:
                    return None
                bundle.extend(following)
        finally:
            worker.close()
            with shared.lock:
                shared.workers.remove(worker)

    @staticmethod
    def _await_ready(worker: WorkerProcess) -> None:
        ready: Ready | None = worker.await_ready()
        if ready is None:
            raise CannotJudge(
                "a worker ended before it began",
                actual=worker.describe_death(),
                next_step=_SEE,
            )
        if ready.refuted:
            raise RunRefuted(ready.reason)
        if not ready.ready:
            raise CannotJudge(ready.reason, next_step=ready.next_step or None)
