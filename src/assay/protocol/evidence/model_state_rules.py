"""What the records of a state must satisfy before a root is computed over them.

Source: `spec/model-state.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol.evidence.fields import (
    verify_digest,
    verify_name,
    verify_number,
    verify_sorted,
)
from assay.protocol.evidence.model_state import AVERAGE, SLOT, AliasTable, TensorRecord, sort_key
from assay.protocol.evidence.program import TensorType
from assay.protocol.evidence.program_rules import verify_tensor_type

MAX_RECORDS: Final = 2**20


class TooManyRecords(MalformedEvidence):
    """More tensors or aliases than a state may have."""

    code: ClassVar[str] = "state.too-many-records"


class ByteCountContradicted(MalformedEvidence):
    """A record whose number of bytes does not follow from its element type and shape."""

    code: ClassVar[str] = "state.byte-count"


class AliasRefused(MalformedEvidence):
    """A second name that points nowhere, or that is already the name of a tensor."""

    code: ClassVar[str] = "state.alias"


def verify_records(records: Sequence[TensorRecord], aliases: AliasTable) -> None:
    """Check the records of a complete state and its second names (MST-2 to MST-6), in O(their number).

    Raises:
        MalformedEvidence: one of the classes of this file or of `fields`, or `TensorTypeRefused`.
    """
    count = max(len(records), len(aliases.aliases))
    if count > MAX_RECORDS:
        raise TooManyRecords("too many tensors in a state", expected=f"at most {MAX_RECORDS}", actual=count)
    for record in records:
        verify_record(record)
    verify_sorted([sort_key(record) for record in records], "list of tensors")  # MST-4
    _verify_aliases(records, aliases)


def verify_record(record: TensorRecord) -> None:
    """Check one record by itself (MST-2, MST-3).

    Raises:
        MalformedEvidence: one of the classes of this file or of `fields`, or `TensorTypeRefused`.
    """
    verify_number(record.namespace, "namespace of a tensor", 0, AVERAGE)
    verify_name(record.name, "name of a tensor")
    size = verify_tensor_type(TensorType(record.dtype, record.shape), f"tensor {record.name}")
    if record.nbytes != size:
        raise ByteCountContradicted(f"tensor {record.name} has a wrong size", expected=size, actual=record.nbytes)
    verify_digest(record.digest, f"digest of tensor {record.name}")


def _verify_aliases(records: Sequence[TensorRecord], aliases: AliasTable) -> None:
    # MST-5, MST-6: only tensors of a model can have a second name, and a second name is never a target.
    names = frozenset(record.name for record in records if record.namespace < SLOT)
    for alias in aliases.aliases:
        verify_name(alias.name, "second name of a tensor")
        if alias.name in names:
            raise AliasRefused("a second name is the name of another tensor", actual=ascii(alias.name))
        if alias.target not in names:
            raise AliasRefused("a second name points to no tensor", actual=ascii(alias.target[:80]))
    verify_sorted([alias.name.encode() for alias in aliases.aliases], "table of second names")
