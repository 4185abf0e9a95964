"""What dispatched calls do not show: values read out of a tensor's memory, and generators that are set back.

`tensor.item()` is a dispatched call and is refused by the tape. `tensor.numpy()` and `tensor.tolist()` read the memory
and leave no trace, so that what they gave would be baked into the program.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from assay.errors import CaptureRefused
from assay.training.pytorch.tape import Recorder, get_user_location

_OWN_FOLDER = str(Path(__file__).resolve().parents[2])
_READERS = ("numpy", "tolist", "__array__", "__dlpack__")
_MISSING = object()


def _refuse_reader(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not sys._getframe(1).f_code.co_filename.startswith(_OWN_FOLDER):
            raise CaptureRefused(
                f"{get_user_location()}: the step reads the values of a tensor (Tensor.{name})",
                next_step="return the tensor from the step and read it outside, or compute with tensors alone",
            )
        return original(*args, **kwargs)

    return guarded


def _mark_classes(tensor: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
    """Return what `torch.nn.functional.one_hot` gives; it reads the smallest and largest class to check them."""
    if num_classes <= 0:
        raise CaptureRefused(
            f"{get_user_location()}: the step counts the classes in a tensor (one_hot)",
            next_step="pass num_classes to one_hot",
        )
    marks = torch.zeros(*tensor.shape, num_classes, dtype=torch.int64, device=tensor.device)
    return marks.scatter_(-1, tensor.unsqueeze(-1), 1)


@contextmanager
def watch_value_reads(recorder: Recorder) -> Iterator[None]:
    """Refuse, inside the block, reading values without a dispatched call, and draws after a generator was set back.

    Activation checkpointing sets the generator back to draw the same masks again. The counter-based draws that stand
    for the generator's would be others, and the gradient wrong.

    Raises:
        CaptureRefused: with file and line.
    """
    originals = {name: torch.Tensor.__dict__.get(name, _MISSING) for name in _READERS}
    set_state = torch.set_rng_state

    def set_back(*args: Any, **kwargs: Any) -> Any:
        recorder.is_set_back = True
        return set_state(*args, **kwargs)

    for name in _READERS:
        setattr(torch.Tensor, name, _refuse_reader(name, getattr(torch.Tensor, name)))
    torch.set_rng_state = set_back
    one_hot = functional.one_hot
    functional.one_hot = _mark_classes
    try:
        yield
    finally:
        torch.set_rng_state = set_state
        functional.one_hot = one_hot
        for name, original in originals.items():
            if original is _MISSING:
                delattr(torch.Tensor, name)
            else:
                setattr(torch.Tensor, name, original)
