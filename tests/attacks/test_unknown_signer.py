"""A certificate by a key that the reader never heard of: the facts are shown, nothing is proven."""

import json

from tests.attacks.certificates import run_verify
from tests.certificate.cases import AUDITOR, STRANGER, make_certificate, make_model_file


def test_an_unknown_signer_proves_nothing(tmp_path, capsys):
    """Trusted: 0. Unknown: the facts, 'signers unknown', and 3 (CRT-27)."""
    model = make_model_file()
    assert run_verify(tmp_path, make_certificate(), model, trusted=[AUDITOR]) == 0
    capsys.readouterr()
    forged = make_certificate(seeds=(STRANGER,))
    assert run_verify(tmp_path, forged, model, trusted=[AUDITOR]) == 3
    shown = capsys.readouterr()
    assert "signers unknown: nothing is proven about who checked" in shown.err
    assert "states:" not in shown.out
    assert run_verify(tmp_path, forged, model, "--json", trusted=[AUDITOR]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == "certificate.signers-unknown"
    assert answer["findings"]["intervals"] == 5


def test_an_unknown_signer_cannot_borrow_a_trusted_keyid(tmp_path):
    """The stranger's signature under the auditor's keyid is a failed signature of the auditor (CRT-25)."""
    from assay.certificate.dsse import open_envelope, seal_envelope
    from assay.protocol.signatures import get_public_key

    payload, signatures = open_envelope(make_certificate(seeds=(STRANGER,)))
    borrowed = seal_envelope(payload, {get_public_key(AUDITOR): signatures[get_public_key(STRANGER)]})
    assert run_verify(tmp_path, borrowed, make_model_file(), trusted=[AUDITOR]) == 1
