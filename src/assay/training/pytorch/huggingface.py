"""Hugging Face `Trainer`: a callback that watches its loop, or records it where its step allows.

Source: `docs/how-to/trainers.md`, `spec/observed.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.errors import UsageError
from assay.training.pytorch.loader import Loader
from assay.training.pytorch.observe import DEFAULT_PERIOD, observe
from assay.training.pytorch.run_errors import WrongOrder
from assay.training.pytorch.session import Run
from assay.training.pytorch.trainer_levels import OBSERVED, verify_level

try:
    from transformers import EarlyStoppingCallback, TrainerCallback

    from assay.training.pytorch.huggingface_step import HuggingFaceStep, SingleBatches
except ImportError as error:
    raise UsageError(
        "the callback needs Hugging Face transformers", next_step="pip install 'assay[huggingface]'"
    ) from error


class HuggingFaceCallback(TrainerCallback):
    """Watches or records a `Trainer`: `Trainer(..., callbacks=[assay.HuggingFaceCallback(run)])`.

    What the `Trainer` logs is logged, as declared values. An observed run is finished when training ends. A replayable
    one is finished by `run.finish()`, so that `run.evaluate` can come before it.

    Args:
        run: from `assay.start`, in a new folder.
        level: "observed", or "replayable": each step is then recorded, `take_over` gives the trainer the batches, and
            what cannot be recorded is refused when training begins.
        every: an observed run has a state root every so many steps of the optimizer.
    """

    def __init__(self, run: Run, *, level: str = "observed", every: int = DEFAULT_PERIOD) -> None:
        verify_level(level)
        self._run, self._level, self._every = run, level, every
        self._taken: tuple[Any, Loader] | None = None

    def take_over(self, trainer: Any, loader: Loader) -> None:
        """Give a trainer the batches of the run, before `trainer.train()`.

        Args:
            trainer: that has this callback, at the level replayable.
            loader: of `run.loader`, with the trainer's batch size.
        """
        self._taken = trainer, loader
        batches = SingleBatches(loader)
        trainer.get_train_dataloader = lambda: batches

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002 - its signature
        """Begin to watch the model and its optimizer, or put a recorded step in the place of the `Trainer`'s.

        Raises:
            TrainerUnfit: the training cannot be recorded as replayable.
            WrongOrder: nobody called `take_over`.
        """
        if self._level == OBSERVED:
            optimizer = given["optimizer"]
            observe(self._run, given["model"], getattr(optimizer, "optimizer", optimizer), every=self._every)
            return
        if self._taken is None:
            raise WrongOrder(
                "the trainer has no batches of the run",
                next_step="callback.take_over(trainer, run.loader(dataset, batch_size=...)) before trainer.train()",
            )
        HuggingFaceStep(self._run, *self._taken)

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002 - its signature
        """Log what the `Trainer` logs: numbers alone."""
        logs = given.get("logs") or {}
        numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
        if numbers:
            self._run.log(**numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002 - its signature
        """Say that training was stopped early, if it was; end an observed run."""
        if state.global_step < state.max_steps:
            self._run.early_stop(
                _describe_stop(state, self._taken[0].callback_handler.callbacks if self._taken else ())
            )
        if self._level == OBSERVED:
            self._run.finish()


def _describe_stop(state: Any, callbacks: Sequence[Any]) -> str:
    """Return who stopped a `Trainer`, as far as its callbacks tell."""
    said = [
        f"{type(one).__name__}: no better for {one.early_stopping_patience} evaluations, best {state.best_metric!r}"
        for one in callbacks
        if isinstance(one, EarlyStoppingCallback) and one.early_stopping_patience_counter >= one.early_stopping_patience
    ]
    return "; ".join(said) or f"the Trainer was stopped at step {state.global_step} of {state.max_steps}"
