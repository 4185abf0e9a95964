"""What the recorder signs when a run ends: the transcript and the closing record.

Source: `spec/certificate.md`, CRT-12.
"""

from __future__ import annotations

from assay.protocol import tags
from assay.protocol.evidence.plan import ClosingRecord, compute_closing_id
from assay.protocol.hashing import tag_bytes
from assay.protocol.signatures import sign, verify_signature


def compute_recorder_message(closing: ClosingRecord) -> bytes:
    """Return the 66 bytes that are signed: tag ‖ transcript root ‖ id of the closing record."""
    return tag_bytes(tags.RECORDER_SIGNATURE) + closing.transcript.root + compute_closing_id(closing)


def sign_run(seed: bytes, closing: ClosingRecord) -> bytes:
    """Return the recorder's 64-byte signature; `seed` is the 32-byte seed of its key."""
    return sign(seed, compute_recorder_message(closing))


def verify_run_signature(public_key: bytes, closing: ClosingRecord, signature: bytes) -> None:
    """Check the recorder's signature.

    Raises:
        Refuted: this key did not sign this run.
    """
    verify_signature(public_key, compute_recorder_message(closing), signature)
