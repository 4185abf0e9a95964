"""Audits by worker processes: what they find, what they leave out, how they go on, when they abstain."""

import json
import os
import secrets
from fractions import Fraction

import msgspec
import pytest

from assay.certificate.dsse import open_envelope
from assay.certificate.policy import TrustPolicy
from assay.certificate.rejections import IntervalDiffers, MetricsDiffer
from assay.certificate.statement import decode_statement
from assay.certificate.verify import verify_certificate
from assay.errors import UsageError
from assay.protocol.evidence.chances import compute_miss_chance, compute_smallest_caught
from assay.storage.audit_findings import AuditFindings, AuditUnderWay
from assay.storage.run_directory import RunDirectory
from assay.training.profile_environment import environment_for, get_best_capability
from assay.training.pytorch.backend import TorchBackend
from assay.training.recorded import RecordedRun
from assay.verification import audit as module
from assay.verification.audit import audit_run, bundle_tasks, choose_intervals, list_tasks
from assay.verification.audit_report import make_report
from assay.verification.certify import certify
from assay.verification.forgery import forge, interpolate
from assay.verification.pool import CannotJudge
from tests.verification import runs

TRUSTING = TrustPolicy({runs.AUDITOR_KEY: "auditor"})


def audit(path, **options):
    """Audit by one worker unless told otherwise."""
    settings = {"auditor": runs.AUDITOR_KEY, "environment": environment_for, "workers": 1, **options}
    return audit_run(path, **settings)


def read_statement(certificate):
    """Return the statement of a certificate."""
    return decode_statement(open_envelope(certificate)[0])


@pytest.fixture
def forged(honest, tmp_path):
    """A copy of the honest run that pretends to have trained in interval 5."""
    path = tmp_path / "forged"
    run = RecordedRun(honest)
    first, last = run.get_interval(5)
    skipped = frozenset(range(first + 1, last + 1))
    forge(honest, path, TorchBackend(run.start.aliases), edit=interpolate(first, last, 1.01), skip=skipped)
    run.close()
    return path


