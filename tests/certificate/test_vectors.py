"""The vectors of certificates and model files, read by us and by a reader that shares no code with us."""

import base64
import io
import json

import pytest

from assay.certificate.model_file import MalformedModelFile, compute_file_root, scan_model
from assay.protocol.evidence.model_state import Alias, AliasTable
from tests.certificate import second_reader
from tools import certificate_vectors, model_file_vectors

MODELS = json.loads(model_file_vectors.PATH.read_text(encoding="utf-8"))
CASES = json.loads(certificate_vectors.PATH.read_text(encoding="utf-8"))["cases"]


def test_vectors_are_fresh():
    """The files are what the tools write."""
    assert model_file_vectors.PATH.read_text(encoding="utf-8") == model_file_vectors.render()
    assert certificate_vectors.PATH.read_text(encoding="utf-8") == certificate_vectors.render()


def test_the_model_file_of_the_vectors():
    """Both readers find the same tensors, digest and root (MFL-1 to MFL-7)."""
    data = bytes.fromhex(MODELS["file"])
    scanned = scan_model(io.BytesIO(data))
    listed = [(t["name"], t["dtype"], t["shape"], t["blake3"]) for t in MODELS["tensors"]]
    assert [(t.spec.name, t.spec.dtype, list(t.spec.shape), t.digest.hex()) for t in scanned.tensors] == listed
    assert second_reader.read_model(data) == (listed, MODELS["sha256"])
    aliases = AliasTable(tuple(Alias(alias["name"], alias["target"]) for alias in MODELS["aliases"]))
    root = compute_file_root(scanned.tensors, MODELS["parameters"], MODELS["buffers"], aliases)
    assert root.hex() == MODELS["model_root"]


@pytest.mark.parametrize("case", MODELS["refused"], ids=lambda case: case["name"])
def test_both_readers_refuse(case):
    """No reader accepts another form (MFL-2 to MFL-5)."""
    data = bytes.fromhex(case["file"])
    with pytest.raises(MalformedModelFile):
        scan_model(io.BytesIO(data))
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the standard library says
        second_reader.read_model(data)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_second_reader_agrees_about_form_and_signatures(case):
    """Not in its one form: 3. A trusted key that did not sign: 1. Otherwise all keys signed (CRT-2, CRT-3, CRT-25)."""
    data = base64.b64decode(case["certificate"])
    try:
        statement, signed = second_reader.read_certificate(data)
    except ValueError:
        assert case["exit"] == 3
        return
    failed = {key for key, holds in signed.items() if not holds}
    if failed:
        assert case["exit"] == (1 if failed & set(case["trusted"]) else 3)
    elif case["exit"] == 0:
        assert set(signed) & set(case["trusted"])
        if case["model"] is not None:
            _, digest = second_reader.read_model(bytes.fromhex(case["model"]))
            assert {"sha256": digest} in [subject["digest"] for subject in statement["subject"]]


def test_every_exit_is_in_the_vectors():
    """The cases cover exits 0, 1 and 3, and at least eight reasons (CRT-24 to CRT-30)."""
    assert {case["exit"] for case in CASES} == {0, 1, 3}
    assert len({case["code"] for case in CASES}) >= 8
