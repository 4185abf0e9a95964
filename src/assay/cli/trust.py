"""`assay trust add|list|remove`: whose word counts, and which ledgers."""

from __future__ import annotations

import argparse
from pathlib import Path

from assay.cli.commands import add_json, add_verbs
from assay.cli.output import print_json, print_line, print_table
from assay.errors import UsageError


class TrustWhat(UsageError):
    """Neither a key nor an anchor, or both."""

    code = "trust.what"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "add": "trust a public key, or with --anchor a ledger, under a name of your choice",
            "list": "list the trusted keys and ledgers",
            "remove": "stop trusting a key, or with --anchor a ledger",
        },
    )
    add, remove = verbs["add"], verbs["remove"]
    add.add_argument("name", metavar="NAME", help="your name for whoever has this key, or for the ledger")
    add.add_argument(
        "key", metavar="KEY", nargs="?", help="their public key, 64 hex digits, obtained by a way that you trust"
    )
    add.add_argument(
        "--anchor", type=Path, metavar="FILE", help="the genesis of a ledger, obtained by a way that you trust"
    )
    remove.add_argument("name", metavar="NAME", help="the name that it was added under")
    remove.add_argument("--anchor", action="store_true", help="remove a ledger, not a key")
    for child in verbs.values():
        add_json(child)


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0."""
    return {"add": _add, "list": _list, "remove": _remove}[arguments.verb](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from assay.protocol.blocks import compute_chain_id
    from assay.storage.anchors import list_anchors, read_anchor
    from assay.storage.trust_store import read_trust

    keys = {name: key.hex() for name, key in sorted(read_trust().items())}
    anchors = {name: compute_chain_id(read_anchor(name)).hex() for name in list_anchors()}
    if arguments.json:
        print_json({"keys": keys, "anchors": anchors})
        return 0
    if keys:
        print_table(list(keys.items()))
    else:
        print_line("no key is trusted yet; next: assay trust add NAME KEY")
    if anchors:
        print_line("ledgers:")
        print_table(list(anchors.items()))
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from assay.storage.anchors import add_anchor, read_genesis_file
    from assay.storage.trust_store import add_trust, parse_key

    if (arguments.key is None) == (arguments.anchor is None):
        raise TrustWhat(
            "say what to trust", expected="a public key, or --anchor FILE", next_step="assay trust add --help"
        )
    if arguments.anchor is not None:
        chain_id = add_anchor(arguments.name, read_genesis_file(arguments.anchor))
        return _tell(arguments, "added", "chain", chain_id)
    key = parse_key(arguments.key)
    add_trust(arguments.name, key)
    return _tell(arguments, "added", "key", key)


def _remove(arguments: argparse.Namespace) -> int:
    from assay.storage.anchors import remove_anchor
    from assay.storage.trust_store import remove_trust

    if arguments.anchor:
        return _tell(arguments, "removed", "chain", remove_anchor(arguments.name))
    return _tell(arguments, "removed", "key", remove_trust(arguments.name))


def _tell(arguments: argparse.Namespace, done: str, what: str, value: bytes) -> int:
    if arguments.json:
        print_json({done: {"name": arguments.name, what: value.hex()}})
    else:
        print_line(f"{done} {arguments.name}: {value.hex()}")
    return 0
