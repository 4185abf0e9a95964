"""The run of a step before it is recorded: it tells what code of packages runs, and whether running it leaves a trace.

Code of packages keeps things on first use: a table of positions, a flag that says "initialised". Tensors of the state
are put back after the try, Python objects are not. So the recording, which starts from the same state, batch and draws,
must give the bits of the try; if it does not, something that the try left decides them: no program would repeat it.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import CodeType
from typing import Any

import torch
from torch import nn

from assay.errors import CaptureRefused
from assay.training.pytorch import devices, layout
from assay.training.pytorch.executed_code import note_code
from assay.training.pytorch.snapshot import Snapshot

_PLAIN = (bool, int, float, str, bytes, type(None))


@dataclass(frozen=True)
class FirstTry:
    """What a step did when it was tried.

    Attributes:
        executed: the code that ran.
        digests: of each result and each tensor of the state after it, by name.
        kept: attributes of modules that the try changed and that are no tensors of the state.
    """

    executed: frozenset[CodeType]
    digests: dict[str, bytes]
    kept: tuple[str, ...]

    def require_repeated(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        results: Sequence[torch.Tensor],
    ) -> None:
        """Compare with the models and optimizers as the recorded step left them, and with its results.

        Raises:
            CaptureRefused: a bit differs, with the attributes that the try left.
        """
        found = _digest(models, optimizers, results)
        differing = sorted(name for name in {*found, *self.digests} if found.get(name) != self.digests.get(name))
        if differing:
            raise CaptureRefused(
                "the step gives other bits when it runs again from the same state, on the same batch: code of a "
                "package keeps something on first use",
                expected="the same bits from the same state, batch and draws",
                actual=f"{', '.join(differing[:5])} differ"
                + (f"; the first run set {', '.join(self.kept[:5])}" if self.kept else ""),
                next_step="run the model once on a batch before run.step, so that what it keeps is there from the "
                "start; or turn that cache off",
            )


def try_step(
    models: Sequence[nn.Module],
    optimizers: Sequence[torch.optim.Optimizer],
    run: Callable[[], Sequence[torch.Tensor]],
) -> FirstTry:
    """Run a step once, put the state back, and return what it did.

    Args:
        models: whose tensors are the state.
        optimizers: whose slots are.
        run: carries the step out and returns its flat results.
    """
    before = Snapshot.take(models, optimizers)
    attributes = _list_attributes(models)
    try:
        with note_code() as executed:
            results = run()
        digests = _digest(models, optimizers, results)
    finally:
        before.restore()
    after = _list_attributes(models)
    kept = tuple(name for name in after if name not in attributes or not _is_same(attributes[name], after[name]))
    return FirstTry(frozenset(executed), digests, kept)


def _digest(
    models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer], results: Sequence[torch.Tensor]
) -> dict[str, bytes]:
    entries, _ = layout.list_state(models, optimizers)
    named = [(f"{namespace}/{name}", entry.tensor) for entry in entries for namespace, name in [entry.key]]
    named += [(f"result {index}", result) for index, result in enumerate(results)]
    return {name: _digest_tensor(tensor) for name, tensor in named}


def _digest_tensor(tensor: torch.Tensor) -> bytes:
    memory = devices.fetch(tensor.detach().contiguous()).reshape(-1).view(torch.uint8).numpy()
    return blake2b(memory.tobytes(), digest_size=32, person=str(tensor.dtype)[-16:].encode()).digest()


def _list_attributes(models: Sequence[nn.Module]) -> dict[str, Any]:
    """Return the attributes of all modules, but for what `nn.Module` keeps itself."""
    base = vars(nn.Module())
    return {
        f"{label}.{name}".lstrip("."): value
        for model in models
        for label, module in model.named_modules()
        for name, value in vars(module).items()
        if name not in base
    }


def _is_same(first: Any, second: Any) -> bool:
    is_plain = isinstance(first, _PLAIN) and isinstance(second, _PLAIN)
    return first is second or (is_plain and type(first) is type(second) and first == second)
