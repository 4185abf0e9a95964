"""`assay explain ID`: who earned and lost what through a submission, and why."""

from __future__ import annotations

import argparse

from assay.cli.commands import add_json
from assay.cli.ledger import add_connection, open_client, read_id
from assay.cli.meter import Meter
from assay.cli.output import print_json, print_line, print_strong


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("id", type=read_id, metavar="ID", help="of the submission, 64 digits")
    add_connection(parser)
    add_json(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the story of every account, and return 0."""
    from assay.client.explaining import explain
    from assay.client.submissions import read_details

    with open_client(arguments) as client, Meter(quiet=arguments.json) as meter:
        meter.update("reading", 0, 1)
        details = read_details(client, arguments.id)
    stories = explain(details)
    status = details.facts.status
    if arguments.json:
        accounts = [
            {
                "account": story.account.hex(),
                "roles": story.roles,
                "total": story.total,
                "entries": story.entries,
                "deeds": story.deeds,
            }
            for story in stories
        ]
        print_json({"exit": 0, "id": arguments.id.hex(), "verdict": status.verdict, "accounts": accounts})
        return 0
    final = f"final since block {status.final_height}" if status.final_height else f"phase {status.phase}, not final"
    print_strong(f"{status.verdict or 'no verdict yet'}{f' ({status.reason})' if status.reason else ''}; {final}")
    for story in stories:
        print_line()
        print_strong(f"{story.account.hex()}: {story.total:+d} points")
        print_line(f"  {', '.join(dict.fromkeys(story.roles)) or 'verifier'}")
        for entry in story.entries:
            print_line(f"  {entry.points:+d}  {entry.reason}")
        for deed in story.deeds:
            print_line(f"  {deed}")
    print_line()
    print_line(f"fees are not counted here; all records are proven as of block {details.facts.height}")
    return 0
