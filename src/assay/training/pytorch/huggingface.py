"""Hugging Face `Trainer`: a callback that watches its loop, at the level *observed*.

The `Trainer` owns its loop, its data order and its step, so nothing of it is captured. For a replayable run of the same
model write the five lines of `assay.start` around a step of your own.

Source: `spec/observed.md`.
"""

from __future__ import annotations

from typing import Any

from assay.errors import UsageError
from assay.training.pytorch.observe import DEFAULT_PERIOD, observe
from assay.training.pytorch.session import Run

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise UsageError(
        "the callback needs Hugging Face transformers", next_step="pip install 'assay[huggingface]'"
    ) from error


class HuggingFaceCallback(TrainerCallback):
    """Watches a `Trainer`: `Trainer(..., callbacks=[assay.HuggingFaceCallback(run)])`.

    The run is finished when training ends, and what the `Trainer` logs is logged, as declared values.

    Args:
        run: from `assay.start`, in a new folder.
        every: a state root every so many steps of the optimizer.
    """

    def __init__(self, run: Run, *, every: int = DEFAULT_PERIOD) -> None:
        self._run = run
        self._every = every

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002 - its signature
        """Begin to watch the model and the optimizer that the `Trainer` made."""
        optimizer = given["optimizer"]
        observe(self._run, given["model"], getattr(optimizer, "optimizer", optimizer), every=self._every)

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002 - its signature
        """Log what the `Trainer` logs: numbers alone."""
        logs = given.get("logs") or {}
        numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
        if numbers:
            self._run.log(**numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002 - its signature
        """End the run."""
        self._run.finish()
