"""Somebody wants an honest model "refuted": a forged certificate is put beside it, full of contradictions.

Exit 1 needs a key that the reader trusts. What remains: whoever can change the bytes of a trusted certificate gets 1
for that file; the message says that the file was changed, and that this says nothing about the model.
"""

import pytest

from assay.certificate.rejections import SignatureFailed
from assay.certificate.statement import FindingClaim
from assay.certificate.verify import verify_certificate
from tests.attacks.certificates import run_verify
from tests.certificate.cases import (
    AUDITOR,
    STRANGER,
    TRUSTING,
    make_audit,
    make_certificate,
    make_model_file,
    rewrite,
)

MODEL = make_model_file()


def test_a_stranger_cannot_refute(tmp_path):
    """Another file named, an interval that differs, a false chance: by the auditor 1, by a stranger 3 (CRT-27)."""
    assert run_verify(tmp_path, make_certificate(), MODEL, trusted=[AUDITOR]) == 0
    differs = make_audit([FindingClaim(n, "all", "differs") for n in range(5)])
    for seed, code in ((AUDITOR, 1), (STRANGER, 3)):
        other = make_certificate(seeds=(seed,))
        assert run_verify(tmp_path, other, MODEL + b"x", trusted=[AUDITOR]) == code
        assert run_verify(tmp_path, make_certificate(audit=differs, seeds=(seed,)), MODEL, trusted=[AUDITOR]) == code
        false = rewrite(other, lambda values: values["predicate"].update(level="observed"), seeds=(seed,))
        assert run_verify(tmp_path, false, MODEL, trusted=[AUDITOR]) == code


def test_a_changed_file_says_nothing_about_the_model():
    """The refutation of a changed certificate says what it is about (CRT-25)."""
    data = make_certificate()
    place = data.index(b'"sig":"') + 10
    changed = data[:place] + (b"A" if data[place : place + 1] != b"A" else b"B") + data[place + 1 :]
    with pytest.raises(SignatureFailed) as caught:
        verify_certificate(changed, None, TRUSTING)
    assert "says nothing about the model" in caught.value.next_step
