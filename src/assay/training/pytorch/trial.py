"""Runs a user's script for a few steps, inside a process of its own that the doctor started and watches.

A script that records with Assay is sent into another folder and stopped after so many steps. A plain one is stopped
after so many calls of `optimizer.step()`, and the parameters of that optimizer are hashed after each: two trials of one
script must give the same digests. Nothing that a trial says is evidence.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import random
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from assay.errors import AssayError
from assay.training.data_store import count_bytes
from assay.training.pytorch import devices, session
from assay.training.pytorch.home import get_bytes
from assay.training.recorder import ResumeDiffers

RECORDED, TIMED, EAGER, PLAIN = "recorded", "timed", "eager", "plain"
"""How a trial goes: with Assay and states close together, with Assay as the script has it, the same script with Assay
taken out, a script without Assay."""


class _EnoughError(BaseException):
    """Ends the script; no `except Exception` of the user's stops it."""


@dataclass
class Observed:
    """What a trial saw.

    Attributes:
        seconds: of each step, begun with the step before.
        digests: of the parameters after each step, for scripts without Assay.
        state_bytes: parameters, buffers and optimizer slots.
        data_bytes: of the committed data, or 0.
        intended: steps that the script means to take, or 0.
        refusal: of Assay, or empty.
        failure: of the script itself, or empty.
        line: where it failed, or 0.
        finished: whether the script ended by itself.
        generators: digest of the states of torch's, NumPy's and Python's generators at the first step.
    """

    seconds: list[float] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
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


