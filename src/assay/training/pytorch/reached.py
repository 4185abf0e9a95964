"""What a walk over the Python side of a step has found, and where.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import nn

from assay.training.pytorch.scopes import Scope


@dataclass(frozen=True, slots=True)
class Where:
    """A line of code, and whether it certainly belongs to the step."""

    file: str
    line: int
    certain: bool = True

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class Reachable:
    """What the walk found.

    Attributes:
        scopes: places whose values are guarded.
        empty: containers that must stay empty (hooks, mostly).
        absent: mappings, and names that must not appear in them.
        optimizers: label and optimizer, of each optimizer.
        modules: label and module, of each module.
        parameters: tensors whose `requires_grad` and hooks are guarded.
        tensors: name to tensor, outside the state, guarded by identity and version.
        arrays: name to small numpy array, guarded by bytes.
        contexts: context variables whose values are guarded.
        notes: what is not guarded or happens only while recording.
        code: what the step may run, in the order in which it was found.
    """

    scopes: list[Scope] = field(default_factory=list)
    empty: list[tuple[str, Any]] = field(default_factory=list)
    absent: list[tuple[Mapping[str, Any], frozenset[str], str]] = field(default_factory=list)
    optimizers: list[tuple[str, torch.optim.Optimizer]] = field(default_factory=list)
    modules: list[tuple[str, nn.Module]] = field(default_factory=list)
    parameters: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    tensors: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    arrays: list[tuple[str, np.ndarray]] = field(default_factory=list)
    contexts: list[ContextVar[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    code: list[CodeType] = field(default_factory=list)
