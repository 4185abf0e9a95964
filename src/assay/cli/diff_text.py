"""How `assay diff` prints a comparison for people: the answer first."""

from __future__ import annotations

from assay.cli.output import print_line, print_strong, print_table
from assay.training.compare.findings import BESIDE, CAUSE, FOLLOWS, Comparison, Finding

_HEADINGS = {
    CAUSE: "also a cause",
    FOLLOWS: "follows from it",
    BESIDE: "differs too, and changed nothing that was seen",
}


def print_comparison(found: Comparison, *, explain: bool) -> None:
    """Print the first cause, then what follows from it, then what else differs."""
    causes = [finding for finding in found.findings if finding.role == CAUSE]
    if found.equal:
        print_strong(f"equal: nothing differs in the {found.compared} steps that both runs have")
    else:
        print_strong(f"{causes[0].kind}: {causes[0].text}" if causes else "the runs differ")
        for line in causes[0].details if causes else ():
            print_line(f"  {line}")
    _print_where(found)
    for role in (CAUSE, FOLLOWS, BESIDE):
        rest = [finding for finding in found.findings if finding.role == role]
        _print_findings(_HEADINGS[role], rest[1:] if role == CAUSE else rest)
    if explain:
        print_line()
        print_strong("looked at")
        print_table([[f"  {one.kind}", one.result, one.detail] for one in found.looked_at])
    how = "every leaf was recomputed" if found.verified else "stored leaf ids were believed"
    print_line()
    print_line(how)


def _print_where(found: Comparison) -> None:
    print_line()
    rows = []
    for label, side in (("A", found.a), ("B", found.b)):
        state = "finished" if side.finished else "in progress"
        rows.append([f"  {label}", side.path, f"{side.steps} steps, {state}"])
    print_table(rows)
    print_line(f"  {found.relation}; {found.compared} steps compared")
    if found.first_step is not None and found.parts:
        print_line(f"  first step that differs: {found.first_step} ({', '.join(found.parts)})")
    elif not found.equal:
        print_line(f"  no step of the {found.compared} differs")


def _print_findings(heading: str, findings: list[Finding]) -> None:
    if not findings:
        return
    print_line()
    print_strong(heading)
    for finding in findings:
        print_line(f"  {finding.kind}: {finding.text}")
        for line in finding.details:
            print_line(f"    {line}")
