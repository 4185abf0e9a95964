"""How `assay diff` prints a comparison for people: the answer first."""

from __future__ import annotations

from assay.cli.output import print_line, print_strong, print_table
from assay.training.compare.findings import BESIDE, CAUSE, FOLLOWS, Comparison, Finding
from assay.verification.difference import Difference, OperatorFinding

_HEADINGS = {
    CAUSE: "also a cause",
    FOLLOWS: "follows from it",
    BESIDE: "differs too, and changed nothing that was seen",
}


def print_difference(difference: Difference, *, explain: bool) -> None:
    """Print the first cause, then what follows from it, then what else differs."""
    found = difference.comparison
    causes = [finding for finding in found.findings if finding.role == CAUSE]
    if found.equal:
        print_strong(f"equal: nothing differs in the {found.compared} steps that both runs have")
    else:
        print_strong(f"{causes[0].kind}: {causes[0].text}" if causes else "the runs differ")
        for line in causes[0].details if causes else ():
            print_line(f"  {line}")
    if difference.operator is not None:
        _print_operator(difference.operator)
    elif difference.not_replayed:
        print_line(f"  the first operator is not known: {difference.not_replayed}")
    _print_where(found)
    for role in (CAUSE, FOLLOWS, BESIDE):
        rest = [finding for finding in found.findings if finding.role == role]
        _print_findings(_HEADINGS[role], rest[1:] if role == CAUSE else rest)
    if explain:
        print_line()
        print_strong("looked at")
        print_table([[f"  {one.kind}", one.result, one.detail] for one in found.looked_at])
    how = "every leaf was recomputed" if found.verified else "stored leaf ids were believed; --verify recomputes them"
    print_line()
    print_line(how)


def _print_operator(operator: OperatorFinding) -> None:
    print_line(f"  first operator that gave other bits: node {operator.node} at step {operator.step}")
    print_line(f"    {operator.operator}")
    if operator.line:
        print_line(f"    {operator.line}")
    if operator.largest is not None:
        ulps = " ".join(map(str, operator.ulps)) or "not float32"
        print_line(f"    {operator.elements} of {operator.total} elements differ, by at most {operator.largest:.3g}")
        print_line(f"    elements by distance in ULP (1, 2-3, 4-7, …): {ulps}")
    if operator.feeds:
        print_line(f"    it feeds {', '.join(operator.feeds)}")
    if not operator.reproduced:
        print_line("    the replay here did not give what the runs recorded: judge on machines like theirs")


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
