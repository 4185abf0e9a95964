"""The step of Lightning's automatic optimization, as a recorded step: what it may hold, and how it is carried out.

Lightning's loop stays: epochs, callbacks, schedulers, validation, logging. What it does for one batch (`training_step`,
`backward`, clipping, the optimizer's step) is done by a step of the run in its place, with the same operators in the
same order.

Source: `docs/how-to/trainers.md`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from assay.errors import CaptureRefused
from assay.training.pytorch.loader import Loader
from assay.training.pytorch.session import Run
from assay.training.pytorch.trainer_levels import PLAIN_CURE, TrainerUnfit, verify_unchanged
from assay.training.pytorch.unreadable import Unreadable

_IN_STEP = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
_OWN_IN_STEP = (*_IN_STEP, "backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")
_TRAINER_CURE = "move it into a hook or callback outside the step, or keep the number in a buffer of the model"


def verify_trainer(trainer: Any, module: LightningModule) -> None:
    """Check that Lightning's step for this module is one that can be recorded.

    Raises:
        TrainerUnfit: naming the first thing that is not, and the cure.
    """
    for found, actual, expected, cure in _list_objections(trainer, module):
        if found:
            raise TrainerUnfit(
                "this Lightning training cannot be recorded as replayable", expected=expected, actual=actual,
                next_step=cure,
            )  # fmt: skip


def _list_objections(trainer: Any, module: LightningModule) -> Iterator[tuple[bool, str, str, str]]:
    """Yield (whether it is so, what is there, what should be, cure)."""
    loader, kept = trainer.train_dataloader, "pass trainer.fit(module, run.loader(dataset, batch_size=...))"
    yield not isinstance(loader, Loader), f"a {type(loader).__name__}", "batches of run.loader", kept
    yield not module.automatic_optimization, "manual optimization", "automatic optimization", PLAIN_CURE
    number = len(trainer.optimizers)
    yield number != 1, f"{number} optimizers", "one optimizer", PLAIN_CURE
    strategy, plugin = trainer.strategy, trainer.precision_plugin
    yield (
        type(strategy) is not SingleDeviceStrategy, f"strategy {type(strategy).__name__}", "one device",
        "Trainer(devices=1, strategy='auto')",
    )  # fmt: skip
    yield (
        type(plugin) is not Precision, f"precision {plugin.precision}", "precision 32-true",
        "Trainer(precision='32-true'); for bfloat16 put torch.autocast('cpu', torch.bfloat16) into training_step",
    )  # fmt: skip
    count = trainer.accumulate_grad_batches
    yield count != 1, f"accumulate_grad_batches={count}", "one batch a step", "take larger batches in run.loader"
    whole, taken = len(loader), trainer.num_training_batches
    yield taken != whole, f"{taken} of {whole} batches an epoch", "whole epochs", "leave limit_train_batches out"
    yield (
        "dataloader_iter" in inspect.signature(module.training_step).parameters, "training_step(dataloader_iter)",
        "training_step(batch) or training_step(batch, batch_idx)", "take the batch itself",
    )  # fmt: skip
    yield module._compiler_ctx is not None, "a compiled module", "the module itself", "leave torch.compile out"
    yield from _list_hooks(trainer, module)


def _list_hooks(trainer: Any, module: LightningModule) -> Iterator[tuple[bool, str, str, str]]:
    """Yield objections against what runs inside of Lightning's step beside `training_step`."""
    for owner, base, names in [
        (module, LightningModule, _OWN_IN_STEP),
        *((callback, Callback, _IN_STEP) for callback in trainer.callbacks),
    ]:
        for name in names:
            is_own = name in vars(owner) or getattr(type(owner), name) is not getattr(base, name)
            yield (
                is_own, f"{type(owner).__name__}.{name}", "hooks outside the step alone",
                f"move what {name} does into training_step or behind the step; otherwise {PLAIN_CURE}",
            )  # fmt: skip


class _Logged:
    """Collects what `training_step` logs, so that the step returns it and Lightning gets it afterwards."""

    def __init__(self) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self._options: dict[str, dict[str, Any]] = {}
        self.log = self._log  # one object: the guards of a step compare by identity

    def _log(self, name: str, value: Any, *given: Any, **options: Any) -> None:
        if not isinstance(value, torch.Tensor) or given:
            raise CaptureRefused(
                f"training_step logs {name!r} as a {type(value).__name__}",
                expected="tensors, and options of self.log by name",
                next_step="log numbers of your own from a callback, after the step",
            )
        self.values[name] = value.detach()
        self._options[name] = options

    def pass_on(self, module: LightningModule, values: dict[str, torch.Tensor]) -> None:
        """Log the values that the step returned as `training_step` would have."""
        module._current_fx_name = "training_step"
        try:
            for name, value in values.items():
                module.log(name, value, **self._options[name])
        finally:
            module._current_fx_name = None


