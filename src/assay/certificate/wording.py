"""What a certificate proves and what it does not, in sentences. No sentence claims more than the spec allows.

Source: `spec/certificate.md`, CRT-31.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from assay.certificate.interval_findings import format_chance
from assay.certificate.ledger_check import LedgerFacts
from assay.certificate.statement import NOT_COMPUTED, ConstantSummary, Level, ModelFile, Predicate, ScalarSummary
from assay.protocol.evidence.model_state import DTYPES
from assay.protocol.evidence.plan import ClosingRecord, Plan, Profile
from assay.protocol.seals.solo import FAULT_MODEL

MAX_NAMED = 8
"""Metrics, buffers or scalars that are named in one sentence."""


MAX_UNNAMED = 64
"""Bytes of constants of which no sentence is made: numbers such as 1 and 0."""


MAX_RANK = 64
"""Dimensions of a constant that are looked at."""


class Signer(msgspec.Struct, frozen=True, rename="camel"):
    """A key that signed: hex, the reader's name for it (empty: not trusted), and whether it also recorded."""

    key: str
    name: str
    is_recorder: bool
    replays: int


class LedgerFindings(msgspec.Struct, frozen=True, rename="camel"):
    """What an anchored ledger states."""

    name: str  # the reader's
    chain_id: str
    engine: str
    fault_model: str
    submission: str
    account: str  # of the submitter
    verdict: str
    reason: str
    quorum: int
    sub_quorum: int
    assumed_share: str  # f
    corrupt: str  # c, rounded
    attempts: int  # submissions of this plan so far
    final_height: int
    height: int  # of the newest header
    votes: str  # root over all revealed votes


