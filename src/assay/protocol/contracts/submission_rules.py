"""What a submission must satisfy by itself, and what it pays.

Source: `spec/submissions.md`, SUB-2 to SUB-4 and SUB-8.
"""

from __future__ import annotations

from typing import Final

from assay.errors import MalformedEvidence, VerificationError
from assay.protocol import tags
from assay.protocol.amounts import MAX_AMOUNT, MILLION
from assay.protocol.contracts.submission_bodies import SubmitRun
from assay.protocol.contracts.submission_rejections import (
    ContextRefuted,
    RootsContradicted,
    SubmissionMalformed,
    TermsRefused,
)
from assay.protocol.environment import Environment
from assay.protocol.evidence.bundle import CheckpointOpening, hash_checkpoint
from assay.protocol.evidence.fields import verify_digest, verify_number, verify_tree
from assay.protocol.evidence.model_state import join_roots
from assay.protocol.evidence.transcript import StartLeaf, compute_context, compute_start_id
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot, hash_leaf, verify_inclusion
from assay.protocol.params import Parameters

MEASURES: Final = 4
"""Absolute change, L2, percent change, cosine distance."""

MAX_THRESHOLD: Final = 1000 * MILLION
"""Largest threshold c of a weight analysis, in millionths."""


def count_intervals(run: SubmitRun) -> int:
    """Return the number of intervals N (SUB-3)."""
    return -(-run.steps // run.interval_length)


def count_paid_votes(parameters: Parameters, run: SubmitRun, eligible: int) -> int:
    """Return for how many votes a submission holds an escrow (SUB-8)."""
    rules = parameters.submissions
    checks = int(run.start_check) + int(run.metrics != ZERO)
    judged = (run.sample + checks + rules.max_flags) * run.sub_quorum
    private = min(rules.quorum, eligible) * rules.private_intervals
    return judged + private + rules.escalated_votes


def compute_escrow(parameters: Parameters, run: SubmitRun, eligible: int) -> int:
    """Return how many points a submission puts aside for its verifiers (SUB-8).

    Raises:
        TermsRefused: more than there can be.
    """
    escrow = run.reward * count_paid_votes(parameters, run, eligible)
    if escrow > MAX_AMOUNT:
        raise TermsRefused("the escrow is larger than any amount", expected=MAX_AMOUNT, actual=escrow)
    return escrow


def verify_run(environment: Environment, sender: bytes, run: SubmitRun) -> None:
    """Check everything about a submission that follows from itself (SUB-2 to SUB-4).

    Raises:
        SubmissionMalformed, TermsRefused, ContextRefuted, RootsContradicted: see there.
    """
    try:
        _verify_fields(run)
    except MalformedEvidence as error:
        raise SubmissionMalformed("a field is out of its range", actual=f"{error.code}: {error.message}") from None
    _verify_terms(environment, run)
    _verify_context(environment, sender, run)
    _verify_roots(run)


def verify_checkpoint(checkpoints: MerkleRoot, opening: CheckpointOpening, index: int, step: int) -> None:
    """Check that a checkpoint stands at its place in the committed list, and is of the right step.

    Raises:
        VerificationError: it does not or is not.
    """
    verify_digest(opening.checkpoint.state_root, "state root of a checkpoint")
    verify_digest(opening.checkpoint.manifest, "manifest of a checkpoint")
    verify_number(opening.checkpoint.nbytes, "size of a checkpoint")
    verify_number(opening.checkpoint.step, "step of a checkpoint", step, step)
    verify_inclusion(checkpoints, hash_checkpoint(opening.checkpoint), index, opening.path)


def get_boundary(run: SubmitRun, index: int) -> int:
    """Return the step of checkpoint `index`: only the last interval may be shorter (SUB-3)."""
    return min(index * run.interval_length, run.steps)


def _verify_fields(run: SubmitRun) -> None:
    for digest, what in (
        (run.plan, "plan id"),
        (run.closing, "id of the closing record"),
        (run.profile, "profile id"),
        (run.model_root, "model root"),
        (run.rest_root, "rest root"),
        (run.model_file, "digest of the model file"),
        (run.bundle, "digest of the bundle"),
        (run.metrics, "digest of the metrics"),
    ):
        verify_digest(digest, what)
    for number, what in (
        (run.context_nonce, "context nonce"),
        (run.bundle_bytes, "size of the bundle"),
        (run.bond, "bond"),
        (run.reward, "reward"),
        (run.retention, "retention"),
    ):
        verify_number(number, what)
    verify_number(run.steps, "number of steps", 1, 2**62)
    verify_number(run.interval_length, "interval length", 1, 2**62)
    verify_number(run.attempt, "attempt", 1)
    verify_number(run.measure, "measure", 0, MEASURES - 1)
    verify_number(run.threshold_ppm, "threshold", 0, MAX_THRESHOLD)
    verify_tree(run.transcript, tags.TRANSCRIPT_TREE, "transcript", least=1)
    verify_tree(run.checkpoints, tags.CHECKPOINT_TREE, "list of checkpoints", least=1)
    verify_number(run.transcript.size, "size of the transcript", run.steps + 1, run.steps + 1)
    intervals = count_intervals(run)
    verify_number(run.checkpoints.size, "number of checkpoints", intervals + 1, intervals + 1)


def _verify_terms(environment: Environment, run: SubmitRun) -> None:
    rules = environment.parameters.submissions
    intervals = count_intervals(run)
    height = environment.height
    for what, value, least, most in (
        ("number of intervals", intervals, 1, rules.max_intervals),
        ("sample", run.sample, 1, min(rules.max_sample, intervals)),
        ("sub-quorum", run.sub_quorum, rules.min_sub_quorum, rules.max_sub_quorum),
        ("bond", run.bond, rules.minimum_bond, MAX_AMOUNT),
        ("reward", run.reward, rules.minimum_reward, MAX_AMOUNT),
        ("retention", run.retention, height + 1, height + rules.max_retention),
    ):
        if not least <= value <= most:
            raise TermsRefused(f"the {what} is out of bounds", expected=f"{least} to {most}", actual=value)


def _verify_context(environment: Environment, sender: bytes, run: SubmitRun) -> None:
    context = compute_context(sender, environment.chain_id, run.context_nonce)
    leaf = compute_start_id(StartLeaf(0, run.plan, context, run.first.checkpoint.state_root))
    try:
        verify_inclusion(run.transcript, hash_leaf(tags.TRANSCRIPT_TREE, leaf), 0, run.transcript_path)
    except VerificationError as error:
        raise ContextRefuted(
            "the transcript does not begin with this plan, start and account on this ledger",
            expected=f"leaf {leaf.hex()}",
            actual=error.code,
            next_step="link the leaves again under the context of this account",
        ) from None


def _verify_roots(run: SubmitRun) -> None:
    last = count_intervals(run)
    try:
        verify_checkpoint(run.checkpoints, run.first, 0, 0)
        verify_checkpoint(run.checkpoints, run.last, last, run.steps)
    except VerificationError as error:
        raise RootsContradicted("first or last checkpoint contradict their root", actual=error.message) from None
    final = run.last.checkpoint.state_root
    joined = join_roots(run.model_root, run.rest_root)
    if joined != final:
        raise RootsContradicted(
            "the model root is not that of the final state", expected=final.hex(), actual=joined.hex()
        )
