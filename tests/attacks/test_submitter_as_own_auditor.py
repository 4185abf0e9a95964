"""The submitter audits the own run and signs the certificate with the recorder's key.

It is refused even where the reader trusts that very key. What cannot be prevented: the submitter makes a second key and
has the reader trust it. The certificate says so under "not proven".
"""

import pytest

from assay.certificate.rejections import OwnKeyOnly
from assay.certificate.verify import verify_certificate
from tests.attacks.certificates import run_verify
from tests.certificate.cases import AUDITOR, RECORDER, make_certificate, make_model_file, make_policy


def test_the_recorders_own_key_never_counts(tmp_path, capsys):
    """An auditor's key holds; the recorder's own, trusted or not, is shown and proves nothing (CRT-28)."""
    model = make_model_file()
    assert run_verify(tmp_path, make_certificate(), model, trusted=[AUDITOR]) == 0
    own = make_certificate(seeds=(RECORDER,))
    assert run_verify(tmp_path, own, model, trusted=[RECORDER]) == 3
    assert "by nobody whose word counts" in capsys.readouterr().out
    with pytest.raises(OwnKeyOnly):
        verify_certificate(own, None, make_policy(RECORDER))


def test_the_recorder_cannot_hide_behind_a_stranger(tmp_path):
    """The own key beside an unknown one still does not count, however much of it is trusted (CRT-28)."""
    both = make_certificate(seeds=(RECORDER, b"s" * 32))
    assert run_verify(tmp_path, both, make_model_file(), trusted=[b"s" * 32]) == 0
    assert run_verify(tmp_path, both, make_model_file(), trusted=[RECORDER]) == 3


def test_a_second_key_of_the_submitter_succeeds_and_is_stated():
    """Two keys of one person look like two persons: the certificate does not claim otherwise (CRT-31)."""
    findings = verify_certificate(make_certificate(), None, make_policy(AUDITOR))
    assert "Who did the computing; that recorder and checker are different persons." in findings.not_proven
