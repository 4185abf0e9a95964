"""How `assay run` prints lists, summaries and findings for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli.output import print_line, print_strong, print_table

if TYPE_CHECKING:
    from assay.verification.audit_report import AuditReport, Finding
    from assay.verification.observation import ObservedSummary
    from assay.verification.summary import ListedRun, RunSummary, ShownEvent

_MOST_TENSORS = 8


def format_bytes(count: int) -> str:
    """Return a number of bytes for people."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def print_runs(runs: Sequence[ListedRun], folder: Path) -> None:
    """Print one line for each run."""
    if not runs:
        print_line(f"no run below {folder}")
        return
    rows = [["RUN", "LEVEL", "STEPS", "STATE", "SIZE"]]
    for run in runs:
        steps = f"{run.steps} of {run.intended}" if run.intended else str(run.steps)
        state = run.problem or ("finished" if run.finished else "in progress")
        rows.append([run.path, run.level, steps, state, format_bytes(run.bytes)])
    print_table(rows)


def print_summary(run: RunSummary) -> None:
    """Print what a run says of itself, the level of evidence first."""
    state = f"finished ({run.reason})" if run.finished else "in progress"
    print_strong(f"{run.level}: {run.steps} steps in {run.intervals} intervals, {state}")
    print_line("this is what the run says; nobody's recomputation is assumed")
    _print_section("plan", run.plan.items())
    _print_section("data", run.data.items())
    _print_section("start", run.start.items())
    _print_section("roots", run.roots.items())
    if run.recorder:
        _print_section("recorder", [("key", run.recorder)])
    _print_section("profile", ((name, value) for name, value in run.profile.items() if value != "unset"))
    rows = ((p.id[:16], f"{p.kind}, {p.nodes} operators, first used at step {p.first_step}") for p in run.programs)
    _print_section("programs", rows)
    rates = ((rate.name, f"{rate.minimum} to {rate.maximum}, 0 at {rate.zero_steps} steps") for rate in run.rates)
    _print_section("rates", rates)
    _print_section("stored states", [("steps", ", ".join(map(str, run.checkpoints)) or "none")])
    measured = (
        (f"after step {one.step}", f"{_join_metrics(one.metrics)} on {one.samples} samples") for one in run.evaluations
    )
    _print_section("evaluations (declared until recomputed)", measured)
    told = ((f"{one.kind} after step {one.step}", describe_event(one)) for one in run.events)
    _print_section("declared", [*told, ("logged lines", run.log_lines)])
    _print_section("certificates in the run (verify them: assay verify)", ((name, "") for name in run.certificates))
    total = sum(run.disk.values())
    parts = sorted(run.disk.items(), key=lambda item: -item[1])[:6]
    _print_section("disk", [("total", format_bytes(total)), *((name, format_bytes(size)) for name, size in parts)])


def print_observed(run: ObservedSummary) -> None:
    """Print an observed run, the level first, and what it cannot say."""
    state = f"finished ({run.reason})" if run.finished else "in progress, or broken off"
    print_strong(f"{run.level}: {run.steps} steps, {run.roots} state roots, {state}")
    print_line("the digests hold together; nothing can be recomputed from them")
    roots = (
        ("start", run.start),
        ("transcript", run.transcript),
        ("final state", run.final_state),
        ("model", run.model),
    )
    _print_section("roots", ((name, root) for name, root in roots if root))
    if run.observer:
        _print_section("observer", [("key", run.observer)])
    _print_section("rates", ((f"group {i}", f"{low} to {high}") for i, (low, high) in enumerate(run.rates)))
    _print_section("profile", ((name, value) for name, value in run.profile.items() if value != "unset"))
    _print_section("declared", [("logged lines", run.log_lines)])
    _print_section("disk", [("total", format_bytes(sum(run.disk.values())))])
    print_line()
    print_strong("not known")
    for sentence in run.not_known:
        print_line(f"  {sentence}")


def describe_event(one: ShownEvent) -> str:
    """Return what was declared, in one line."""
    moved = f": {one.tensors} tensors, norm of the change {one.norm:.6g}" if one.tensors else ""
    return f"{one.reason}{moved}"


def _join_metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())


def _print_section(title: str, rows: Iterable[tuple[str, object]]) -> None:
    shown = [(f"  {name}", str(value)) for name, value in rows]
    if shown:
        print_line()
        print_strong(title)
        print_table(shown)


def print_report(report: AuditReport) -> None:
    """Print the findings of an audit: the outcome, what does not match, and what the check could miss."""
    outcome = "all match" if report.complete and not report.others else "not all match"
    if not report.complete:
        outcome = "not complete"
    print_strong(f"{report.level}: {report.matching} of {report.intervals} intervals match bit for bit · {outcome}")
    if report.kind == "uniform":
        print_line(f"{report.sampled} intervals were drawn at random from the operating system, the last one always")
    if report.resumed:
        print_line(f"{report.resumed} findings are those of the interrupted audit before")
    print_line(f"start: {report.start}{', recomputed from the seed' if report.start == 'matches' else ''}")
    for number, result in enumerate(report.evaluations):
        print_line(f"evaluation {number}: {result}")
    print_line(f"rows of scalars that no settings of the optimizers explain: {report.differing_rows}")
    for finding in report.others:
        print_finding(finding)
    print_line(
        f"if exactly one interval was false, this check misses it with probability {report.miss_one_rounded} "
        f"({report.miss_one})"
    )
    if report.caught95 == "none":
        print_line("no number of false intervals is caught with 95 %")
    else:
        print_line(f"{report.caught95} or more false intervals are caught with at least 95 %")


def print_finding(finding: Finding) -> None:
    """Print one finding: where it differs first, the likely cause, and how far the tensors are apart."""
    steps = f" (steps {finding.steps[0]} to {finding.steps[1]})" if finding.steps else ""
    print_line()
    print_strong(f"{finding.what}{steps}: {finding.result}")
    if finding.first_step:
        print_line(f"  first at step {finding.first_step}: {', '.join(finding.parts)}")
    if finding.cause:
        print_line(f"  likely cause: {finding.cause}")
    for line in finding.detail.splitlines():
        print_line(f"  {line}")
    if not finding.tensors:
        return
    rows = [["  TENSOR", "MAX |DELTA|", "ELEMENTS", "ULP: 1, 2-3, 4-7, …"]]
    for tensor in finding.tensors[:_MOST_TENSORS]:
        histogram = " ".join(map(str, tensor.ulps)) or "not float32"
        rows.append([f"  {tensor.name}", f"{tensor.largest:.3g}", f"{tensor.elements} of {tensor.total}", histogram])
    print_table(rows)
    left = len(finding.tensors) - _MOST_TENSORS
    if left > 0:
        print_line(f"  and {left} more")
