"""`assay run submit|status|watch|certify`: a recorded run before a ledger."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.ledger import add_connection, add_payment, open_client, read_id, read_points, require_carried_out
from assay.cli.meter import Meter
from assay.cli.output import print_json, print_line, print_strong
from assay.errors import Refuted, Unproven, UsageError

if TYPE_CHECKING:
    from assay.client.submissions import SubmissionFacts
    from assay.client.submitting import Quote

MEASURES = ("absolute", "l2", "percent", "cosine")
PHASES = ("availability", "draw", "flags", "commit", "reveal", "window", "final")
MAX_PACKAGE = 1 << 36


class NotAffordable(UsageError):
    """Bond, escrow and fee are more than the account has; nothing was sent."""

    code = "submit.not-affordable"


class RunRejected(Refuted):
    """The ledger rejected the run."""

    code = "submit.rejected"


class NotAccepted(Unproven):
    """The verdict is neither for nor against the run."""

    code = "submit.not-accepted"


def configure(verbs: Mapping[str, argparse.ArgumentParser]) -> None:
    """Add the arguments of the verbs."""
    submit = verbs["submit"]
    submit.add_argument("run", type=Path, metavar="RUN", help="the folder of the finished run")
    for name, text in (
        ("sample", "intervals that are drawn by chance (default: 10, or all)"),
        ("sub-quorum", "verifiers of each interval (default: the least that the ledger permits)"),
        ("bond", "points that are lost if the run is rejected (default: the least)"),
        ("reward", "points for one vote (default: the least)"),
        ("retention", "blocks for which the blobs are kept"),
    ):
        submit.add_argument(f"--{name}", type=read_points, metavar="N", help=text)
    submit.add_argument("--measure", choices=MEASURES, default="absolute", help="by which verifiers flag intervals")
    submit.add_argument("--resume", type=read_id, metavar="ID", help="go on with the upload of this submission")
    add_payment(submit)
    for name in ("status", "watch", "certify"):
        verbs[name].add_argument("id", type=read_id, metavar="ID", help="of the submission, 64 digits")
    certify = verbs["certify"]
    certify.add_argument("--key", default="auditor", metavar="NAME", help="your key that signs (default: auditor)")
    certify.add_argument("--out", type=Path, metavar="FILE", help="default: the beginning of the id with .assay.json")
    for name in ("submit", "status", "watch", "certify"):
        add_connection(verbs[name])
    verbs["watch"].epilog = "exit codes: 0 accepted, 1 rejected, 2 wrong usage, 3 everything else"


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0; a rejection is raised."""
    verbs = {"submit": _submit, "status": _status, "watch": _watch, "certify": _certify}
    return verbs[arguments.verb](arguments)


def _submit(arguments: argparse.Namespace) -> int:
    from assay.client import submitting
    from assay.storage.keyring import read_seed

    seed = read_seed(arguments.sender)
    with open_client(arguments) as client, Meter(quiet=arguments.json) as meter:
        if arguments.resume is not None:
            package = submitting.resume(client, arguments.run, seed, arguments.resume, meter.update)
            return _tell(arguments, {"submission": package.context.hex(), "uploaded": True}, "everything is uploaded")
        offer = submitting.Offer(
            arguments.sample,
            arguments.sub_quorum,
            arguments.bond,
            arguments.reward,
            arguments.retention,
            MEASURES.index(arguments.measure),
        )
        meter.update("preparing", 0, 1)
        quoted = submitting.quote(client, arguments.run, seed, offer, arguments.fee)
        meter.update("preparing", 1, 1)
        told = describe_quote(quoted)
        if arguments.dry_run:
            return _tell(arguments, {"dryRun": True, **told}, "would submit this run; nothing was sent")
        if quoted.total > quoted.balance:
            raise NotAffordable("the account has fewer points", expected=quoted.total, actual=quoted.balance)
        inclusion = submitting.submit(client, quoted, meter.update)
    require_carried_out(inclusion)
    text = f"submitted in block {inclusion.height} and uploaded; next: assay run watch {told['submission']}"
    return _tell(arguments, {"dryRun": False, **told, "height": inclusion.height}, text)


def describe_quote(quoted: Quote) -> dict[str, Any]:
    """Return what a submission commits to and takes, for `--json` and for people."""
    body = quoted.package.body
    return {
        "submission": quoted.package.context.hex(),
        "bytes": body.bundle_bytes,
        "chunks": len(quoted.package.bundle.entries),
        "sample": body.sample,
        "subQuorum": body.sub_quorum,
        "attempt": body.attempt,
        "bond": body.bond,
        "escrow": quoted.escrow,
        "fee": quoted.payer.fee,
        "balance": quoted.balance,
        "balanceAfter": quoted.balance - quoted.total,
    }


def _tell(arguments: argparse.Namespace, told: dict[str, Any], text: str) -> int:
    if arguments.json:
        print_json({"exit": 0, **told})
        return 0
    print_strong(text)
    for name, value in told.items():
        print_line(f"{name:14} {value}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from assay.client.submissions import read_submission

    with open_client(arguments) as client:
        facts = read_submission(client, arguments.id)
    return _tell(arguments, describe_status(facts), _headline(facts))


def describe_status(facts: SubmissionFacts) -> dict[str, Any]:
    """Return how far a submission has come."""
    status = facts.status
    return {
        "submission": status.submission.hex(),
        "phase": status.phase,
        "round": status.round,
        "deadline": status.deadline,
        "height": facts.height,
        "attested": status.attested,
        "eligible": status.eligible,
        "answered": status.acted,
        "expected": status.expected,
        "verdict": status.verdict or "none yet",
        "reason": status.reason or "none yet",
    }


def _headline(facts: SubmissionFacts) -> str:
    status = facts.status
    return (
        f"{status.phase}: {status.verdict} ({status.reason})" if status.verdict else f"{status.phase}, no verdict yet"
    )


def _watch(arguments: argparse.Namespace) -> int:
    from assay.client.submissions import read_submission

    with open_client(arguments) as client, Meter(quiet=arguments.json) as meter:
        shown = ""
        while True:
            facts = read_submission(client, arguments.id)
            phase = facts.status.phase
            if phase != shown and phase in PHASES:
                meter.update("submission", PHASES.index(phase), len(PHASES) - 1)
                meter.say(f"height {facts.height}: {_headline(facts)}")
                shown = phase
            if phase in {"final", "withdrawn"}:
                break
            time.sleep(0.5)
    told = describe_status(facts)
    if facts.status.verdict == "rejected":
        raise RunRejected("the ledger rejected this run", expected="accepted", actual=told["reason"])
    if facts.status.verdict != "accepted":
        raise NotAccepted("the ledger did not accept this run", actual=f"{phase}: {told['verdict']}, {told['reason']}")
    return _tell(arguments, told, _headline(facts))


def _certify(arguments: argparse.Namespace) -> int:
    from assay.client.certifying import certify_submission
    from assay.storage.files import Files, write_atomic
    from assay.storage.keyring import read_or_create_seed

    out = arguments.out or Path(f"{arguments.id.hex()[:16]}.assay.json")
    seed = read_or_create_seed(arguments.key)
    with open_client(arguments) as client, Meter(quiet=arguments.json) as meter:
        data = certify_submission(
            client,
            arguments.id,
            seed,
            max_bytes=MAX_PACKAGE,
            progress=lambda done, total: meter.update("fetching", done, total),
        )
    write_atomic(Files(), out, [data])
    return _tell(arguments, {"file": str(out), "bytes": len(data)}, f"wrote {out}; next: assay verify {out}")
