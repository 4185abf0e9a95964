"""`assay submissions list|search|show`: what was submitted to a ledger, rejected ones too."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from assay.cli.commands import add_json, add_verbs
from assay.cli.ledger import add_connection, open_client, read_id
from assay.cli.meter import Meter, require_training
from assay.cli.output import print_json, print_line, print_strong, print_table

if TYPE_CHECKING:
    from assay.client.node_client import NodeClient
    from assay.client.submissions import SubmissionDetails, SubmissionFacts
    from assay.verification.audit_report import Finding

NEXT_STEPS = {
    "unavailable": "see whether the upload is complete and verifiers run, then submit again; the bond came back",
    "no-agreement": "see who abstained and why with `assay explain`, or submit again; the bond came back",
}
"""What to do about a submission that ended without a finding, by the reason."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "list": "list submissions, the newest first",
            "search": "list those with an id, account, plan, model or phase that begins so",
            "show": "print one with its draw, votes and verdict, every record checked by its proof",
        },
    )
    verbs["search"].add_argument("text", metavar="TEXT", help="the beginning of hex digits, or a phase or verdict")
    verbs["show"].add_argument("id", type=read_id, metavar="ID", help="64 digits")
    verbs["show"].add_argument(
        "--recompute",
        action="store_true",
        help="of a rejected one: fetch it, recompute what was found false, and report the differences",
    )
    for name in ("list", "search"):
        verbs[name].add_argument("--limit", type=int, default=100, metavar="N", help="read so many (default: 100)")
    for child in verbs.values():
        add_connection(child)
        add_json(child)


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0."""
    return _show(arguments) if arguments.verb == "show" else _list(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from assay.client.submissions import MAX_LISTED, iterate_submissions

    wanted = getattr(arguments, "text", "")
    found = []
    with open_client(arguments) as client, Meter(quiet=arguments.json) as meter:
        limit = min(max(arguments.limit, 1), MAX_LISTED)
        for number, each in enumerate(iterate_submissions(client, limit), 1):
            meter.update("reading", number, limit)
            if _is_match(each, wanted):
                found.append(each)
    if arguments.json:
        print_json({"exit": 0, "submissions": [describe_facts(each) for each in found]})
    elif found:
        print_table([_summarise(each) for each in found])
    else:
        print_line("there is no such submission")
    return 0


def _is_match(facts: SubmissionFacts, text: str) -> bool:
    submission, status = facts.submission, facts.status
    digests = (
        submission.submission,
        submission.account,
        submission.run.plan,
        submission.run.model_root,
        submission.run.model_file,
    )
    return any(each.hex().startswith(text) for each in digests) or text in {status.phase, status.verdict}


def _summarise(facts: SubmissionFacts) -> tuple[str, ...]:
    status = facts.status
    verdict = f"{status.verdict} ({status.reason})" if status.verdict else status.phase
    return (
        str(facts.submission.number),
        facts.submission.submission.hex(),
        f"block {facts.submission.height}",
        verdict,
    )


def describe_facts(facts: SubmissionFacts) -> dict[str, Any]:
    """Return a submission and its status as JSON shows them."""
    submission, status, run = facts.submission, facts.status, facts.submission.run
    return {
        "id": submission.submission.hex(),
        "number": submission.number,
        "account": submission.account.hex(),
        "height": submission.height,
        "plan": run.plan.hex(),
        "modelRoot": run.model_root.hex(),
        "attempt": run.attempt,
        "steps": run.steps,
        "intervals": submission.intervals,
        "sample": run.sample,
        "subQuorum": run.sub_quorum,
        "phase": status.phase,
        "round": status.round,
        "deadline": status.deadline,
        "attested": status.attested,
        "eligible": status.eligible,
        "verdict": status.verdict,
        "reason": status.reason,
        "verdictHeight": status.verdict_height,
        "finalHeight": status.final_height,
        "bondHeld": status.bond,
        "escrowHeld": status.escrow,
        "asOf": facts.height,
    }


def _show(arguments: argparse.Namespace) -> int:
    from assay.client.submissions import read_details

    if arguments.recompute:
        require_training("assay submissions show --recompute")
    with open_client(arguments) as client, Meter(quiet=arguments.json) as meter:
        meter.update("reading", 0, 1)
        details = read_details(client, arguments.id)
        found = _recompute(client, details, meter) if arguments.recompute else []
    if arguments.json:
        attesters = [account.hex() for account in details.attesters]
        told = {**describe_facts(details.facts), "attesters": attesters, "judgements": _describe_judgements(details)}
        print_json({"exit": 0, **told, **({"differences": found} if arguments.recompute else {})})
        return 0
    _print_details(details)
    if found:
        from assay.cli.run_text import print_finding

        for finding in found:
            print_finding(finding)
    return 0


def _recompute(client: NodeClient, details: SubmissionDetails, meter: Meter) -> list[Finding]:
    from assay.cli.run_submit import MAX_PACKAGE
    from assay.client.differences import recompute_rejected

    return recompute_rejected(client, details, max_bytes=MAX_PACKAGE, progress=meter.update)


def _print_details(details: SubmissionDetails) -> None:
    facts = details.facts
    run, status = facts.submission.run, facts.status
    print_strong(f"{status.verdict or status.phase}{f' ({status.reason})' if status.reason else ''}")
    print_line(f"submission {facts.submission.submission.hex()}, number {facts.submission.number}")
    print_line(f"by account {facts.submission.account.hex()} in block {facts.submission.height}, attempt {run.attempt}")
    print_line(f"plan {run.plan.hex()}")
    print_line(f"model root {run.model_root.hex()}")
    print_line(
        f"{run.steps} steps in {facts.submission.intervals} intervals; {run.sample} drawn, {run.sub_quorum} judge each"
    )
    who = ", ".join(account.hex()[:8] for account in details.attesters) or "nobody"
    print_line(f"{status.attested} of {status.eligible} points of stake attested that everything can be fetched: {who}")
    for each in details.judgements:
        judged = each.judgement
        stake = sum(seat.stake for seat in judged.seats)
        print_line(
            f"interval {judged.interval} ({judged.origin}, round {judged.round}): {judged.finding or 'undecided'}; "
            f"of {stake} points of stake {judged.for_claim} for the claim, {judged.against} for another answer"
        )
    print_line(f"phase {status.phase} until block {status.deadline}; all of this is proven as of block {facts.height}")
    identity = facts.submission.submission.hex()
    if status.verdict == "rejected" and status.reason == "differs":
        print_line(f"how it differs: assay submissions show {identity} --recompute")
    print_line(f"next: {NEXT_STEPS.get(status.reason) or f'assay explain {identity}'}")


def _describe_judgements(details: SubmissionDetails) -> list[dict[str, Any]]:
    return [
        {
            "interval": each.judgement.interval,
            "origin": each.judgement.origin,
            "round": each.judgement.round,
            "finding": each.judgement.finding,
            "assigned": sum(seat.stake for seat in each.judgement.seats),
            "forClaim": each.judgement.for_claim,
            "against": each.judgement.against,
            "claimedEnd": each.judgement.end_root.hex(),
            "foundEnd": each.judgement.answer.end_root.hex() if each.judgement.answer else None,
            "votes": [
                {
                    "account": vote.account.hex(),
                    "abstained": vote.abstention or None,
                    "outcome": vote.vote.outcome if vote.vote else None,
                }
                for vote in each.votes
            ],
        }
        for each in details.judgements
    ]
