"""Why a ledger rejected a run: what it found false is fetched and recomputed here.

Votes hold roots, not tensors, so the ledger cannot say how a run differs. No verifier's word is used for it either: the
package is checked against the commitment, and the rejected intervals are recomputed as an audit recomputes them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from assay.client.node_blobs import NodeBlobs
from assay.client.node_client import NodeClient
from assay.client.submissions import SubmissionDetails
from assay.errors import UsageError
from assay.protocol.contracts.submission_records import REJECTED
from assay.protocol.evidence.votes import METRICS_CHECK, NOT_RECOMPUTED, START_CHECK
from assay.training.profile_environment import environment_for
from assay.training.recorded import RecordedRun
from assay.verification.audit import recompute_tasks
from assay.verification.audit_report import Finding, describe_answer
from assay.verification.fetching import Fetcher
from assay.verification.tasks import Task

Progress = Callable[[str, int, int], None]


class NothingRejected(UsageError):
    """A submission in which nothing that can be recomputed was found false."""

    code = "client.nothing-rejected"


def recompute_rejected(
    client: NodeClient, details: SubmissionDetails, *, max_bytes: int, progress: Progress | None = None
) -> list[Finding]:
    """Return how everything differs that a ledger found false in a submission.

    Args:
        client: of a node that still has the blobs.
        details: of the submission.
        max_bytes: of the largest package that is fetched.
        progress: is told what is under way, how much is done, of how much.

    Returns:
        Findings in the order of the intervals. One that matches says that this machine gets what was claimed, against
        the ledger's finding.

    Raises:
        NothingRejected: the ledger found nothing false.
        ChunkWithheld, PackageTooLarge: the blobs are gone, or too many.
        VerificationError: they are not what was submitted.
        CannotJudge: this machine cannot compute under the profile of the run.
    """
    submission, say = details.facts.submission, progress or (lambda _what, _done, _total: None)
    rejected = [each.judgement for each in details.judgements if each.judgement.finding == REJECTED]
    numbers = [j.interval for j in rejected if j.answer is not None and j.answer.outcome not in NOT_RECOMPUTED]
    if not numbers:
        status = details.facts.status
        raise NothingRejected(
            "nothing in this submission was recomputed and found false",
            expected="an interval or check that the ledger rejected",
            actual=f"{status.verdict or status.phase}{f' ({status.reason})' if status.reason else ''}",
        )
    with tempfile.TemporaryDirectory(prefix="assay-differences-") as folder:
        target = Path(folder) / "run"
        fetcher = Fetcher(
            NodeBlobs(client),
            submission.run,
            submission.submission,
            max_bytes=max_bytes,
            progress=lambda done, total: say("fetching", done, total),
        )
        fetcher.write(target)
        run = RecordedRun(target)
        try:
            tasks = [task for number in numbers for task in _make_tasks(run, number)]
            answers = recompute_tasks(
                target,
                tasks,
                environment=environment_for,
                progress=lambda done, total: say("recomputing", done, total),
            )
            return [describe_answer(run, answer) for answer in answers]
        finally:
            run.close()


def _make_tasks(run: RecordedRun, number: int) -> list[Task]:
    """Return the tasks of an audit that a number of an interval or check stands for."""
    if number == run.intervals + START_CHECK:
        return [Task("start", 0)]
    if number == run.intervals + METRICS_CHECK:
        return [Task("evaluation", index) for index in range(len(run.closing.evaluations))]
    return [Task("interval", number)]
