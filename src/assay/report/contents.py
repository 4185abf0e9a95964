"""Everything that a report says of a run, gathered and put into words; how it looks is the template's business."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from assay.certificate.parents import CheckedParent
from assay.certificate.policy import TrustPolicy
from assay.certificate.wording import NEVER_CLAIMED
from assay.report.charts import Chart, draw_changes, draw_intervals, draw_losses
from assay.report.checks import CheckedCertificate, check_certificates
from assay.report.series import LossColumn, group_intervals, group_losses, read_losses
from assay.training.recorded import RecordedRun
from assay.verification.summary import RunSummary, summarise_run
from assay.verification.weight_analysis.subjects import analyse_run
from assay.verification.weight_analysis.thresholds import TooFewIntervals

MAX_LOGGED = 50
"""Logged lines that a report shows, the last ones."""

MAX_EMBEDDED = 512 * 1024
"""Bytes of a certificate up to which the report carries it."""


class Check(msgspec.Struct, frozen=True):
    """One key that signed one certificate."""

    key: str
    name: str
    is_recorder: bool
    certificate: str
    says: str


class Metric(msgspec.Struct, frozen=True):
    """One metric on a test set; `check`: "recomputed", "differs" or "declared"."""

    name: str
    value: str
    samples: str
    step: str
    check: str
    overlap: str


class Evidence(msgspec.Struct, frozen=True):
    """A certificate that the report carries; `text` is empty if it is too large."""

    name: str
    text: str
    size: int


class Report(msgspec.Struct, frozen=True):
    """A report, from top to bottom.

    Attributes:
        name: of the run's folder.
        level: of evidence.
        outcome: "holds", "refuted", "unproven", or "unchecked" where nobody recomputed.
        finding: one sentence.
        checks: who checked.
        metrics: recomputed ones first.
        intervals, losses: charts, None where there is nothing to draw.
        losses_note: where they come from.
        changes: chart of the change of the weights; None: too few stored states.
        changes_note: what flags mean, or why there is no chart.
        chances: sentences.
        facts: title to rows of name and value.
        logged: the last lines that the user logged; declared.
        proven, not_proven: sentences.
        commands: to copy.
        evidence: certificates.
        summary: everything that `assay run show --json` prints.
    """

    name: str
    level: str
    outcome: str
    finding: str
    checks: list[Check]
    metrics: list[Metric]
    intervals: Chart | None
    losses: Chart | None
    losses_note: str
    changes: Chart | None
    changes_note: str
    chances: list[str]
    facts: dict[str, list[tuple[str, str]]]
    logged: list[str]
    proven: list[str]
    not_proven: list[str]
    commands: list[str]
    evidence: list[Evidence]
    summary: str


def gather(path: Path, certificate: Path | None, policy: TrustPolicy, parents: Sequence[Path] = ()) -> Report:
    """Read a run and its certificates, verify what can be verified without computing, and put it into words.

    Args:
        path: the run.
        certificate: one to take instead of those in the run's `audit/` folder; None: those.
        policy: whose keys are trusted.
        parents: certificates of the chain from which the run started, to be checked too.

    Raises:
        AnotherRun: the given certificate is about another run.
        NoParentNamed: a parent of a run whose start names none.
        MalformedEvidence, Refuted, StorageError: the run does not even hold together.
    """
    summary = summarise_run(path)
    run = RecordedRun(path)
    try:
        checked = check_certificates(run, certificate, policy, parents)
        best = checked[0] if checked else None
        losses = read_losses(run)
        columns = group_losses(losses)
        intervals = group_intervals(run, losses, best.predicate if best else None)
        logged = [msgspec.json.encode(line).decode() for line in run.directory.log.iterate()][-MAX_LOGGED:]
    finally:
        run.close()
    changes, note = _analyse_weights(path, losses)
    return Report(
        name=path.resolve().name,
        level=_find_level(summary, best),
        outcome=_find_outcome(best),
        finding=describe_finding(summary, best),
        checks=[check for one in checked for check in _describe_checks(one)],
        metrics=_describe_metrics(summary, best),
        intervals=draw_intervals(intervals) if intervals else None,
        losses=draw_losses(columns) if columns else None,
        losses_note=_describe_losses(columns),
        changes=changes,
        changes_note=note,
        chances=_describe_chances(best),
        facts=_describe_facts(summary, best),
        logged=logged,
        proven=_describe_proven(summary, best),
        not_proven=_describe_not_proven(summary, best),
        commands=_describe_commands(path, summary, best, certificate, parents),
        evidence=[_carry(one) for one in checked],
        summary=msgspec.json.format(msgspec.json.encode(summary), indent=2).decode(),
    )


def _analyse_weights(path: Path, losses: Sequence[float | None]) -> tuple[Chart | None, str]:
    """Return the chart of the weights and what its flags mean, or why there is none."""
    try:
        analysis = analyse_run(path)
    except TooFewIntervals as error:
        return None, f"{error.message} ({error.actual} found, {error.expected} needed)"
    flagged = len(analysis.flagged)
    found = f"{flagged} of {len(analysis.intervals)} flagged" if flagged else "none flagged"
    return draw_changes(analysis, losses), f"{found}; {analysis.caveat}"


def _describe_losses(columns: Sequence[LossColumn]) -> str:
    said = "The first number that each step returned"
    grouped = any(column.first != column.last for column in columns)
    return f"{said}; the band goes from the least to the most of the steps of a column." if grouped else f"{said}."


def _counts(best: CheckedCertificate | None) -> bool:
    """True if a trusted key other than the recorder's stands behind the facts of a certificate."""
    if best is None or best.findings is None:
        return False
    return any(signer.name and not signer.is_recorder for signer in best.findings.signers)


