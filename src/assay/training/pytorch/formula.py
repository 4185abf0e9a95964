"""Whether the rows of scalars of a run are what its optimizers' own code gives.

A row is a claim: a verifier computes with its numbers and evaluates no formula. Here the optimizers are made again from
the settings that a checkpoint keeps, with one element for each parameter; they step along with the run, and what they
would feed into each step is compared with the row, bit for bit.

Settings such as the rate are the user's to choose at each step, so they are solved for (`settings_solver`): a row is
explained if *some* settings of its groups give all of its numbers. What remains free to a dishonest recorder is a few
settings for each group and step, not the whole row.

Source: `spec/certificate.md`, CRT-12.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from assay.errors import AssayError, Unproven
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.model_state import PARAM
from assay.storage.run_directory import RunDirectory
from assay.training.pytorch.schedulers import SavedOptimizer, read_optimizers
from assay.training.pytorch.settings_solver import RowSolver
from assay.training.recorded import RecordedRun

KNOWN = ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RMSprop", "Adagrad", "Adadelta")
"""Optimizers of `torch.optim` whose numbers are a function of settings and step counts alone."""

_DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64}


class FormulaUnknown(Unproven):
    """The rows cannot be compared: an optimizer that is not known here, or settings that were not kept."""

    code: ClassVar[str] = "audit.formula-unknown"


def count_differing_rows(run: RecordedRun) -> int:
    """Return how many rows no settings of the run's optimizers explain; O(steps) calls of the optimizers' code.

    Raises:
        FormulaUnknown: nothing can be said.
    """
    try:
        updates = {use.program: list_updated(run.read_program(use.program)) for use in run.uses}
        dtypes = _read_dtypes(run)
        optimizers = [
            keep_one_of_each(optimizer, dtypes, list(updates.values()))
            for optimizer in _read_first_settings(run.directory)
        ]
        follower = Follower(optimizers, dtypes)
        return sum(
            not follower.follow(np.frombuffer(row.scalars, "<f8"), updates[row.leaf.program]) for row in run.rows
        )
    except (AssayError, MemoryError):
        raise
    except Exception as error:
        raise FormulaUnknown(
            "the optimizers could not be made again from the settings that the run keeps",
            actual=f"{type(error).__name__}: {str(error)[:300]}",
        ) from error


class Follower:
    """Optimizers of one-element parameters that step along with a run.

    Args:
        optimizers: their classes, groups and the names of their parameters.
        dtypes: element type of each parameter, by name.

    Raises:
        FormulaUnknown: a class that is not in `KNOWN`, a parameter of which the run knows nothing, or one of two
            optimizers.
    """

    def __init__(self, optimizers: Sequence[SavedOptimizer], dtypes: Mapping[str, torch.dtype]) -> None:
        self.parameters: dict[str, torch.nn.Parameter] = {}
        self.optimizers = [self._make(saved, dtypes) for saved in optimizers]
        self.solver = RowSolver(self.optimizers)

    def _make(self, saved: SavedOptimizer, dtypes: Mapping[str, torch.dtype]) -> torch.optim.Optimizer:
        if saved.kind not in KNOWN:
            raise FormulaUnknown(f"the formula of {saved.kind} is not known here", expected=", ".join(KNOWN))
        groups: list[dict[str, Any]] = []
        for group, names in zip(saved.groups, saved.parameters, strict=True):
            members = []
            for name in names:
                if name not in dtypes:
                    raise FormulaUnknown(f"an optimizer trains {name!r}, which the run does not have")
                if name in self.parameters:
                    raise FormulaUnknown(
                        f"two optimizers train {name!r}, and a program does not say which of them steps"
                    )
                self.parameters[name] = torch.nn.Parameter(torch.ones(1, dtype=dtypes[name]))
                members.append(self.parameters[name])
            groups.append({**group, "params": members})
        kind: type[torch.optim.Optimizer] = getattr(torch.optim, saved.kind)
        return kind(groups, lr=0.1)  # type: ignore[call-arg]

    def follow(self, row: np.ndarray, updated: frozenset[str]) -> bool:
        """Say whether a row is explained, and take the step.

        Args:
            row: float64, shape (numbers,).
            updated: names of the parameters that the step updates.
        """
        explained = self.solver.explain(row)
        for name, parameter in self.parameters.items():
            parameter.grad = torch.ones_like(parameter) if name in updated else None
        for optimizer in self.optimizers:
            optimizer.step()
        return explained


def keep_one_of_each(
    optimizer: SavedOptimizer, dtypes: Mapping[str, torch.dtype], updates: Sequence[frozenset[str]]
) -> SavedOptimizer:
    """Return an optimizer with the first of all parameters that share group, element type and every update.

    The numbers of a row are given once for all parameters that are updated alike, so the others add nothing.
    """
    kept: list[list[str]] = []
    for names in optimizer.parameters:
        first: dict[tuple[object, ...], str] = {}
        for name in names:
            first.setdefault((dtypes.get(name), *(name in updated for updated in updates)), name)
        kept.append(list(first.values()))
    return replace(optimizer, parameters=kept)


def list_updated(program: ir.Program) -> frozenset[str]:
    """Return the names of the parameters that a step program changes."""
    places = {(entry.namespace, entry.name): number for number, entry in enumerate(program.state)}
    return frozenset(
        output.name
        for output in program.state_outputs
        if output.namespace == PARAM and places.get((PARAM, output.name)) != output.value
    )


def _read_first_settings(directory: RunDirectory) -> Sequence[SavedOptimizer]:
    """Return what the first stored checkpoint says of the optimizers."""
    steps = directory.checkpoints.list_steps()
    if not steps:
        raise FormulaUnknown("the run keeps no checkpoint, so the settings of its optimizers are not known")
    optimizers = read_optimizers(directory.checkpoints.read_manifest(steps[0]).extra)
    if steps[0] == 0 and any(optimizer.has_stepped for optimizer in optimizers):
        raise FormulaUnknown("the optimizers had stepped before the run began")
    return optimizers


def _read_dtypes(run: RecordedRun) -> dict[str, torch.dtype]:
    """Return the element type of each parameter, under its own name and those of its aliases."""
    found = dict(_iterate_dtypes(run))
    tied = {alias.name: found[alias.target] for alias in run.start.aliases.aliases if alias.target in found}
    return {**found, **tied}


def _iterate_dtypes(run: RecordedRun) -> Iterator[tuple[str, torch.dtype]]:
    for record in run.start.records:
        if record.namespace == PARAM and record.dtype in _DTYPES:
            yield record.name, _DTYPES[record.dtype]
