"""A start that comes from a certificate: the first model is filled from a certified model file.

Source: `spec/plan.md`, PLN-3 and PLN-17.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from assay.certificate.dsse import open_envelope
from assay.certificate.policy import TrustPolicy
from assay.certificate.statement import decode_statement
from assay.certificate.verify import verify_certificate
from assay.errors import StorageError, Unproven, UsageError
from assay.protocol.evidence.model_state import AliasTable, TensorRecord
from assay.protocol.evidence.plan import CertifiedStart
from assay.training.pytorch.files import load
from assay.training.pytorch.layout import list_model_tensors
from assay.training.recorded import RunContradicts, verify_parent

MAX_CERTIFICATE = 2**26
"""Bytes of a certificate that are read at most."""


class ParentUnfit(UsageError):
    """A certificate that does not hold for the model file beside it, or a model that it was not loaded into."""

    code: ClassVar[str] = "parent.unfit"


@dataclass(frozen=True)
class Parent:
    """A certified model in a module of this process.

    Attributes:
        net: the module that was filled.
        start: what a plan says.
        certificate: its bytes.
        names: of the module's tensors when it was filled.
    """

    net: nn.Module
    start: CertifiedStart
    certificate: bytes
    names: frozenset[str]

    def verify_first(self, models: Sequence[nn.Module]) -> None:
        """Check that the module is the first model of the step, with the tensors that it had.

        Raises:
            ParentUnfit: it is not, or layers were put into it or taken out of it.
        """
        if not models or models[0] is not self.net:
            raise ParentUnfit(
                "the model that was filled from the certificate is not the first one of the step",
                expected="@run.step(models=[net, ...]) with the net given to run.adopt first",
                next_step="put adapters and other new modules into models of their own after it",
            )
        other = sorted(_list_names(self.net) ^ self.names)
        if other:
            raise ParentUnfit(
                f"the model was rebuilt after run.adopt filled it: {', '.join(other[:3])}",
                expected=f"the {len(self.names)} tensors that the certificate is about, under their names",
                actual=f"{len(other)} tensors came, went or have other names",
                next_step="leave it as it was built; put adapters into a model of their own after it, joined by "
                "forward hooks as in examples/finetune_lora.py",
            )

    def verify_values(self, records: Sequence[TensorRecord], aliases: AliasTable) -> None:
        """Check that the first model of the start still has the certified values (PLN-17).

        Raises:
            ParentUnfit: somebody changed them.
        """
        try:
            verify_parent(self.start, records, aliases)
        except RunContradicts as finding:
            raise ParentUnfit(
                "the model was changed after run.adopt filled it",
                expected=f"model root {finding.expected}",
                actual=f"model root {finding.actual}",
                next_step="change nothing between run.adopt and the first step; a change belongs into run.edit",
            ) from None


def adopt_parent(net: nn.Module, certificate: str | Path, model: str | Path) -> Parent:
    """Check a certificate against a model file and fill a module from the file.

    Who signed is not asked here: whoever checks the new run decides whom to trust.

    Args:
        net: built as for the certified run; filled.
        certificate: a training certificate.
        model: the exported model file that it is about.

    Raises:
        ParentUnfit: certificate and file contradict each other.
        FileUnfit: the module has other tensors.
        MalformedEvidence, StorageError: a file is not in its one form, or cannot be read.
    """
    try:
        with Path(certificate).open("rb") as stream:
            data = stream.read(MAX_CERTIFICATE + 1)
        with Path(model).open("rb") as stream:
            _verify(data[:MAX_CERTIFICATE], stream)
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be read", actual=error.strerror) from None
    load(net, model)
    root = bytes.fromhex(decode_statement(open_envelope(data)[0]).predicate.roots.model)
    return Parent(net, CertifiedStart(hashlib.sha256(data).digest(), root), data, _list_names(net))


def _list_names(net: nn.Module) -> frozenset[str]:
    entries, aliases = list_model_tensors([net])
    return frozenset({*(entry.name for entry in entries), *(alias.name for alias in aliases.aliases)})


def _verify(data: bytes, stream: object) -> None:
    try:
        verify_certificate(data, stream, TrustPolicy({}))  # type: ignore[arg-type]
    except Unproven as finding:
        if getattr(finding, "findings", None) is None:  # not only that nobody is trusted here
            raise ParentUnfit(
                "the certificate does not hold for this model file",
                expected=finding.expected,
                actual=finding.actual or finding.message,
                next_step="use the certificate and the file that `assay run audit` and `assay run export` wrote",
            ) from None
