"""The report of an observed run: what its digests say, and that nothing of it can be recomputed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import ClassVar

import msgspec

from assay.certificate.wording import NEVER_CLAIMED
from assay.errors import UsageError
from assay.report.charts import draw_losses
from assay.report.contents import MAX_LOGGED, Report
from assay.report.series import group_losses
from assay.training.observed import ObservedRun
from assay.verification.observation import ObservedSummary, summarise_observed


class NoCertificate(UsageError):
    """A certificate was given for an observed run, which has none."""

    code: ClassVar[str] = "report.no-certificate"


def gather_observed(path: Path, certificate: Path | None) -> Report:
    """Read an observed run and put it into words.

    Args:
        path: the run.
        certificate: must be None.

    Raises:
        NoCertificate: one was given.
        MalformedEvidence, Refuted, StorageError: the run does not hold together.
    """
    if certificate is not None:
        raise NoCertificate(
            f"{path} is an observed run: nothing of it can be recomputed, so no certificate is about it",
            next_step="leave --certificate out",
        )
    summary = summarise_observed(path)
    run = ObservedRun(path)
    try:
        lines = list(run.directory.log.iterate())
    finally:
        run.close()
    losses = [float(line["loss"]) for line in lines if isinstance(line.get("loss"), int | float)]
    state = f"finished ({summary.reason})" if summary.finished else "in progress, or broken off"
    return Report(
        name=path.resolve().name,
        level=summary.level,
        outcome="unchecked",
        finding=f"{summary.steps} steps were watched, {state}; nobody can recompute them.",
        checks=[],
        metrics=[],
        intervals=None,
        losses=draw_losses(group_losses(losses)) if losses else None,
        losses_note="Values that were logged as loss: declared by whoever trained, in the order of logging.",
        changes=None,
        changes_note="",
        chances=["Nothing can be recomputed, so no false step would be seen."],
        facts=_describe_facts(summary),
        logged=[msgspec.json.encode(line).decode() for line in lines[-MAX_LOGGED:]],
        proven=_describe_proven(summary),
        not_proven=[*summary.not_known, *NEVER_CLAIMED],
        commands=[f"assay run verify {shlex.quote(str(path))}"],
        evidence=[],
        summary=msgspec.json.format(msgspec.json.encode(summary), indent=2).decode(),
    )


def _describe_facts(summary: ObservedSummary) -> dict[str, list[tuple[str, str]]]:
    roots = {
        "start": summary.start,
        "transcript": summary.transcript,
        "final state": summary.final_state,
        "model": summary.model,
        "observer's key": summary.observer,
    }
    return {
        "Data": [("data set", "not known"), ("licence", "not part of a run; ask whoever gave the data")],
        "Start": [("parent", "not known"), ("state root", summary.start)],
        "Rates": [(f"group {number}", f"{low} to {high}") for number, (low, high) in enumerate(summary.rates)],
        "Profile": [(name, value) for name, value in summary.profile.items() if value != "unset"],
        "Roots": [(name, root) for name, root in roots.items() if root],
    }


def _describe_proven(summary: ObservedSummary) -> list[str]:
    said = [
        (
            f"The digests hold together: each of the {summary.steps} steps follows from the one before, and "
            f"{summary.roots} of them hold a state root. Whoever was told their root sees it if they are changed later."
        )
    ]
    if summary.observer:
        said.append(f"The key {summary.observer[:16]}… signed the transcript and the end.")
    return said
