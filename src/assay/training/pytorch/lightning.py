"""Lightning's `Trainer`: a callback that watches its loop, at the level *observed*.

Lightning calls `training_step` and `backward` itself and moves batches on its own, so nothing of its step is captured.

Source: `spec/observed.md`.
"""

from __future__ import annotations

from typing import Any

from assay.errors import UsageError
from assay.training.pytorch.observe import DEFAULT_PERIOD, observe
from assay.training.pytorch.session import Run

try:
    from lightning.pytorch import Callback
except ImportError as error:
    raise UsageError("the callback needs Lightning", next_step="pip install 'assay[lightning]'") from error


class LightningCallback(Callback):
    """Watches a Lightning `Trainer`: `Trainer(..., callbacks=[assay.LightningCallback(run)])`.

    The run is finished when training ends, as interrupted if it ended by an exception.

    Args:
        run: from `assay.start`, in a new folder.
        every: a state root every so many steps of the last optimizer.
    """

    def __init__(self, run: Run, *, every: int = DEFAULT_PERIOD) -> None:
        self._run = run
        self._every = every

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch the module and its optimizers."""
        observe(self._run, pl_module, list(trainer.optimizers), every=self._every)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - its signature
        """Log the numbers that the module logged."""
        numbers = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if numbers:
            self._run.log(**numbers)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - its signature
        """End the run."""
        self._run.finish()