class LightningStep:
    """Carries out Lightning's step as a step of a run.

    Args:
        run: in which it is recorded.
        trainer: that fits `module`, about to begin.
        module: the model.

    Raises:
        TrainerUnfit: the training cannot be recorded as replayable.
    """

    def __init__(self, run: Run, trainer: Any, module: LightningModule) -> None:
        verify_trainer(trainer, module)
        self._trainer, self._module, self._logged = trainer, module, _Logged()
        self._parts: list[Any] = [part for part in module.modules() if isinstance(part, LightningModule)]
        self._absent = Unreadable("the trainer", _TRAINER_CURE)
        number = Unreadable("the batch number", "leave it out: no step of a run knows its number")
        optimizer = trainer.optimizers[0]
        body = partial(
            _carry_out, module.training_step, optimizer, _make_clipping(trainer), self._logged,
            (self._absent, number), (number,) * _takes_number(module),
        )  # fmt: skip
        self._settings = self._read_settings()
        self._recorded = run.step(models=[module], optimizers=[optimizer])(body)
        self._optimization: Any = trainer.fit_loop.epoch_loop.automatic_optimization
        self._optimization.run = self
        steps = trainer.estimated_stepping_batches
        _go_on(trainer.fit_loop, run.begin(steps if isinstance(steps, int) else 0), len(trainer.train_dataloader))

    def __call__(self, _optimizer: Any, _number: int, arguments: Mapping[str, Any]) -> Any:
        """Stand in the place of `_AutomaticOptimization.run`; returns what `training_step` would have."""
        verify_unchanged(self._settings, self._read_settings())
        progress = self._optimization.optim_progress.optimizer.step
        progress.increment_ready()
        with self._hide_trainer():
            outputs, logged = self._recorded(arguments["batch"])
        progress.increment_completed()
        self._logged.pass_on(self._module, logged)
        return outputs

    def _read_settings(self) -> dict[str, Any]:
        """Return what the recorded body took from trainer and module when it was made."""
        names = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "optimizers")
        settings = {name: getattr(self._trainer, name) for name in names}
        return {**settings, "training_step": self._module.training_step}

    @contextmanager
    def _hide_trainer(self) -> Iterator[None]:
        """Put what may not be read in the place of the trainer, and what collects in the place of `log`."""
        for part in self._parts:
            part._trainer, part.log = self._absent, self._logged.log
        try:
            yield
        finally:
            for part in self._parts:
                part._trainer = self._trainer
                del part.log


def _go_on(loop: Any, done: int, length: int) -> None:
    """Put Lightning's counters where a resumed run stands: the loader yields what is left of the epoch.

    Args:
        loop: Lightning's loop over epochs.
        done: steps that were carried out.
        length: batches of an epoch.
    """
    if not done:
        return
    epochs, batches = divmod(done, length)
    loop.epoch_progress.increment_by(epochs)
    inner = loop.epoch_loop
    inner.automatic_optimization.optim_progress.optimizer.step.total.increment_by(done)
    inner.batch_progress.total.increment_by(done)
    inner._batches_that_stepped = done
    reset = inner.reset

    def reset_once() -> None:
        inner.reset = reset
        reset()
        inner.batch_progress.current.increment_by(batches)

    inner.reset = reset_once


def _takes_number(module: LightningModule) -> bool:
    return len(inspect.signature(module.training_step).parameters) > 1


def _make_clipping(trainer: Any) -> Callable[[list[torch.Tensor]], Any] | None:
    """Return what Lightning does to the gradients before the optimizer's step."""
    bound = trainer.gradient_clip_val
    if not bound or bound <= 0:
        return None
    by_value = trainer.gradient_clip_algorithm == "value"
    clip: Callable[..., Any] = nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_
    return partial(_clip, clip, bound)


def _clip(clip: Callable[..., Any], bound: float, parameters: list[torch.Tensor]) -> None:
    clip(parameters, bound)


def _carry_out(
    training_step: Callable[..., Any],
    optimizer: torch.optim.Optimizer,
    clip: Callable[[list[torch.Tensor]], Any] | None,
    logged: _Logged,
    absent: tuple[Unreadable, ...],
    further: tuple[Unreadable, ...],
    batch: Any,
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Carry out the step: the operators of Lightning's, in their order.

    Returns:
        What `training_step` returned, detached, as Lightning hands it to its hooks, and what it logged.
    """
    logged.values.clear()
    outputs = training_step(batch, *further)
    for refused in (refusal for one in absent for refusal in one.refused):
        raise refused  # `training_step` caught it and went on
    outputs = outputs if isinstance(outputs, dict) else {"loss": outputs}
    if not isinstance(outputs.get("loss"), torch.Tensor):
        raise CaptureRefused(
            "training_step returns no loss",
            expected="a tensor, or a dictionary with 'loss'",
            next_step="return the loss for every batch",
        )
    optimizer.zero_grad()
    outputs["loss"].backward()
    if clip is not None:
        clip([parameter for group in optimizer.param_groups for parameter in group["params"]])
    optimizer.step()
    optimizer.zero_grad()
    return outputs, dict(logged.values)
