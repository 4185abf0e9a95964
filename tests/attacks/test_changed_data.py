"""The stored data are changed after the fact: one label, one input, or the hash of a part of them only."""

import msgspec
import pytest
from blake3 import blake3

from assay.errors import Refuted
from assay.protocol.encoding import decode, encode
from assay.storage.blobs import DigestMismatch
from assay.training.data_store import DataManifest
from assay.training.packed import DataMismatch
from assay.training.recorded import RecordedRun
from assay.verification.structure import verify_structure
from assay.verification.worker import Worker
from tests.attacks.runs import copy_run

FIELDS = {"an input": 0, "a label": 1}


def find_file(run, field):
    """Return the file of one field of the training data, writable."""
    file = run / "data" / f"train.{FIELDS[field]}.bin"
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("what", FIELDS)
def test_changed_bytes_have_another_digest(what, honest, tmp_path):
    """One bit of one field: the array is not as it was written; refused before anything is computed."""
    assert verify_structure(honest).steps == 40
    run = copy_run(honest, tmp_path / "copy")
    file = find_file(run, what)
    data = bytearray(file.read_bytes())
    data[8] ^= 1
    file.write_bytes(data)
    with pytest.raises(DigestMismatch):
        verify_structure(run)


@pytest.mark.parametrize("what", FIELDS)
def test_every_field_is_in_the_commitment(what, honest, tmp_path):
    """The manifest names the changed array: a commitment over a part of a sample would pass, this one does not."""
    run = copy_run(honest, tmp_path / "copy")
    manifest = decode((run / "train.bin").read_bytes(), DataManifest)
    file = find_file(run, what)
    data = bytearray(file.read_bytes())
    data[8] ^= 1
    fields = list(manifest.fields)
    fields[FIELDS[what]] = msgspec.structs.replace(fields[FIELDS[what]], digest=blake3(data).digest())
    file.write_bytes(data)
    (run / "train.bin").unlink()
    (run / "train.bin").write_bytes(encode(msgspec.structs.replace(manifest, fields=tuple(fields))))
    for check in (verify_structure, lambda path: Worker(str(path))):
        with pytest.raises(DataMismatch) as refusal:
            check(run)
        assert isinstance(refusal.value, Refuted)
    assert RecordedRun(honest).plan.data == manifest.data
