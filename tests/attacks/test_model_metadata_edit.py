"""The model file is edited where no weight changes: metadata, padding, order. Loaders read the same weights."""

import json

import numpy as np
from safetensors.numpy import load, save

from tests.attacks.certificates import run_verify
from tests.certificate.cases import AUDITOR, make_certificate, make_model_file

MODEL = make_model_file()
LENGTH = int.from_bytes(MODEL[:8], "little")
HEADER, DATA = MODEL[8 : 8 + LENGTH], MODEL[8 + LENGTH :]


def reframe(header):
    """Return the model with another header."""
    return len(header).to_bytes(8, "little") + header + DATA


EDITS = {
    "metadata": reframe(b'{"__metadata__":{"licence":"MIT"},' + HEADER[1:]),
    "padding": reframe(HEADER + b" " * (-len(HEADER) % 8 or 8)),
    "order of the header": reframe(
        json.dumps(dict(reversed(json.loads(HEADER).items())), separators=(",", ":")).encode()
    ),
    "written by the library": save(load(MODEL)),
}


def test_the_same_weights_in_another_file_are_refuted(tmp_path):
    """The library reads the same arrays from each edit, and each is refuted by its digest: 1 (CRT-24)."""
    certificate = make_certificate()
    assert run_verify(tmp_path, certificate, MODEL, trusted=[AUDITOR]) == 0
    honest = load(MODEL)
    for name, edited in EDITS.items():
        assert edited != MODEL, name
        assert all(np.array_equal(honest[key], array) for key, array in load(edited).items()), name
        assert run_verify(tmp_path, certificate, edited, trusted=[AUDITOR]) == 1, name
