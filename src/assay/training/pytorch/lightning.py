"""Lightning's `Trainer`: a callback that watches its loop, or records it where its automatic step allows.

Source: `docs/how-to/trainers.md`, `spec/observed.md`.
"""

from __future__ import annotations

from typing import Any

from assay.errors import UsageError
from assay.training.pytorch.observe import DEFAULT_PERIOD, observe
from assay.training.pytorch.session import Run
from assay.training.pytorch.trainer_levels import OBSERVED, verify_level

try:
    from lightning.pytorch import Callback

    from assay.training.pytorch.lightning_step import LightningStep
except ImportError as error:
    raise UsageError("the callback needs Lightning", next_step="pip install 'assay[lightning]'") from error


class LightningCallback(Callback):
    """Watches or records a Lightning `Trainer`: `Trainer(..., callbacks=[assay.LightningCallback(run)])`.

    An observed run is finished when training ends. A replayable one is finished by `run.finish()`, so that
    `run.evaluate` can come before it.

    Args:
        run: from `assay.start`; for an observed run in a new folder.
        level: "observed", or "replayable": each step is then recorded, `trainer.fit` is given the batches of
            `run.loader`, and what cannot be recorded is refused when training begins.
        every: an observed run has a state root every so many steps of the last optimizer.
    """

    def __init__(self, run: Run, *, level: str = "observed", every: int = DEFAULT_PERIOD) -> None:
        verify_level(level)
        self._run, self._level, self._every = run, level, every

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch the module and its optimizers, or put a recorded step in the place of Lightning's.

        Raises:
            TrainerUnfit: the training cannot be recorded as replayable.
        """
        if self._level == OBSERVED:
            observe(self._run, pl_module, list(trainer.optimizers), every=self._every)
        else:
            LightningStep(self._run, trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - its signature
        """Log the numbers that the module logged."""
        numbers = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if numbers:
            self._run.log(**numbers)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - its signature
        """Say that training was stopped early, if it was; end an observed run."""
        if trainer.should_stop and trainer.global_step < trainer.estimated_stepping_batches:
            self._run.early_stop(_describe_stop(trainer))
        if self._level == OBSERVED:
            self._run.finish()


def _describe_stop(trainer: Any) -> str:
    """Return who stopped a `Trainer`, as far as its callbacks tell."""
    said = [
        f"{type(one).__name__}: {one.monitor} no better for {one.wait_count} checks, best {float(one.best_score)!r}"
        for one in trainer.early_stopping_callbacks
        if one.wait_count >= one.patience
    ]
    text = "; ".join(said) or f"the Trainer was stopped at step {trainer.global_step}"
    return text.encode("ascii", "backslashreplace").decode()
