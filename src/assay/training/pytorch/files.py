"""Loading a canonical model file into a module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from torch import nn

from assay.certificate.model_file import TensorSpec, get_file_name, scan_model
from assay.errors import StorageError, UsageError
from assay.protocol.evidence.model_state import MODEL_NAMESPACES
from assay.training.pytorch import layout
from assay.training.pytorch.lower import DTYPES, get_type


class FileUnfit(UsageError):
    """A model file holds other tensors than the module."""

    code: ClassVar[str] = "load.unfit"


Nets = TypeVar("Nets", bound=nn.Module | Sequence[nn.Module])


def load(net: Nets, file: str | Path) -> Nets:
    """Fill a module, or several, from a model file; tied tensors stay tied.

    Nothing is changed unless the whole file is in its one form and fits. To know where the file comes from, verify its
    certificate.

    Args:
        net: a module with the same names, shapes and element types as the file; of a run with several models the list
            of them, in the order of the step.
        file: written by `assay run export`.

    Returns:
        `net`.

    Raises:
        FileUnfit: naming the tensors that are missing, unexpected or of another type.
        MalformedModelFile: the file is not in its one form.
        StorageError: it cannot be read.
    """
    entries, _ = layout.list_model_tensors([net] if isinstance(net, nn.Module) else net)
    tensors = {entry.name: entry.tensor for entry in entries if entry.namespace in MODEL_NAMESPACES}
    targets = {get_file_name(name, tensors): tensor for name, tensor in tensors.items()}
    values: dict[str, torch.Tensor] = {}

    def receive(spec: TensorSpec, data: bytes) -> None:
        raw = torch.frombuffer(bytearray(data) or bytearray(1), dtype=torch.uint8)[: len(data)]
        values[spec.name] = raw.view(DTYPES[spec.dtype]).reshape(spec.shape)

    try:
        with Path(file).open("rb") as stream:
            scan_model(stream, receive)
    except OSError as error:
        raise StorageError(f"{file} cannot be read", actual=error.strerror) from None
    wrong = [name for name in targets if name not in values or get_type(values[name]) != get_type(targets[name])]
    wrong += [name for name in values if name not in targets]
    if wrong:
        raise FileUnfit(
            f"{file} does not fit the module: {', '.join(sorted(wrong)[:5])}",
            expected=f"{len(targets)} tensors with the module's names, shapes and element types",
            actual=f"{len(values)} tensors, {len(wrong)} of them missing, unexpected or of another type",
            next_step="build the module as for the run; of several models give the list: load([a, b], file)",
        )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(values[name])
    return net
