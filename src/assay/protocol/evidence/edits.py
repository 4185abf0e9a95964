"""A declared change of the state between two steps: which tensors have which bytes after it, and how far they moved.

Nobody recomputes why. Whoever replays applies the stored tensors, and finds the norm.

Source: `spec/transcript.md`, TRN-10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol import tags
from assay.protocol.encoding import Record, encode
from assay.protocol.evidence.fields import verify_sorted, verify_version
from assay.protocol.evidence.model_state import TensorRecord, sort_key
from assay.protocol.evidence.model_state_rules import verify_record
from assay.protocol.hashing import compute_id
from assay.protocol.merkle import MerkleRoot, compute_data_root

INFINITE_BITS: Final = 0x7FF0 << 48
"""The bits of binary64 infinity: those of finite numbers from 0 upwards are below."""


class EditContradicted(MalformedEvidence):
    """An edit that does not commit to the tensors beside it, changes none, or has a norm that is no finite number."""

    code: ClassVar[str] = "edit.contradicted"


class Edit(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an edit left behind; its id (tag EDIT) is in the event."""

    version: int
    tensors: MerkleRoot  # tag EDIT_TREE: the records of the changed tensors, as they are after the edit
    norm: int  # bits of the binary64: Euclidean norm of the change over all of them


def build_edit(records: Sequence[TensorRecord], norm: int) -> Edit:
    """Return the edit that leaves these tensors behind; `records` in canonical order."""
    return Edit(0, _commit(records), norm)


def _commit(records: Sequence[TensorRecord]) -> MerkleRoot:
    root = compute_data_root(tags.EDIT_TREE, [encode(record) for record in records])
    return MerkleRoot(tags.EDIT_TREE, len(records), root)


def compute_edit_id(edit: Edit) -> bytes:
    """Return the digest that an event names its edit by (TRN-10)."""
    return compute_id(tags.EDIT, edit)


def verify_edit(edit: Edit) -> None:
    """Check an edit by itself (TRN-10).

    Raises:
        MalformedEvidence: `EditContradicted` or one of the classes of `fields`.
    """
    verify_version(edit.version, "edit")
    if edit.tensors.tag != tags.EDIT_TREE or edit.tensors.size < 1 or len(edit.tensors.root) != 32:
        raise EditContradicted("an edit commits to no tensors", expected=f"a list with tag {tags.EDIT_TREE}")
    if not 0 <= edit.norm < INFINITE_BITS:
        raise EditContradicted("the norm of an edit is no finite number from 0 upwards", actual=edit.norm)


def verify_edit_tensors(edit: Edit, records: Sequence[TensorRecord]) -> None:
    """Check the tensors that are kept beside an edit against it (TRN-10).

    Raises:
        MalformedEvidence: `EditContradicted` or one of the classes of `fields` and `model_state_rules`.
    """
    for record in records:
        verify_record(record)
    verify_sorted([sort_key(record) for record in records], "list of edited tensors")
    if _commit(records) != edit.tensors:
        raise EditContradicted("the tensors of an edit are not those that it commits to", expected=edit.tensors.size)