class Findings(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that verification established."""

    level: Level
    model_root: str
    plan: str
    intervals: int  # N
    sampled: int  # s, those that count for the chances
    recomputed: int  # of any kind
    differing: list[int]
    inconclusive: list[int]
    start: Literal["recomputed", "not recomputed", "differs"]
    differing_metrics: list[str]  # of evaluations that were recomputed and differ
    miss_one: str  # fraction
    miss_one_rounded: str
    caught95: str
    recorder: str
    signers: list[Signer]
    file: ModelFile | None
    proven: list[str]
    not_proven: list[str]
    ledger: LedgerFindings | None = None


class Checked(NamedTuple):
    """A certificate whose steps 1 to 11 hold."""

    predicate: Predicate
    plan: Plan
    closing: ClosingRecord
    profile: Profile
    recomputed: int
    signers: tuple[Signer, ...]
    file: ModelFile | None
    facts: LedgerFacts | None = None


def describe(checked: Checked) -> Findings:
    """Return the findings over a certificate whose steps 1 to 11 hold."""
    predicate, chances = checked.predicate, checked.predicate.chances
    return Findings(
        level=predicate.level,
        model_root=predicate.roots.model,
        plan=predicate.plan.id,
        intervals=predicate.intervals,
        sampled=predicate.sampled,
        recomputed=checked.recomputed,
        differing=_get_intervals(predicate, "differs"),
        inconclusive=_get_intervals(predicate, "inconclusive"),
        start=predicate.start.check,
        differing_metrics=[m.name for e in predicate.evaluations if e.check == "differs" for m in e.metrics],
        miss_one=chances.miss_one.fraction,
        miss_one_rounded=chances.miss_one.rounded,
        caught95=chances.caught95,
        recorder=predicate.recorder.key,
        signers=list(checked.signers),
        file=checked.file,
        proven=_describe_proven(checked),
        not_proven=_describe_not_proven(checked),
        ledger=None if checked.facts is None else _summarise_ledger(checked.facts),
    )


def _summarise_ledger(facts: LedgerFacts) -> LedgerFindings:
    status = facts.status
    return LedgerFindings(
        name=facts.name,
        chain_id=facts.chain_id.hex(),
        engine="solo",
        fault_model=FAULT_MODEL,
        submission=facts.submission.submission.hex(),
        account=facts.submission.account.hex(),
        verdict=status.verdict,
        reason=status.reason,
        quorum=len(facts.draw.quorum),
        sub_quorum=facts.submission.run.sub_quorum,
        assumed_share=str(facts.share),
        corrupt=format_chance(facts.corrupt).rounded,
        attempts=facts.attempts,
        final_height=status.final_height,
        height=facts.height,
        votes=status.votes.root.hex(),
    )


def get_witnesses(findings: Findings) -> list[str]:
    """Return who states what a certificate claims, in the words of its sentences: trusted keys, or the ledger."""
    if findings.ledger is not None:
        return [f"Ledger {findings.ledger.name} ({findings.ledger.chain_id[:16]}…)"]
    return [f"{one.name} ({one.key[:16]}…)" for one in findings.signers if one.name and not one.is_recorder]


def _get_intervals(predicate: Predicate, result: str) -> list[int]:
    return [finding.interval for finding in predicate.findings.listed if finding.result == result]


def _describe_proven(checked: Checked) -> list[str]:
    predicate, file, said = checked.predicate, checked.file, []
    if file is not None:
        said.append(f"The model file is the one that the certificate names (SHA-256 {file.sha256[:16]}…).")
    said.append(f"The recorder's key {predicate.recorder.key[:16]}… signed the transcript and the end of this run.")
    if checked.facts is not None:
        said += _describe_ledger(checked, checked.facts)
    counted = [signer for signer in checked.signers if signer.name and not signer.is_recorder]
    for signer in counted:
        said += [f"{signer.name} ({signer.key[:16]}…) states: {claim}" for claim in _describe_claims(checked)]
    if (counted or checked.facts is not None) and predicate.sampled:
        said.append(
            f"If exactly one interval was false, this check had probability {predicate.chances.miss_one.rounded} "
            f"({predicate.chances.miss_one.fraction}) of missing it; {_describe_caught(predicate)}"
        )
    return said


def _describe_claims(checked: Checked) -> list[str]:
    predicate = checked.predicate
    said = [f"this model is the result of plan {predicate.plan.id[:16]}… after {checked.closing.steps} steps."]
    if checked.recomputed:
        unmatched = len(_get_intervals(predicate, "differs")) + len(_get_intervals(predicate, "inconclusive"))
        said.append(
            f"{checked.recomputed} of {predicate.intervals} intervals were recomputed under a {checked.profile.kind} "
            f"profile, {checked.recomputed - unmatched} match bit for bit."
        )
    if predicate.start.check == "recomputed":
        said.append("the starting weights were recomputed from the seed.")
    if predicate.scalars.differing == "0":
        said.append("the optimizers' own code gives the scalars of every step under some settings.")
    for evaluation in predicate.evaluations:
        if evaluation.check == "recomputed":
            values = _join([f"{metric.name} {metric.value}" for metric in evaluation.metrics])
            said.append(
                f"{values} on {evaluation.data_size} samples, recomputed with inference program "
                f"{evaluation.program[:16]}…"
            )
    return said


def _describe_ledger(checked: Checked, facts: LedgerFacts) -> list[str]:
    """Say what the ledger states, with what it rests on."""
    status, account = facts.status, facts.submission.account.hex()[:16]
    claims = _describe_claims(checked)
    plan = f"{claims[0].rstrip('.')}, submitted by account {account}…; verdict: {status.verdict} ({status.reason})."
    quorums = (
        f"each judged interval had {facts.submission.run.sub_quorum} or more verifiers, drawn from a quorum of "
        f"{len(facts.draw.quorum)} by stake; they are right unless two thirds of the assigned stake lied. If "
        f"{facts.share} of all stake lied, that had a chance of {format_chance(facts.corrupt).rounded} for an interval."
    )
    said = [plan, *claims[1:], quorums]
    prefix = f"Ledger {facts.name} ({facts.chain_id.hex()[:16]}…) states: "
    return [prefix + sentence for sentence in said]


def _describe_ledger_limits(facts: LedgerFacts) -> list[str]:
    """Say what the evidence of this ledger does not prove."""
    return [
        f"Anything against the word of the ledger's engine: {FAULT_MODEL}.",
        "What private samples found, which no operator can choose, beyond what became a judged interval.",
        f"Anything after height {facts.height}; this plan was submitted {facts.attempts} times until then.",
        "That what the submitter says of constants and rates of the programs is so: no quorum read them.",
    ]


def _join(texts: list[str]) -> str:
    """Return a list that fits a sentence."""
    shown = ", ".join(texts[:MAX_NAMED])
    return shown if len(texts) <= MAX_NAMED else f"{shown} and {len(texts) - MAX_NAMED} more"


def _describe_caught(predicate: Predicate) -> str:
    return f"{predicate.chances.caught95} or more false intervals are caught with at least 95 %."


def _describe_not_proven(checked: Checked) -> list[str]:
    predicate, said = checked.predicate, []
    if checked.facts is not None:
        said += _describe_ledger_limits(checked.facts)
    elif not any(signer.name for signer in checked.signers):
        said.append("Signers unknown: nothing is proven about who checked.")
    elif all(signer.is_recorder for signer in checked.signers if signer.name):
        said.append("Only the recorder's own key checked: that never counts.")
    if checked.file is None:
        said.append("No model file was given: nothing is proven about any file.")
    left = predicate.intervals - checked.recomputed
    if left:
        said.append(f"{left} of {predicate.intervals} intervals were not recomputed: nothing is claimed about them.")
    if predicate.start.check == "differs":
        said.append("The initialiser, run from the seed, gives another start.")
    elif predicate.start.check != "recomputed":
        said.append(_UNCHECKED_START[predicate.start.kind])
    if checked.plan.seed_origin == "submitter":
        said.append("The seed was chosen by the submitter, who may have tried many.")
    said += _describe_unchecked_values(predicate)
    return said + NEVER_CLAIMED


def _describe_unchecked_values(predicate: Predicate) -> list[str]:
    said = []
    for evaluation in predicate.evaluations:
        names = _join([metric.name for metric in evaluation.metrics])
        if evaluation.check == "differs":
            said.append(f"Recomputed, with other values: {names}.")
        elif evaluation.check != "recomputed":
            said.append(f"Declared, not recomputed: {names}.")
        if evaluation.overlap == NOT_COMPUTED:
            said.append(f"The overlap of training and test data was not computed (for {names}).")
    if not predicate.evaluations:
        said.append("No metric was recomputed.")
    said.append(_describe_settings(predicate.scalars.differing))
    said += _describe_programs(predicate)
    if predicate.events:
        said.append(f"{len(predicate.events)} declared events (edits, early stop) are the submitter's word.")
        said += _describe_edits(predicate)
    return said


def _describe_edits(predicate: Predicate) -> list[str]:
    """Name each edit: nobody can recompute why the state was changed."""
    edits = [event for event in predicate.events if event.kind == "edit"]
    said = [
        f"Why the state was edited after step {edit.step} ({edit.reason}): {edit.tensors} tensors, norm of the change "
        f"{float(edit.norm):.6g}."
        for edit in edits[:MAX_NAMED]
    ]
    return said if len(edits) <= MAX_NAMED else [*said, f"Why it was edited {len(edits) - MAX_NAMED} more times."]


def _describe_settings(differing: str) -> str:
    if differing == NOT_COMPUTED:
        return "Rates were not compared with the optimizer's own formula."
    if differing == "0":
        return "That rate, momentum and decay, which may change at each step, were chosen in good faith."
    return f"What the scalars of {differing} steps are: no settings of the optimizers give them."


def _describe_programs(predicate: Predicate) -> list[str]:
    """Name what could carry something into the model, or tell steps apart, beside the data."""
    said = []
    constants = [constant for program in predicate.programs for constant in program.constants]
    counters = sorted({name for program in predicate.programs for name in program.counters}, key=str.encode)
    others = [_describe_scalar(row) for row in predicate.scalars.rows if not row.name.startswith("rate ")]
    carried = sum(map(_count_bytes, constants))
    if carried > MAX_UNNAMED:
        said.append(f"What the {carried} bytes of constants of the programs carry into the model.")
    if others and predicate.scalars.differing != "0":
        said.append(f"What the scalars that are no rates carry into the model: {_join(others)}.")
    if counters:
        said.append(f"That the step does the same at all times: it could count by {_join(counters)}.")
    for row in predicate.scalars.rows:
        if row.name.startswith("rate ") and row.zero_steps != "0":
            said.append(f"{row.name.capitalize()} was 0 at {row.zero_steps} steps.")
        if row.spike_steps != "0":
            said.append(f"{row.name.capitalize()} was above 10 times its median at {row.spike_steps} steps.")
    return said


def _count_bytes(constant: ConstantSummary) -> int:
    """Return the bytes of a constant by its stated shape, which nobody checked: never more than 2⁴⁰."""
    size = DTYPES.get(constant.dtype, 8)
    for extent in constant.shape[:MAX_RANK]:
        size = min(size * max(extent, 0), 2**40)
    return size


def _describe_scalar(row: ScalarSummary) -> str:
    return f"{row.name} ({row.minimum}{'' if row.minimum == row.maximum else f' to {row.maximum}'})"


UNCHECKED_PARENT = "The starting weights are said to come from a parent certificate, which was not checked here."

_UNCHECKED_START = {
    "declared": "The starting weights were merely declared.",
    "certified": UNCHECKED_PARENT,
    "initialised": "The starting weights were not recomputed from the seed.",
}

NEVER_CLAIMED = [
    "That the data or the program are benign.",
    "Who did the computing; that recorder and checker are different persons.",
    "That it was the first or only attempt.",
    "When it happened, and anything that happened after.",
]
