"""The live state of a run: the user's own tensors, watched, hashed and filled from checkpoints.

On entry of each step every tensor must be the object, at the address and in the version that the step before left. A
change made in between would be part of no program: it is an error that names the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from assay.errors import CaptureRefused, UsageError
from assay.protocol.evidence.model_state import BUFFER, PARAM, SLOT, TRANSIENT, AliasTable, TensorRecord
from assay.training.pytorch import devices, layout
from assay.training.pytorch.lower import DTYPES, get_type
from assay.training.state import StateHasher, StateRoots, TensorLayout


class StateChanged(UsageError):
    """A tensor of the state was changed outside the step."""

    code: ClassVar[str] = "state.changed-outside"


class NotFinite(UsageError):
    """A NaN appeared in the state or the loss, or an infinity in parameters, slots or the loss."""

    code: ClassVar[str] = "run.not-finite"


def get_bytes(tensor: torch.Tensor) -> np.ndarray:
    """Return the memory of a contiguous tensor as a flat array of bytes: on the CPU without a copy, else a copy."""
    return devices.fetch(tensor.detach()).reshape(-1).view(torch.uint8).numpy()


def set_bytes(tensor: torch.Tensor, data: bytes | bytearray | memoryview) -> None:
    """Write raw bytes into a contiguous tensor, on any device."""
    if tensor.is_cpu:
        get_bytes(tensor).data[:] = data
        return
    raw = torch.frombuffer(bytearray(data) or bytearray(1), dtype=torch.uint8)[: len(data)]
    tensor.detach().copy_(raw.view(tensor.dtype).reshape(tensor.shape))


def make_own(tensor: torch.Tensor) -> None:
    """Give a tensor contiguous memory of its own, in place; its identity stays."""
    whole = tensor.is_contiguous() and tensor.storage_offset() == 0
    if not whole or tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size():
        tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)


def refuse_shared_memory(entries: Sequence[layout.Entry]) -> None:
    """Refuse tensors of the state that overlap: in a program a change of one would not be seen in the other.

    Raises:
        CaptureRefused: naming both.
    """
    spans = []
    for entry in entries:
        tensor = entry.tensor
        if tensor.numel():
            last = sum((extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.stride(), strict=True))
            spans.append((tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size(), entry.name))
    spans.sort()
    for (_, end, name), (start, _, other) in pairwise(spans):
        if start < end:
            raise CaptureRefused(
                f"{name} and {other} share memory",
                expected="tensors of the state that do not overlap, or one tensor under several names",
                next_step="register one of them as a clone(), or compute it from the other in forward",
            )


class StateHome:
    """The tensors of a run, in canonical order.

    Args:
        models, optimizers: whose tensors are the state. Tensors that share memory with others get memory of their own.

    Attributes:
        device: on which they lie.
    """

    def __init__(self, models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.models = models
        self.optimizers = optimizers
        self.entries: list[layout.Entry] = []
        self.aliases = AliasTable(())
        self.device = devices.CPU
        self.refresh()

    def refresh(self) -> None:
        """Take stock again: after slots were born or tensors were replaced by a recorded step."""
        self.entries, self.aliases = layout.list_state(self.models, self.optimizers)
        refuse_shared_memory(self.entries)
        for entry in self.entries:
            make_own(entry.tensor)
        self.tensors = [entry.tensor for entry in self.entries]
        self.device = devices.find_device((entry.name, entry.tensor) for entry in self.entries)
        self._memory = [get_bytes(tensor).data for tensor in self.tensors] if self.device == devices.CPU else None
        self.layout = [TensorLayout(e.namespace, e.name, t.dtype, t.shape) for e, t in self._types()]
        self.hasher = StateHasher(self.layout, self.aliases)
        self.signature = tuple((e.namespace, e.name, t) for e, t in self._types())
        self.parameters = [entry.tensor for entry in self.entries if entry.namespace == PARAM]
        self.parameter_names = {id(entry.tensor): entry.name for entry in self.entries if entry.namespace == PARAM}
        self._places = self._find_places()
        self._slots = self._list_slots()
        self.note()

    def _types(self) -> list[tuple[layout.Entry, Any]]:
        return [(entry, get_type(entry.tensor)) for entry in self.entries]

    def _find_places(self) -> list[tuple[dict[str, Any], str, torch.Tensor]]:
        places: list[tuple[dict[str, Any], str, torch.Tensor]] = []
        for model in self.models:
            for module in model.modules():
                for store in (module._parameters, module._buffers):
                    places.extend((store, name, value) for name, value in store.items() if value is not None)
        return places

    def _list_slots(self) -> list[Any]:
        return [
            value for optimizer in self.optimizers for state in optimizer.state.values() for value in state.values()
        ]

    def _has_own_slots(self) -> bool:
        """True if the optimizers hold the tensors that they held; `load_state_dict` puts others in their place."""
        slots = self._list_slots()
        return len(slots) == len(self._slots) and all(
            new is old or not isinstance(old, torch.Tensor) for new, old in zip(slots, self._slots, strict=True)
        )

    # -- watching -----------------------------------------------------------------------------------------------------

    def note(self) -> None:
        """Remember the present addresses and versions: what the next step must find."""
        self._versions = [tensor._version for tensor in self.tensors]
        self._addresses = [tensor.data_ptr() for tensor in self.tensors]

    def note_versions(self) -> None:
        """Remember the versions after a step that kept all addresses."""
        self._versions = [tensor._version for tensor in self.tensors]

    def verify_untouched(self, step: int) -> None:
        """Check that nothing changed since `note`.

        Raises:
            StateChanged: naming the first tensor that did.
        """
        if (
            [tensor._version for tensor in self.tensors] == self._versions
            and [tensor.data_ptr() for tensor in self.tensors] == self._addresses
            and all(store.get(name) is tensor for store, name, tensor in self._places)
            and self._has_own_slots()
        ):
            return
        raise StateChanged(
            f"{self._find_changed()} was changed outside the step, between step {step} and step {step + 1}",
            expected="the state as the step left it",
            next_step='make the change inside the step, or declare it: with run.edit("reason")',
        )

    def _find_changed(self) -> str:
        for entry, version, address in zip(self.entries, self._versions, self._addresses, strict=True):
            if entry.tensor._version != version or entry.tensor.data_ptr() != address:
                return entry.name
        for store, name, tensor in self._places:
            if store.get(name) is not tensor:
                return name
        return "the state of an optimizer"

    def verify_hash(self, root: bytes, step: int) -> None:
        """Check the bytes themselves: a change through `.data` leaves no other trace.

        Raises:
            StateChanged: the state root is another one.
        """
        if self.hasher.compute(self.buffers).state_root != root:
            raise StateChanged(
                f"the state was changed outside the step, between step {step} and step {step + 1}, through .data",
                next_step='make the change inside the step, or declare it: with run.edit("reason")',
            )

    # -- bytes --------------------------------------------------------------------------------------------------------

    @property
    def buffers(self) -> list[memoryview]:
        """The bytes of all tensors: on the CPU their memory itself, else a copy that is made at each call."""
        return self._memory if self._memory is not None else [get_bytes(tensor).data for tensor in self.tensors]

    def compute_roots(self) -> StateRoots:
        """Hash every tensor."""
        return self.hasher.compute(self.buffers)

    def make_records(self, roots: StateRoots) -> list[TensorRecord]:
        """Return the records that stand under `roots`."""
        return [
            TensorRecord(entry.namespace, entry.name, entry.dtype, entry.shape, entry.nbytes, digest)
            for entry, digest in zip(self.layout, roots.digests, strict=True)
        ]

    def verify_finite(self, step: int) -> None:
        """Refuse NaN anywhere, and infinity in parameters and slots.

        Raises:
            NotFinite: naming step and tensor.
        """
        for entry, tensor in zip(self.entries, self.tensors, strict=True):
            if not tensor.is_floating_point():
                continue
            buffer = entry.namespace in (BUFFER, TRANSIENT)
            bad = torch.isnan(tensor).any() if buffer else not torch.isfinite(tensor).all()
            if bad:
                raise NotFinite(
                    f"{entry.name} is not finite after step {step}",
                    expected="finite numbers",
                    next_step="the run up to the last checkpoint is kept; lower the rate or clip, and record a new run",
                )

    def fill(self, records: Sequence[TensorRecord], tensors: Sequence[bytes | bytearray | memoryview]) -> None:
        """Put a stored state into the user's tensors; slots that do not exist yet are made.

        Raises:
            UsageError: the stored state has other tensors than models and optimizers have.
        """
        stored = {(r.namespace, r.name): (r, data) for r, data in zip(records, tensors, strict=True)}
        model_entries, _ = layout.list_model_tensors(self.models)
        owners = {entry.name: entry.tensor for entry in model_entries}
        with torch.no_grad():
            for (namespace, name), (record, data) in stored.items():
                value = torch.frombuffer(bytearray(data) or bytearray(1), dtype=torch.uint8)[: record.nbytes]
                value = value.clone().view(DTYPES[record.dtype]).reshape(record.shape).to(self.device)
                if namespace == SLOT:
                    index, rest = name.split("/", 1)
                    owner, slot = rest.rsplit("/", 1)
                    self.optimizers[int(index)].state[owners[owner]][slot] = value
                    continue
                target = owners.get(name)
                if target is None or get_type(target) != get_type(value):
                    raise UsageError(f"the stored state has a tensor {name} that the models do not have")
                target.data = value
        missing = [e.name for e in model_entries if (e.namespace, e.name) not in stored]
        if missing:
            raise UsageError(f"the models have tensors that the stored state lacks: {', '.join(missing[:5])}")
        self.refresh()


def verify_results(results: Sequence[torch.Tensor], step: int) -> None:
    """Refuse NaN and infinity in what a step returned.

    Raises:
        NotFinite: naming the step.
    """
    for index, result in enumerate(results):
        if not result.is_floating_point():
            continue
        finite = math.isfinite(result.item()) if result.numel() == 1 else bool(torch.isfinite(result).all())
        if not finite:
            raise NotFinite(
                f"result {index} of step {step} is not finite",
                expected="finite numbers",
                actual=result.item() if result.numel() == 1 else "NaN or infinity",
                next_step="the run up to the last checkpoint is kept; lower the rate or clip, and record a new run",
            )
