"""One interval of a thousand was recomputed, and the certificate is shown as if that were enough."""

from fractions import Fraction

from assay.certificate.statement import FindingClaim
from assay.certificate.verify import verify_certificate
from tests.attacks.certificates import run_verify
from tests.certificate.cases import (
    ANY_SHARE,
    AUDITOR,
    make_audit,
    make_certificate,
    make_model_file,
    make_plan,
    make_run,
    rewrite,
)

RUN = make_run(make_plan(intended_steps=1000, interval_length=1))


def make_sampled(count):
    """Return a certificate over a sample of the last `count` intervals."""
    return make_certificate(RUN, make_audit([FindingClaim(n, "uniform", "matches") for n in range(1000 - count, 1000)]))


def test_one_of_a_thousand_is_not_ok(tmp_path, capsys):
    """A tenth is enough by default, one of a thousand is not; only the reader may ask for less (CRT-29)."""
    model = make_model_file()
    assert run_verify(tmp_path, make_sampled(100), model, trusted=[AUDITOR]) == 0
    thin = make_sampled(1)
    capsys.readouterr()
    assert run_verify(tmp_path, thin, model, trusted=[AUDITOR]) == 3
    shown = capsys.readouterr()
    assert "recomputed: 1 of 1000 intervals · nothing is proven" in shown.out
    assert "999 of 1000 intervals were not recomputed" in shown.out
    assert run_verify(tmp_path, thin, model, "--min-share", "0", trusted=[AUDITOR]) == 0


def test_the_chance_of_a_thin_check_is_printed():
    """One interval, the last: a false one among the others is missed for certain (CRT-18)."""
    findings = verify_certificate(make_sampled(1), None, ANY_SHARE)
    assert (Fraction(findings.miss_one), findings.caught95) == (1, "1000")


def test_a_policy_inside_is_refused(tmp_path):
    """A certificate that brings its own policy is malformed (CRT-5)."""
    shipped = rewrite(make_sampled(1), lambda values: values["predicate"].update(minimalShare="0"))
    assert run_verify(tmp_path, shipped, make_model_file(), trusted=[AUDITOR]) == 3


def test_flags_do_not_replace_the_sample(tmp_path):
    """999 flagged intervals and one drawn one are one drawn one (CRT-16)."""
    findings = [FindingClaim(n, "flagged", "matches") for n in range(999)] + [FindingClaim(999, "uniform", "matches")]
    padded = make_certificate(RUN, make_audit(findings))
    assert run_verify(tmp_path, padded, make_model_file(), trusted=[AUDITOR]) == 3
