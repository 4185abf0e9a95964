"""The recorder's signature over a finished run, as an object of the run."""

from __future__ import annotations

from assay.protocol.encoding import Record, decode, encode
from assay.protocol.evidence.plan import ClosingRecord
from assay.protocol.evidence.recorder_signature import sign_run, verify_run_signature
from assay.protocol.signatures import get_public_key
from assay.storage.keyring import read_or_create_seed
from assay.storage.run_directory import RunDirectory

_NAME = "signature.bin"


class RecorderSignature(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who says that they recorded the run: Ed25519 over transcript and closing record."""

    version: int
    public_key: bytes
    signature: bytes


def sign_closing(run: RunDirectory, closing: ClosingRecord, key: str) -> None:
    """Sign with the key of this name, which is made if there is none."""
    seed = read_or_create_seed(key)
    run.write_object(_NAME, encode(RecorderSignature(0, get_public_key(seed), sign_run(seed, closing))))


def read_signature(run: RunDirectory, closing: ClosingRecord) -> RecorderSignature:
    """Return the recorder's signature.

    Raises:
        Refuted: it does not hold.
    """
    signature = decode(run.read_object(_NAME), RecorderSignature)
    verify_run_signature(signature.public_key, closing, signature.signature)
    return signature
