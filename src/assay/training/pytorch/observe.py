"""`assay.observe`: two lines beside any other loop, for digests of what it does. Level of evidence: *observed*.

The loop, its data and its randomness stay unknown. State roots at chosen steps bind whoever trained to one story, and
show where two runs part; nobody can recompute anything from them.

Source: `spec/observed.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from assay.errors import UsageError
from assay.protocol.evidence.observed import ObservedEnd, ObservedPlan
from assay.protocol.evidence.plan import compute_profile_id
from assay.storage.run_directory import RunDirectory
from assay.training.observed import ObservedRecorder
from assay.training.pytorch import devices, layout
from assay.training.pytorch.home import get_bytes
from assay.training.pytorch.lower import get_type
from assay.training.pytorch.profile import describe_profile
from assay.training.state import StateHasher, StateRoots, TensorLayout

if TYPE_CHECKING:
    from assay.training.pytorch.session import Run

DEFAULT_PERIOD = 100


class ObserveRefused(UsageError):
    """A run that cannot be observed: it is recorded already, or holds something."""

    code: ClassVar[str] = "observe.refused"


class Observer:
    """Watches optimizers, and hashes models and optimizer state at chosen steps.

    Args:
        run: new, open for writing.
        models: whose parameters and buffers are the state.
        optimizers: whose slots are; a step is one step of the last of them.
        every: a state root every so many steps.
    """

    def __init__(
        self, run: RunDirectory, models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer], every: int
    ) -> None:
        self._models = models
        self._optimizers = optimizers
        entries, _ = layout.list_model_tensors(models)
        profile = describe_profile(entries[0].tensor.device if entries else devices.CPU)
        plan = ObservedPlan(0, every, self._compute_roots().state_root, compute_profile_id(profile))
        self.recorder = ObservedRecorder(run, plan, profile)
        self._hook: Any = optimizers[-1].register_step_post_hook(self._see)

    def _see(self, _optimizer: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        rates = [float(group["lr"]) for optimizer in self._optimizers for group in optimizer.param_groups]
        due = self.recorder.is_root_due(self.recorder.step + 1)
        root = self._compute_roots().state_root if due else b""
        self.recorder.record(np.asarray(rates, "<f8").tobytes(), root)

    def _compute_roots(self) -> StateRoots:
        """Hash the state as it is; the loop's own tensors are left alone."""
        entries, aliases = layout.list_state(self._models, self._optimizers)
        kinds = [get_type(entry.tensor) for entry in entries]
        places = [
            TensorLayout(entry.namespace, entry.name, kind.dtype, kind.shape)
            for entry, kind in zip(entries, kinds, strict=True)
        ]
        tensors = [entry.tensor.detach().cpu().contiguous() for entry in entries]
        return StateHasher(places, aliases).compute([get_bytes(tensor).data for tensor in tensors])

    def finish(self, *, reason: str, key: str) -> ObservedEnd:
        """Stop watching and write the end; see `ObservedRecorder.finish`."""
        roots = self._compute_roots()
        end = self.recorder.finish(final_state=roots.state_root, model_root=roots.model_root, reason=reason, key=key)
        self.detach()
        return end

    def detach(self) -> None:
        """Stop watching."""
        self._hook.remove()


def observe(
    run: Run,
    model: nn.Module | Sequence[nn.Module],
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    *,
    every: int = DEFAULT_PERIOD,
) -> None:
    """Watch any training loop: digests of its state go into the run, at the level *observed*.

    `run.log` and `run.finish` work as in a recorded run. There is no resuming: a run that was broken off stays so.

    Args:
        run: from `assay.start`, in a new folder.
        model: one or several; all that the optimizers train.
        optimizer: one or several; a step is one `step()` of the last.
        every: a state root every so many steps; 1: after each.

    Raises:
        ObserveRefused: the run was begun already, or something of it is recorded.
        CaptureRefused: an optimizer trains what no model has.
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    optimizers = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
    if not models or not optimizers:
        raise UsageError("nothing to observe", expected="at least one model and one optimizer")
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise UsageError("every is a number of at least 1", actual=repr(every))
    run.watch(lambda directory: Observer(directory, models, optimizers, every))
