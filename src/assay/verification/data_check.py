"""Checking a proof about a sample without the run: a file, a root that the reader knows, a content digest."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from assay.protocol.encoding import ShapeRefused, decode
from assay.protocol.evidence.data_proof import (
    AbsenceProof,
    ContentRefuted,
    InclusionProof,
    verify_absence,
    verify_presence,
)
from assay.storage.files import MAX_OBJECT_BYTES, Files, read_file

MAX_PROOF_BYTES: Final = MAX_OBJECT_BYTES


def check_proof(path: Path, root: bytes, content: bytes) -> bool:
    """Check a proof; return whether it is one of presence, otherwise it is one of absence.

    Args:
        path: the file that `assay data prove --out` wrote.
        root: of the data set, from a plan or a certificate.
        content: digest of the sample that the reader asks about.

    Raises:
        Refuted: the proof does not hold.
        MalformedEvidence: it is no proof.
        FileMissing, FileTooLarge: from the storage.
    """
    data = read_file(Files(), path, MAX_PROOF_BYTES)
    try:
        presence = decode(data, InclusionProof, max_bytes=MAX_PROOF_BYTES)
    except ShapeRefused:
        absence = decode(data, AbsenceProof, max_bytes=MAX_PROOF_BYTES)
        if absence.content != content:
            raise ContentRefuted(
                "the proof is about another sample", expected=content.hex(), actual=absence.content.hex()
            ) from None
        verify_absence(absence, root)
        return False
    verify_presence(presence, root, content)
    return True
