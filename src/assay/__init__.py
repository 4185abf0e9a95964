"""Check how a machine-learning model came to be: record, audit and certify a training run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.errors import AssayError
    from assay.training.pytorch.files import load
    from assay.training.pytorch.huggingface import HuggingFaceCallback
    from assay.training.pytorch.lightning import LightningCallback
    from assay.training.pytorch.observe import observe
    from assay.training.pytorch.session import Run, start
    from assay.training.pytorch.shortcut import record

_HOMES = {
    "AssayError": "assay.errors",
    "HuggingFaceCallback": "assay.training.pytorch.huggingface",
    "LightningCallback": "assay.training.pytorch.lightning",
    "Run": "assay.training.pytorch.session",
    "load": "assay.training.pytorch.files",
    "observe": "assay.training.pytorch.observe",
    "record": "assay.training.pytorch.shortcut",
    "start": "assay.training.pytorch.session",
}

__all__ = ["AssayError", "HuggingFaceCallback", "LightningCallback", "Run", "load", "observe", "record", "start"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: `assay verify` must not wait for torch."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