def test_two_workers_recompute_everything(honest):
    """Start, metrics and all intervals match, and the certificate of it holds."""
    seen = []
    found = audit(honest, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert found.is_complete
    assert {answer.result for answer in found.answers.values()} == {"matches", "report"}
    assert found.answers["scalars", 0].differing_rows == 0
    assert len(found.answers) == runs.INTERVALS + 3
    assert seen == [(n, len(found.answers)) for n in range(len(found.answers) + 1)]
    findings = verify_certificate(certify(found, runs.AUDITOR), None, TRUSTING)
    assert (findings.recomputed, findings.sampled, findings.start) == (runs.INTERVALS, runs.INTERVALS, "recomputed")
    assert not runs.find_workers(honest)


def test_a_sample_states_its_chances(honest):
    """Three of twelve: the last one among them, and the certificate prints the chances of such a sample."""
    found = audit(honest, sample=3)
    chosen = found.selection.intervals
    assert (found.selection.kind, len(chosen), chosen[-1]) == ("uniform", 3, runs.INTERVALS - 1)
    assert [answer.index for answer in found.get("interval")] == list(chosen)
    policy = TrustPolicy({runs.AUDITOR_KEY: "auditor"}, minimal_share=Fraction(1, 4))
    findings = verify_certificate(certify(found, runs.AUDITOR), None, policy)
    assert Fraction(findings.miss_one) == compute_miss_chance(runs.INTERVALS, 3, 1) == Fraction(9, 11)
    assert findings.caught95 == str(compute_smallest_caught(runs.INTERVALS, 3))


def test_the_sample_is_drawn_from_the_system(monkeypatch, honest):
    """32 bytes of the operating system's randomness choose; the last interval is always in, each other one can be."""
    asked = []
    token_bytes = secrets.token_bytes
    monkeypatch.setattr(module.secrets, "token_bytes", lambda count: asked.append(count) or token_bytes(count))
    monkeypatch.setattr(module, "_carry_out", lambda *_: None)
    drawn = {audit(honest, sample=4, auditor=bytes([n]) * 32).selection.intervals for n in range(60)}
    assert asked == [32] * 60
    assert {chosen[-1] for chosen in drawn} == {runs.INTERVALS - 1}
    assert {index for chosen in drawn for index in chosen} == set(range(runs.INTERVALS))


@pytest.mark.parametrize(("total", "sample", "kind", "count"), [
    (300, None, "all", 300), (301, None, "uniform", 300), (20, 20, "all", 20), (20, 1, "uniform", 1), (1, 1, "all", 1),
])  # fmt: skip
def test_how_many_are_chosen(total, sample, kind, count):
    """All of up to 300, else 300, unless a sample is asked for."""
    chosen = choose_intervals(total, sample, os.urandom(32))
    assert (chosen.kind, len(chosen.intervals), chosen.intervals[-1]) == (kind, count, total - 1)


@pytest.mark.parametrize(("total", "sample"), [(0, None), (5, 0), (5, 6), (5, -1)])
def test_a_sample_that_cannot_be_is_refused(total, sample):
    """No interval, none of them, or more than there are."""
    with pytest.raises(UsageError):
        choose_intervals(total, sample, bytes(32))


def test_a_false_interval_is_found_and_told(forged):
    """Exactly that interval differs, with its first step, parts, cause and tensors; the certificate refutes.

    Findings that the owner of the run laid into its folder are not believed.
    """
    closing = RecordedRun(forged).closing
    with RunDirectory.open(forged) as run:
        name = f"audit/{runs.AUDITOR_KEY.hex()[:16]}-{module.compute_closing_id(closing).hex()[:32]}-default.jsonl"
        planted = [
            {"closing": "", "kind": "all", "intervals": []},
            {"kind": "interval", "index": 5, "result": "matches"},
        ]
        run.write_object(name, b"".join(msgspec.json.encode(line) + b"\n" for line in planted))
    found = audit(forged)
    assert [(answer.kind, answer.index) for answer in found.differing] == [("interval", 5)]
    assert found.is_complete
    report = make_report(found, runs.AUDITOR_KEY, bytes(32))
    (told,) = report.others
    assert (told.what, told.steps, told.first_step) == ("interval 5", (21, 24), 21)
    assert told.parts == ("state root",)
    assert "replaced or edited" in told.cause
    assert told.tensors
    assert all(tensor.largest > 0 and tensor.elements and sum(tensor.ulps) for tensor in told.tensors)
    assert json.loads(msgspec.json.encode(report))["matching"] == runs.INTERVALS - 1
    with pytest.raises(IntervalDiffers):
        verify_certificate(certify(found, runs.AUDITOR), None, TRUSTING)


def test_thinned_states_cost_each_step_once(forged, monkeypatch):
    """Intervals that share a stored state are one bundle; behind a false one they cannot be judged, which is said."""
    with RunDirectory.open(forged, write=True) as run:
        run.checkpoints.thin({16, runs.STEPS})
    opened = RecordedRun(forged)
    bundles = bundle_tasks(opened, list_tasks(opened, choose_intervals(runs.INTERVALS, None, bytes(32))))
    assert [[task.index for task in bundle] for bundle in bundles if bundle[0].kind == "interval"] == [
        [0, 1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11],
    ]  # fmt: skip
    found = audit(forged, sample=1)
    assert {index: answer.result for (kind, index), answer in found.answers.items() if kind == "interval"} == {
        11: "inconclusive", 5: "differs",
    }  # fmt: skip
    assert found.is_complete
    statement = read_statement(certify(found, runs.AUDITOR))
    assert [(f.interval, f.kind, f.result) for f in statement.predicate.findings.listed] == [
        (5, "flagged", "differs"), (11, "uniform", "inconclusive"),
    ]  # fmt: skip


def test_false_metrics_refute(honest, tmp_path):
    """A run whose closing record, signed anew, claims a better metric: the certificate says that it differs."""
    path = runs.copy(honest, tmp_path / "run")

    def improve(closing):
        (evaluation,) = closing.evaluations
        better = tuple(msgspec.structs.replace(metric, value=metric.value + 1) for metric in evaluation.metrics)
        return msgspec.structs.replace(closing, evaluations=(msgspec.structs.replace(evaluation, metrics=better),))

    runs.change_closing(path, improve)
    found = audit(path, sample=2)
    assert [answer.kind for answer in found.differing] == ["evaluation"]
    with pytest.raises(MetricsDiffer):
        verify_certificate(certify(found, runs.AUDITOR), None, TRUSTING)


def test_damaged_states_are_no_finding(honest, tmp_path):
    """What cannot be read makes tasks fail; nothing is found against the run, and nothing is certified."""
    path = runs.copy(honest, tmp_path / "run")
    for file in (path / "packs").iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    found = audit(path, sample=2)
    assert "the tensor" in found.failed[0].detail
    assert not found.differing
    assert not found.is_complete
    with pytest.raises(UsageError, match="not complete"):
        certify(found, runs.AUDITOR)


def test_another_capability_can_be_judged(tmp_path):
    """A run recorded under other vector instructions: workers get them, or the machine abstains."""
    path = tmp_path / "run"
    assert get_best_capability() != "DEFAULT"
    runs.record_apart(path, ATEN_CPU_CAPABILITY="default")
    found = audit(path, sample=2)
    assert found.is_complete
    assert {answer.result for answer in found.answers.values()} == {"matches", "report"}

    def leave_as_it_is(_):
        return {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}

    with pytest.raises(CannotJudge, match="cannot judge"):
        audit(path, sample=3, environment=leave_as_it_is)


def test_other_known_answers_make_the_machine_abstain(honest, tmp_path):
    """A machine whose known answers differ finds nothing, and says which program it was."""
    path = runs.copy(honest, tmp_path / "run")
    runs.change_closing(path, runs.change_answers)
    with pytest.raises(CannotJudge, match="known answer") as caught:
        audit(path)
    assert "like the one that recorded" in caught.value.next_step


def test_two_audits_of_one_run_by_one_key_are_refused(honest):
    """The second one is told which process carries out the first."""
    closing = module.compute_closing_id(RecordedRun(honest).closing).hex()
    with AuditFindings(f"{runs.AUDITOR_KEY.hex()[:16]}-{closing[:32]}-default"):  # noqa: SIM117 - one after the other
        with pytest.raises(AuditUnderWay, match="under way") as caught:
            audit(honest)
    assert str(os.getpid()) in caught.value.actual
