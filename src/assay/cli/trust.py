"""`assay trust add|list|remove`: whose word counts."""

from __future__ import annotations

import argparse

from assay.cli.commands import add_json, add_verbs
from assay.cli.output import print_json, print_line, print_table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "add": "trust a public key under a name of your choice",
            "list": "list the trusted keys",
            "remove": "stop trusting a key",
        },
    )
    verbs["add"].add_argument("name", metavar="NAME", help="your name for whoever has this key")
    verbs["add"].add_argument(
        "key", metavar="KEY", help="their public key, 64 hex digits, obtained by a way that you trust"
    )
    verbs["remove"].add_argument("name", metavar="NAME", help="the name that it was added under")
    for child in verbs.values():
        add_json(child)


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0."""
    from assay.storage.trust_store import add_trust, parse_key, read_trust, remove_trust

    if arguments.verb == "list":
        keys = read_trust()
        if arguments.json:
            print_json({"keys": {name: key.hex() for name, key in sorted(keys.items())}})
        elif keys:
            print_table([(name, key.hex()) for name, key in sorted(keys.items())])
        else:
            print_line("no key is trusted yet; next: assay trust add NAME KEY")
        return 0
    if arguments.verb == "add":
        key = parse_key(arguments.key)
        add_trust(arguments.name, key)
    else:
        key = remove_trust(arguments.name)
    done = "added" if arguments.verb == "add" else "removed"
    if arguments.json:
        print_json({done: {"name": arguments.name, "key": key.hex()}})
    else:
        print_line(f"{done} {arguments.name}: {key.hex()}")
    return 0
