"""From a fetched run and the proven records of a ledger to a training certificate that carries them.

Anybody can write one: its word is that of the ledger, whose evidence a reader checks against an anchor of their own.

Source: `spec/certificate.md`, CRT-32 to CRT-36.
"""

from __future__ import annotations

from assay.certificate.build import AuditEvidence, EvaluationCheck, build_ledger_certificate
from assay.certificate.json_forms import LedgerClaim
from assay.certificate.ledger_check import METRICS_CHECK, START_CHECK, LedgerFacts, derive_findings, get_check
from assay.training.recorded import RecordedRun
from assay.verification.certify import collect_run, summarise_others, summarise_program, summarise_rates


def certify_verdict(run: RecordedRun, claim: LedgerClaim, facts: LedgerFacts, seed: bytes) -> bytes:
    """Return the certificate of a submission whose verdict is final.

    Args:
        run: the submitted run, under its context; the copy that a verifier fetches.
        claim: the evidence.
        facts: what `check_ledger` made of it.
        seed: of the issuer's key, 32 bytes.

    Raises:
        MalformedCertificate: more than 8 MiB, or more findings that differ than can be listed.
    """
    programs = [run.read_program(use.program) for use in run.uses]
    start, metrics = get_check(facts, START_CHECK), get_check(facts, METRICS_CHECK)
    audit = AuditEvidence(
        findings=derive_findings(facts),
        replays=1,
        start_recomputed=start == "recomputed",
        start_differs=start == "differs",
        programs=[summarise_program(program, use.first_step) for program, use in zip(programs, run.uses, strict=True)],
        scalars=[*summarise_rates(run, programs), *summarise_others(run, programs)],
        evaluations=[
            EvaluationCheck(metrics == "recomputed", None, differs=metrics == "differs")
            for _ in run.closing.evaluations
        ],
    )
    return build_ledger_certificate(collect_run(run), audit, claim, seed)