def _find_level(summary: RunSummary, best: CheckedCertificate | None) -> str:
    return best.findings.level if best is not None and best.findings is not None and _counts(best) else summary.level


def _find_outcome(best: CheckedCertificate | None) -> str:
    return best.outcome if best is not None else "unchecked"


def describe_finding(summary: RunSummary, best: CheckedCertificate | None) -> str:
    """Return the one sentence at the top of a report."""
    if best is None:
        state = f"finished ({summary.reason})" if summary.finished else "in progress"
        return f"{summary.steps} steps in {summary.intervals} intervals, {state}; nobody has recomputed them."
    findings = best.findings
    if findings is None:
        return f"The certificate {best.name} proves nothing: {best.reason}."
    counted = f"{findings.recomputed} of {findings.intervals} intervals"
    if best.outcome == "refuted":
        return f"Refuted, {best.reason}{_name_differing(best)}."
    if not _counts(best):
        who = "the recorder's own key, which never counts," if best.recorder_only else "a key that nobody here trusts"
        return f"{counted} are said to match by {who}: that is no proof."
    names = ", ".join(signer.name for signer in findings.signers if signer.name and not signer.is_recorder)
    if best.outcome == "unproven":
        return f"{counted} were recomputed by {names}, but {best.reason}."
    return f"{counted} were recomputed by {names} and match bit for bit."


def _name_differing(best: CheckedCertificate) -> str:
    findings = best.findings
    if findings is None:
        return ""
    parts = [f"interval {index}" for index in findings.differing[:8]]
    parts += [f"and {len(findings.differing) - 8} more"] if len(findings.differing) > 8 else []
    parts += ["the start"] if findings.start == "differs" else []
    parts += findings.differing_metrics
    return f": {', '.join(parts)}" if parts else ""


def _describe_checks(one: CheckedCertificate) -> list[Check]:
    said = {"holds": "its certificate holds", "refuted": "refuted", "unproven": "nothing is proven"}[one.outcome]
    said = f"{said}: {one.reason}" if one.reason else said
    if one.findings is None:
        return [Check("", "", is_recorder=False, certificate=one.name, says=said)]
    return [Check(signer.key, signer.name, signer.is_recorder, one.name, said) for signer in one.findings.signers]


def _describe_metrics(summary: RunSummary, best: CheckedCertificate | None) -> list[Metric]:
    if best is not None and best.predicate is not None and _counts(best):
        return [
            Metric(m.name, m.value, claim.data_size, claim.step, claim.check, claim.overlap)
            for claim in best.predicate.evaluations
            for m in claim.metrics
        ]
    return [
        Metric(name, repr(value), str(one.samples), str(one.step), "declared", "not computed")
        for one in summary.evaluations
        for name, value in one.metrics.items()
    ]


def _describe_chances(best: CheckedCertificate | None) -> list[str]:
    findings = best.findings if best is not None and _counts(best) else None
    if findings is None or not findings.sampled:
        return ["Nothing was drawn and recomputed by a trusted key, so no false interval would have been seen."]
    caught = (
        "No number of false intervals is caught with 95 %."
        if findings.caught95 == "none"
        else f"{findings.caught95} or more false intervals are caught with at least 95 %."
    )
    return [
        (
            f"If exactly one interval was false, this check had probability {findings.miss_one_rounded} "
            f"({findings.miss_one}) of missing it."
        ),
        caught,
    ]


