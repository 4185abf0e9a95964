"""The step of Hugging Face's `Trainer`, as a recorded step: what it may hold, and how it is carried out.

The `Trainer`'s loop stays: epochs, callbacks, schedulers, evaluation, logging. Its `compute_loss` is called inside of a
step of the run, for each batch that it accumulates, with what `training_step` and the loop do then on one device:
`backward`, clipping, the optimizer's step. What the loop does itself afterwards finds no gradients and changes nothing.
`training_step` itself is not called: it reads the environment.

Source: `docs/how-to/trainers.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any

import torch
from accelerate.utils import DistributedType  # type: ignore[import-untyped]
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from assay.training.pytorch.loader import Loader
from assay.training.pytorch.session import Run
from assay.training.pytorch.trainer_levels import PLAIN_CURE, TrainerUnfit, verify_unchanged
from assay.training.pytorch.unreadable import Unreadable

_IN_STEP = ("on_pre_optimizer_step", "on_optimizer_step")
_OWN_IN_STEP = (
    "training_step", "_prepare_inputs", "compute_loss_context_manager", "autocast_smart_context_manager",
    "_clip_grad_norm", "_get_grad_norm", "get_batch_samples", "_get_num_items_in_batch",
)  # fmt: skip
_ABSENT = (
    "state", "control", "callback_handler", "lr_scheduler", "_tr_loss", "_total_loss_scalar", "_globalstep_last_logged",
    "_initial_global_step", "_initial_num_input_tokens_seen", "current_flos", "_memory_tracker", "train_dataset",
    "eval_dataset", "data_collator", "processing_class", "get_train_dataloader", "gather_function",
)  # fmt: skip
"""What a trainer holds and its step must not read: it changes from step to step, or does not belong to the step."""

_ABSENT_CURE = "move it into a callback outside the step, or keep the number in a buffer of the model"


def verify_trainer(trainer: Trainer, loader: Loader) -> None:
    """Check that the `Trainer`'s step is one that can be recorded.

    Raises:
        TrainerUnfit: naming the first thing that is not, and the cure.
    """
    for found, actual, expected, cure in (*_list_objections(trainer, loader), *_list_hooks(trainer)):
        if found:
            raise TrainerUnfit(
                "this training of a Hugging Face Trainer cannot be recorded as replayable",
                expected=expected, actual=actual, next_step=cure,
            )  # fmt: skip


def _list_objections(trainer: Any, loader: Loader) -> Iterator[tuple[bool, str, str, str]]:
    """Yield (whether it is so, what is there, what should be, cure)."""
    args, accelerator = trainer.args, trainer.accelerator
    precision, kind = accelerator.mixed_precision, accelerator.distributed_type.value
    yield (
        precision != "no", f"mixed precision {precision}", "no mixed precision",
        "leave fp16 and bf16 out; for bfloat16 put torch.autocast('cpu', torch.bfloat16) into compute_loss",
    )  # fmt: skip
    yield kind != "NO" or args.n_gpu > 1, f"distributed training ({kind})", "one device", "train on one device"
    yield bool(args.torch_compile), "torch_compile", "the model itself", "leave torch_compile out"
    yield bool(args.auto_find_batch_size), "auto_find_batch_size", "one batch size", "leave it out"
    yield (
        bool(args.load_best_model_at_end), "load_best_model_at_end", "the weights of the last step",
        "load the best model yourself, after run.finish()",
    )  # fmt: skip
    size, wanted = loader.feed.batch_size, args.train_batch_size
    yield (
        size != wanted, f"batches of {size} from run.loader", f"batches of {wanted}",
        f"run.loader(dataset, batch_size={wanted}), or per_device_train_batch_size={size}",
    )  # fmt: skip


def _list_hooks(trainer: Trainer) -> Iterator[tuple[bool, str, str, str]]:
    """Yield objections against what runs inside of the step beside `training_step`."""
    owners: list[tuple[Any, type, tuple[str, ...]]] = [(trainer, Trainer, _OWN_IN_STEP)]
    owners += [(callback, TrainerCallback, _IN_STEP) for callback in trainer.callback_handler.callbacks]
    for owner, base, names in owners:
        for name in names:
            inherited = getattr(base, name, None)
            is_own = name in vars(owner) or getattr(type(owner), name, None) is not inherited
            yield (
                is_own, f"{type(owner).__name__}.{name}", "hooks outside the step alone",
                f"move what {name} does behind the step; otherwise {PLAIN_CURE}",
            )  # fmt: skip


class SingleBatches:
    """The batches of a run's loader one by one, also where a step accumulates over several.

    Args:
        loader: of the run.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader, self._length = loader, loader.feed.per_epoch  # before steps accumulate

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self._length

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of an epoch."""
        for given in self._loader:
            yield from given if isinstance(given, list) else [given]


class _PlainAccelerator(Unreadable):
    """What accelerate is on one device without mixed precision, which was verified: nothing else may be asked of it."""

    __slots__ = ()
    parallelism_config = None
    num_processes = 1
    distributed_type = DistributedType.NO

    def unwrap_model(self, model: nn.Module) -> nn.Module:
        """Return the model itself."""
        return model


class _Twin:
    """An object of the trainer's class, and one of its arguments' class, that have what a step may read of them.

    The step's methods are called on it. It has the attributes of the trainer as they are before each step, so that a
    change is seen by the guards, and what a step changes on it is refused as a side effect.

    Args:
        trainer: to stand for.
        optimizer: its optimizer, not wrapped.
    """

    def __init__(self, trainer: Trainer, optimizer: torch.optim.Optimizer) -> None:
        self._trainer = trainer
        absent = {name: Unreadable(f"the trainer's {name}", _ABSENT_CURE) for name in _ABSENT if name in vars(trainer)}
        accelerator = _PlainAccelerator("the trainer's accelerator", _ABSENT_CURE)
        self.absent: tuple[Unreadable, ...] = (*absent.values(), accelerator)
        self._args: Any = object.__new__(_fix_devices(trainer.args))
        self._fixed = {**absent, "accelerator": accelerator, "optimizer": optimizer, "args": self._args}
        self.trainer: Any = object.__new__(type(trainer))
        self.refresh()

    def is_scaled(self, items: Any) -> bool:
        """Return whether `compute_loss` takes its mean over all batches of a step.

        Args:
            items: number of items in these batches, or None.
        """
        said = getattr(self.trainer, "loss_is_scaled_for_ga", None)
        if said is not None:
            return bool(said)
        counts = self.trainer.model_accepts_loss_kwargs and items is not None
        return bool(counts or self.trainer.compute_loss_func is not None)

    def refresh(self) -> None:
        """Take over the attributes of the trainer."""
        own = {name: value for name, value in vars(self._trainer).items() if name != "training_step"}
        vars(self._args).clear()
        vars(self._args).update(vars(self._trainer.args), distributed_state=None)  # one device
        vars(self.trainer).clear()
        vars(self.trainer).update(own, **self._fixed)


def _fix_devices(args: TrainingArguments) -> type:
    """Return the class of arguments with fixed answers where it would ask the environment for devices."""
    kind = type(args)
    fixed = {name: getattr(args, name) for name in ("n_gpu", "device", "world_size")}
    return type(kind.__name__, (kind,), {**fixed, "__module__": kind.__module__})  # guards go by the module


class HuggingFaceStep:
    """Carries out the `Trainer`'s step as a step of a run.

    Args:
        run: in which it is recorded.
        trainer: about to begin, with its optimizer.
        loader: of the run.

    Raises:
        TrainerUnfit: the training cannot be recorded as replayable.
    """

    def __init__(self, run: Run, trainer: Any, loader: Loader) -> None:
        verify_trainer(trainer, loader)
        optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        self._trainer, self._twin = trainer, _Twin(trainer, optimizer)
        self._given: list[Any] = []
        self._norm = torch.zeros(())
        self._settings = self._read_settings()
        self._accumulated = trainer.args.gradient_accumulation_steps
        trainer.lr_scheduler.optimizer = optimizer  # not accelerate's wrapper: checkpoints hold its schedulers
        body = partial(
            _carry_out, self._twin, self._twin.trainer.compute_loss, self._twin.trainer._get_num_items_in_batch,
            trainer.model, optimizer, trainer.args.max_grad_norm or math.inf,
        )  # fmt: skip
        accumulate = self._accumulated if self._accumulated > 1 else None
        self._recorded = run.step(models=[trainer.model], optimizers=[optimizer], accumulate=accumulate)(body)
        done = run.begin(trainer.state.max_steps)
        if done:
            raise TrainerUnfit(
                "a run that was begun cannot be gone on with: a Trainer's loop begins at its first step",
                expected="a run without steps", actual=f"{done} steps", next_step="record into a new folder",
            )  # fmt: skip
        trainer.training_step = self._take
        trainer.accelerator.clip_grad_norm_ = self._get_norm

    def _take(self, _model: nn.Module, inputs: Any, _items: Any = None) -> Any:
        """Stand in the place of `training_step`: the step is carried out with the last batch of an update."""
        self._given.append(inputs)
        if len(self._given) < self._trainer.current_gradient_accumulation_steps:
            return torch.zeros(())
        verify_unchanged(self._settings, self._read_settings())
        given, self._given = self._given, []
        self._twin.refresh()
        loss, self._norm = self._recorded(given if self._accumulated > 1 else given[0])
        return loss

    def _get_norm(self, *_arguments: Any, **_named: Any) -> torch.Tensor:
        """Return the norm of the gradients before clipping, which the step did already."""
        return self._norm

    def _read_settings(self) -> dict[str, Any]:
        """Return what the recorded body took from the trainer when it was made."""
        trainer, args = self._trainer, self._trainer.args
        settings = {name: getattr(args, name) for name in ("gradient_accumulation_steps", "max_grad_norm")}
        names = ("model", "compute_loss", "compute_loss_func", "model_accepts_loss_kwargs", "loss_is_scaled_for_ga")
        return {**settings, **{name: getattr(trainer, name, None) for name in names}}


def _carry_out(
    twin: _Twin,
    compute_loss: Callable[..., torch.Tensor],
    count_items: Callable[..., Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    bound: float,
    given: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Carry out the step: the operators of the `Trainer`'s loop, in their order.

    Args:
        twin: of the trainer.
        compute_loss: the trainer's, bound to the twin.
        count_items: the trainer's `_get_num_items_in_batch`, bound to the twin.
        model: that it trains.
        optimizer: its optimizer, not wrapped.
        bound: of the norm of the gradients.
        given: a batch, or a list of batches.

    Returns:
        The sum of the losses, and the norm of the gradients before clipping.
    """
    batches = given if isinstance(given, list) else [given]
    model.train()
    items = count_items(batches, next(model.parameters()).device)
    losses: list[torch.Tensor] = []
    for batch in batches:
        loss = compute_loss(model, batch, num_items_in_batch=items)
        if not twin.is_scaled(items):
            loss = loss / len(batches)
        loss.backward()
        losses.append(loss.detach())
    for refused in (refusal for one in twin.absent for refusal in one.refused):
        raise refused  # it was caught, and the step went on
    norm = nn.utils.clip_grad_norm_(model.parameters(), bound)
    optimizer.step()
    optimizer.zero_grad()
    return reduce(torch.add, losses), norm
