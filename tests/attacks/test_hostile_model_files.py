"""A model file with gaps, overlaps or a header that promises gigabytes; the signer lists it, so its digest is right."""

import io
import tracemalloc
from hashlib import sha256

import msgspec
import pytest

from assay.certificate.statement import ModelFile
from tests.attacks.certificates import get_code
from tests.certificate.cases import TRUSTING, make_certificate, make_model_file, make_run


def frame(header, data=b""):
    """Return a file with this header and these data."""
    return len(header).to_bytes(8, "little") + header + data


HOSTILE = {
    "gap": frame(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xy"),
    "overlap": frame(
        b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
        b"xyz",
    ),
    "duplicate keys": frame(b'{"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,2]}}', b"xy"),
    "header of 2**64 - 1 bytes": b"\xff" * 8 + b"{}",
    "a tensor of 2**39 bytes": frame(
        b'{"a":{"dtype":"U8","shape":[549755813888],"data_offsets":[0,549755813888]}}', b"x"
    ),
    "brackets": frame(b"[" * 1_000_000),
    "code": b"\x80\x04cposix\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_unreadable_even_when_listed(data):
    """Listed and signed by the auditor, it is still malformed: 3, in little memory (MFL-2 to MFL-5)."""
    assert get_code(make_certificate(), TRUSTING, io.BytesIO(make_model_file())) == 0
    file = ModelFile("model.safetensors", sha256(data).hexdigest(), str(len(data)))
    certificate = make_certificate(msgspec.structs.replace(make_run(), files=[file]))
    tracemalloc.start()
    try:
        assert get_code(certificate, TRUSTING, io.BytesIO(data)) == 3
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_in_place_of_the_model_is_another_file(data):
    """In place of the certified file it is simply another one: 1 (CRT-24)."""
    assert get_code(make_certificate(), TRUSTING, io.BytesIO(data)) == 1