def _describe_facts(summary: RunSummary, best: CheckedCertificate | None) -> dict[str, list[tuple[str, str]]]:
    data = [(name, str(value)) for name, value in summary.data.items()]
    data += [(f"test set after step {one.step}", f"{one.samples} samples, {one.root}") for one in summary.evaluations]
    data.append(("licence", "not part of a run; ask whoever gave the data"))
    start = list(summary.start.items())
    if summary.start["kind"] == "certified":
        if best is None or not best.parents:
            start.append(("parent", "a certificate, named in the plan below; verify it by itself"))
        else:
            start += [(f"parent {one.name}", _describe_parent(one)) for one in best.parents]
    elif summary.start["kind"] == "initialised":
        start.append(("parent", "none: trained from scratch, by an initialiser program"))
    else:
        start.append(("parent", "none that can be checked: the starting weights were merely declared"))
    if best is not None and best.findings is not None:
        start.append(("start, by the certificate", best.findings.start))
    return {
        "Data": data,
        "Start": start,
        "Declared events": [
            (f"{one.kind} after step {one.step}", f"{one.reason}: {one.tensors} tensors, norm {one.norm:.6g}")
            for one in summary.events
        ],
        "Plan": [(name, str(value)) for name, value in summary.plan.items()],
        "Programs": [
            (one.id[:16], f"{one.kind}, {one.nodes} operators, first used at step {one.first_step}")
            for one in summary.programs
        ],
        "Rates": [
            (rate.name, f"{rate.minimum} to {rate.maximum}, 0 at {rate.zero_steps} steps") for rate in summary.rates
        ],
        "Profile": [(name, value) for name, value in summary.profile.items() if value != "unset"],
        "Roots": [*summary.roots.items(), *([("recorder's key", summary.recorder)] if summary.recorder else [])],
    }


def _describe_parent(parent: CheckedParent) -> str:
    """Return what was found about a parent's certificate."""
    found = parent.findings
    counted = "" if found is None else f": {found.recomputed} of {found.intervals} intervals"
    reason = f" ({parent.reason})" if parent.reason else ""
    return f"{parent.outcome}{reason}{counted}, SHA-256 {parent.certificate}"


def _describe_proven(summary: RunSummary, best: CheckedCertificate | None) -> list[str]:
    said = [
        (
            f"The records of the run hold together: each of its {summary.steps} steps follows from the one before, "
            "and no stored state is another one than the transcript claims."
        )
    ]
    if best is not None and best.findings is not None and _counts(best):
        return said + best.findings.proven
    if summary.recorder:
        said.append(f"The recorder's key {summary.recorder[:16]}… signed the transcript and the end of this run.")
    return said


def _describe_not_proven(summary: RunSummary, best: CheckedCertificate | None) -> list[str]:
    if best is not None and best.findings is not None:
        return best.findings.not_proven
    said = ["That any step happened as it was recorded: nobody recomputed one."]
    if not summary.finished:
        said.append("What the run will end with: it is not finished.")
    said += [
        f"Why the state was edited after step {one.step} ({one.reason}): {one.tensors} tensors, norm of the change "
        f"{one.norm:.6g}."
        for one in summary.events
        if one.kind == "edit"
    ]
    said += [f"Declared, not recomputed: {name}." for one in summary.evaluations for name in one.metrics]
    return said + NEVER_CLAIMED


def _describe_commands(
    path: Path,
    summary: RunSummary,
    best: CheckedCertificate | None,
    certificate: Path | None,
    parents: Sequence[Path],
) -> list[str]:
    run, model = shlex.quote(str(path)), shlex.quote(f"{path.resolve().name}.safetensors")
    if best is None or best.findings is None:
        commands = [f"assay run verify {run}"]
        return [*commands, f"assay run audit {run}"] if summary.finished else commands
    file = shlex.quote(str(certificate if certificate is not None else path / best.name))
    words = [f"--trust {signer.key}" for signer in best.findings.signers if not signer.is_recorder]
    words += [f"--parent {shlex.quote(str(parent))}" for parent in parents]
    return [f"assay run export {run} --out {model}", " ".join([f"assay verify {file} {model}", *words])]


def _carry(one: CheckedCertificate) -> Evidence:
    fits = len(one.data) <= MAX_EMBEDDED
    return Evidence(one.name, one.data.decode("utf-8", "replace") if fits else "", len(one.data))
