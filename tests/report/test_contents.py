"""What a report says: the level first, whose word it is, and never more than a trusted key stands behind."""

import json
import shutil

import pytest

from assay.certificate.policy import TrustPolicy
from assay.protocol.signatures import get_public_key
from assay.report.checks import AnotherRun
from assay.report.contents import gather
from assay.storage.keyring import read_or_create_seed, read_seed
from assay.training.recorded import RecordedRun
from assay.verification.certify import certify
from assay.verification.forgery import interpolate
from tests.attacks import runs

NOBODY = TrustPolicy({})


def test_a_run_that_nobody_checked_is_replayable(honest):
    """Without a certificate the sentence says that nobody recomputed, metrics are declared, every step is unproven."""
    report = gather(honest, None, NOBODY)
    assert (report.level, report.outcome, report.checks) == ("replayable", "unchecked", [])
    assert report.finding == "40 steps in 10 intervals, finished (completed); nobody has recomputed them."
    assert {metric.check for metric in report.metrics} == {"declared"}
    assert "That any step happened as it was recorded: nobody recomputed one." in report.not_proven
    assert report.commands[-1].startswith("assay run audit ")
    assert json.loads(report.summary)["steps"] == 40


def test_a_trusted_key_makes_it_recomputed(honest, certificate):
    """The level, who checked, recomputed metrics and the chances are those that `assay verify` finds."""
    report = gather(honest, certificate, runs.TRUSTING)
    assert (report.level, report.outcome) == ("recomputed", "holds")
    assert report.finding == "10 of 10 intervals were recomputed by auditor and match bit for bit."
    assert [(check.name, check.key) for check in report.checks] == [("auditor", get_public_key(runs.AUDITOR).hex())]
    assert {metric.check for metric in report.metrics} == {"recomputed"}
    assert "probability 0.000000 (0/1)" in report.chances[0]
    assert {column.result for column in report.intervals.columns} == {"matches"}
    assert report.evidence[0].text.encode() == certificate.read_bytes()


def test_an_unknown_key_proves_nothing(honest, certificate):
    """The same certificate without trust: the level stays, the claim is called one, metrics stay declared."""
    report = gather(honest, certificate, NOBODY)
    assert (report.level, report.outcome) == ("replayable", "unproven")
    assert report.finding == "10 of 10 intervals are said to match by a key that nobody here trusts: that is no proof."
    assert {metric.check for metric in report.metrics} == {"declared"}
    assert "no false interval would have been seen" in report.chances[0]
    assert "Signers unknown: nothing is proven about who checked." in report.not_proven


def test_the_recorders_own_key_never_counts(honest, tmp_path):
    """A check by the key that recorded is shown as such, even if it is trusted."""
    copy = runs.copy_run(honest, tmp_path / "copy")
    read_or_create_seed("default")
    runs.rewrite_closing(copy)
    own = runs.audit(copy)
    seed = read_seed("default")
    recorder = TrustPolicy({get_public_key(seed): "me"})
    file = tmp_path / "own.assay.json"
    file.write_bytes(certify(own, seed))
    report = gather(copy, file, recorder)
    assert (report.level, report.outcome) == ("replayable", "unproven")
    assert "the recorder's own key, which never counts" in report.finding
    assert report.checks[0].is_recorder


def test_a_false_interval_is_the_headline(honest, tmp_path):
    """A certificate by a trusted key that found a difference: refuted, with its number, in sentence and chart."""
    run = RecordedRun(honest)
    first, last = run.get_interval(4)
    run.close()
    forged = runs.forge_run(
        honest, tmp_path / "forged", edit=interpolate(first, last, 1.01), skip=frozenset(range(first + 1, last + 1))
    )
    found = runs.audit(forged)
    assert runs.find_differing(found) == [4]
    (forged / "audit" / "x.assay.json").write_bytes(runs.make_certificate(found))
    report = gather(forged, None, runs.TRUSTING)
    assert (report.outcome, report.level) == ("refuted", "recomputed")
    assert report.finding == "Refuted, an interval was recomputed and differs: interval 4."
    assert report.intervals.columns[4].result == "differs"
    assert "interval 4, steps 17 to 20 · differs (all)" in report.intervals.columns[4].words


def test_certificates_of_another_run_are_left_out(honest, certificate, tmp_path):
    """One that is given is refused by name; one that lies in the folder is not shown as this run's."""
    other = tmp_path / "other"
    runs.record(other, seed=2)
    with pytest.raises(AnotherRun) as refused:
        gather(other, certificate, runs.TRUSTING)
    assert refused.value.code == "report.another-run"
    shutil.copy(certificate, other / "audit" / "borrowed.assay.json")
    report = gather(other, None, runs.TRUSTING)
    assert (report.level, report.evidence) == ("replayable", [])


def test_a_certificate_that_is_none_is_shown_as_such(honest, tmp_path):
    """Bytes that are no certificate prove nothing, and the report says why."""
    file = tmp_path / "none.assay.json"
    file.write_bytes(b"{}")
    report = gather(honest, file, runs.TRUSTING)
    assert (report.level, report.outcome) == ("replayable", "unproven")
    assert report.finding.startswith("The certificate none.assay.json proves nothing: ")