class Trial:
    """One trial.

    Args:
        script: the user's file.
        arguments: its own words.
        mode: RECORDED, EAGER or PLAIN.
        steps: after which it is ended.
        folder: of the run, for RECORDED.
        kill_at: the step before which the process dies without a word; 0: it does not.
    """

    def __init__(
        self, script: Path, arguments: list[str], mode: str, steps: int, folder: Path, kill_at: int = 0
    ) -> None:
        self.script, self.arguments, self.mode = script, arguments, mode
        self.steps, self.folder, self.kill_at = steps, folder, kill_at
        self.seen = Observed()
        self._last = 0.0
        self._runs: list[session.Run] = []

    def run(self) -> Observed:
        """Run the script until it has taken its steps, ends or fails."""
        with self._prepare():
            sys.argv = [str(self.script), *self.arguments]
            sys.path.insert(0, str(self.script.resolve().parent))
            try:
                runpy.run_path(str(self.script), run_name="__main__")
                self.seen.finished = True
            except _EnoughError:
                pass
            except AssayError as error:
                self.seen.refusal, self.seen.code = error.message, error.code
                self.seen.next_step = error.next_step or ""
                self.seen.line = self._find_line(error)
            except SystemExit as end:
                self.seen.finished = not end.code
                self.seen.failure = f"the script ended with {end.code!r}" if end.code else ""
            except Exception as error:  # noqa: BLE001 - whatever the user's script raises is what is reported
                self.seen.failure = f"{type(error).__name__}: {error}"[:1000]
                self.seen.line = self._find_line(error)
        for run in self._runs:
            self._measure_run(run)
            with suppress(ResumeDiffers) if self.seen.refusal else nullcontext():  # it was refused at its step
                run.close()
        return self.seen

    def _find_line(self, error: BaseException) -> int:
        """Return the innermost line of the script in a traceback, or 0."""
        found, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(self.script):
                found = trace.tb_lineno
            trace = trace.tb_next
        return found

    def _prepare(self) -> Any:
        if self.mode in {RECORDED, TIMED}:
            self._redirect()
        elif self.mode == EAGER:
            import assay

            assay.start = self._start_eager  # type: ignore[assignment]
        else:
            register_optimizer_step_post_hook(lambda optimizer, *_: self._note_plain(optimizer))
        return nullcontext()

    # -- scripts that use Assay ---------------------------------------------------------------------------------------

    def _redirect(self) -> None:
        """Have every run of the script recorded in the trial's folder, with checkpoints close together."""
        make, decorate, run_epochs = session.Run.__init__, session.Run.step, session.Run.epochs
        signature = inspect.signature(make)
        trial = self

        @functools.wraps(make)
        def make_here(run: session.Run, *args: Any, **kwargs: Any) -> None:
            bound = signature.bind(run, *args, **kwargs)
            bound.arguments["path"] = trial.folder
            if trial.mode == RECORDED:
                bound.arguments["checkpoint_every"] = max(1, trial.steps // 4)
                bound.arguments["root_period"] = 1
            trial._runs.append(run)
            make(*bound.args, **bound.kwargs)

        @functools.wraps(decorate)
        def decorate_here(run: session.Run, *args: Any, **kwargs: Any) -> Any:
            inner = decorate(run, *args, **kwargs)
            return lambda body: trial._count(inner(body), run)

        def epochs_here(run: session.Run, count: int) -> Any:
            loader = run._loader
            trial.seen.intended = count * len(loader) if loader is not None else 0
            return run_epochs(run, count)

        patched: Any = session.Run
        patched.__init__, patched.step, patched.epochs = make_here, decorate_here, epochs_here

    def _count(self, function: Callable[..., Any], run: session.Run) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if run.step_number >= self.steps:
                raise _EnoughError
            if self.kill_at and run.step_number + 1 >= self.kill_at:
                run.sync()  # a trial is so short that its states would not have reached the disk
                os._exit(9)
            result = function(*args, **kwargs)
            self._note_time()
            return result

        return counted

    def _note_time(self) -> None:
        devices.await_work()
        now = time.perf_counter()
        if self._last:
            self.seen.seconds.append(now - self._last)
        self._last = now

    def _measure_run(self, run: session.Run) -> None:
        self.seen.state_bytes = _count_state(run._models, run._optimizers)
        if run._loader is not None:
            self.seen.data_bytes = count_bytes(run._loader.data.packed)

    # -- the same script without Assay --------------------------------------------------------------------------------

    def _start_eager(self, *_: Any, threads: int = 1, **__: Any) -> _EagerRun:
        torch.set_num_threads(threads)
        return _EagerRun(self)

    # -- scripts without Assay ----------------------------------------------------------------------------------------

    def _note_plain(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.seen.digests:
            self.seen.generators = _hash_generators()
        digest = blake3()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for parameter in parameters:
            digest.update(get_bytes(parameter.detach().cpu().contiguous()).data)
        self.seen.digests.append(digest.hexdigest())
        self._note_time()
        self.seen.state_bytes = _count_tensors([*parameters, *_list_slots(optimizer)])
        if len(self.seen.digests) >= self.steps:
            raise _EnoughError


class _EagerLoader:
    """The batches of a `DataLoader`, or lists of so many, as `session.Run` gives them."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        self.count = 0

    def __len__(self) -> int:
        return math.ceil(len(self._loader) / (self.count or 1))

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._loader)
        if not self.count:
            yield from batches
        while together := list(islice(batches, self.count)):
            yield together


class _EagerRun:
    """Stands for a run and records nothing: what the same script costs without Assay."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._loader: _EagerLoader | None = None
        self.step_number = 0

    def init(self) -> Any:
        return nullcontext()  # what follows are the names of `session.Run`

    def loader(
        self, dataset: Any, *, batch_size: int = 1, shuffle: bool = True, drop_last: bool = False, **given: Any
    ) -> Any:
        if not isinstance(dataset, DataLoader):
            collate = given.get("collate_fn")
            dataset = DataLoader(
                dataset, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, collate_fn=collate
            )
        self._loader = _EagerLoader(dataset)
        self._loader.count = given.get("accumulate") or 0
        return self._loader

    def step(self, *, accumulate: int = 0, **_: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        if self._loader is not None:
            self._loader.count = accumulate or self._loader.count

        def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **kwargs: Any) -> Any:
                if self.step_number >= self._trial.steps:
                    raise _EnoughError
                result = body(*args, **kwargs)
                self.step_number += 1
                self._trial._note_time()
                return result

            return counted

        return decorate

    def epochs(self, count: int) -> Any:
        return iter(range(count))

    def edit(self, *_: Any, **__: Any) -> Any:
        return nullcontext()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: {}


def _hash_generators() -> str:
    digest = blake3(torch.get_rng_state().numpy().tobytes())
    for state in torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ():
        digest.update(state.numpy().tobytes())
    digest.update(repr(np.random.get_state()).encode())  # noqa: NPY002 - the user's scripts draw from it
    digest.update(repr(random.getstate()).encode())
    return digest.hexdigest()


def _list_slots(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [value for slots in optimizer.state.values() for value in slots.values() if isinstance(value, torch.Tensor)]


def _count_tensors(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _count_state(models: Any, optimizers: Any) -> int:
    tensors: dict[int, torch.Tensor] = {}
    for model in models:
        if isinstance(model, nn.Module):
            tensors |= {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    slots = [slot for optimizer in optimizers for slot in _list_slots(optimizer)]
    return _count_tensors([*tensors.values(), *slots])
