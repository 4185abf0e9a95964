"""`assay verifier start|doctor|earnings`: recompute the runs of others, for a reward."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from assay.cli.commands import add_json, add_verbs
from assay.cli.ledger import add_connection, find_account, find_anchor, find_url, open_client
from assay.cli.meter import Meter, require_training
from assay.cli.output import print_json, print_line, print_strong, print_table
from assay.cli.run import parse_size

_DEFAULT_PACKAGE = "16G"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "start": "look at the ledger, recompute what is assigned, vote; until Ctrl-C",
            "doctor": "say which profiles this machine can judge, with time and memory, before any stake",
            "earnings": "say what an account earned and lost as a verifier, and why",
        },
    )
    start = verbs["start"]
    start.add_argument("--key", required=True, metavar="NAME", help="your key that has the stake")
    start.add_argument("--folder", type=Path, metavar="FOLDER", help="journal and copies (default: below your home)")
    start.add_argument("--memory", metavar="SIZE", help="most memory of the worker (default: a share of what is free)")
    start.add_argument(
        "--time-limit", type=float, default=3600.0, metavar="SECONDS", help="most time for one interval (default: 3600)"
    )
    start.add_argument(
        "--max-package", default=_DEFAULT_PACKAGE, metavar="SIZE", help=f"largest package (default: {_DEFAULT_PACKAGE})"
    )
    start.add_argument("--no-flags", action="store_true", help="do not analyse weights")
    start.add_argument("--pause", type=float, default=1.0, metavar="SECONDS", help="between two looks (default: 1)")
    verbs["doctor"].add_argument("run", type=Path, nargs="?", metavar="RUN", help="judge this run's profile too")
    verbs["earnings"].add_argument("account", metavar="ACCOUNT", help="64 digits, or a name")
    for name in ("start", "earnings"):
        add_connection(verbs[name])
    for child in verbs.values():
        add_json(child)


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0."""
    return {"start": _start, "doctor": _doctor, "earnings": _earnings}[arguments.verb](arguments)


def _start(arguments: argparse.Namespace) -> int:
    from assay.client.verifier_ledger import NodeLedger
    from assay.storage.keyring import read_seed
    from assay.verification.verifier.starting import Limits, open_verifier

    seed = read_seed(arguments.key)
    memory = None if arguments.memory is None else parse_size(arguments.memory)
    limits = Limits(memory, arguments.time_limit, parse_size(arguments.max_package))
    ledger = NodeLedger(find_url(arguments.node), find_anchor(arguments.anchor), seed)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())

    def say(sentence: str) -> None:
        if arguments.json:
            print_json({"said": sentence})
        else:
            print_line(sentence)
        sys.stdout.flush()

    with (
        closing(ledger),
        open_verifier(ledger, seed, arguments.folder, limits, flags=not arguments.no_flags, say=say) as verifier,
    ):
        say(f"verifier {verifier.account.hex()} on ledger {ledger.chain_id.hex()}; Ctrl-C stops it")
        verifier.run(stopped.is_set, pause=arguments.pause)
    say("stopped; what was committed will be opened when it is started again")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    require_training("assay verifier doctor")
    from assay.verification.verifier.doctor import examine

    with Meter(quiet=arguments.json) as meter:
        found = examine(arguments.run, meter.update)
    if arguments.json:
        print_json({"exit": 0, **found})
        return 0
    print_strong(f"this machine can judge {len(found['profiles'])} profile(s) of kind pinned")
    print_table([(profile["id"][:16], profile["summary"]) for profile in found["profiles"]])
    print_line(f"memory: {found['memoryFree'] >> 20} MiB free; torch starts in {found['startSeconds']} s")
    print_line(f"a step of a small transformer: {found['stepMilliseconds']} ms, {found['gigaflops']} GFLOP/s")
    if found["run"] is not None:
        run: dict[str, Any] = found["run"]
        print_line(f"{run['path']}: {run['answer']}")
    return 0


def _earnings(arguments: argparse.Namespace) -> int:
    from assay.client.earnings import read_earnings

    account = find_account(arguments.account)
    with open_client(arguments) as client, Meter(quiet=arguments.json) as meter:
        entries = read_earnings(client, account, lambda done, total: meter.update("reading", done, total))
    total = sum(entry.points for entry in entries)
    if arguments.json:
        told = [
            {"submission": e.submission.hex(), "points": e.points, "kind": e.kind, "reason": e.reason} for e in entries
        ]
        print_json({"exit": 0, "account": account.hex(), "points": total, "entries": told})
        return 0
    print_strong(f"{total:+} points from {len({entry.submission for entry in entries})} submissions")
    if entries:
        print_table([(entry.submission.hex()[:16], f"{entry.points:+}", entry.reason) for entry in entries])
    return 0
