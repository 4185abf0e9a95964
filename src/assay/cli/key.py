"""`assay key new|show`: your own signing keys. Public keys are printed, seeds never."""

from __future__ import annotations

import argparse

from assay.cli.commands import add_json, add_verbs
from assay.cli.output import print_json, print_line, print_table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "new": "make a signing key; it is stored unencrypted, readable by you alone",
            "show": "print the public key of this name, or all names and public keys",
        },
    )
    verbs["new"].add_argument("name", metavar="NAME", help="1 to 64 of a-z, 0-9, dot, hyphen, underscore")
    verbs["show"].add_argument("name", metavar="NAME", nargs="?", help="one key only: prints nothing but its 64 digits")
    for child in verbs.values():
        add_json(child)


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0."""
    from assay.storage.keyring import create_key, list_keys, read_public_key

    if arguments.verb == "new":
        key = create_key(arguments.name).hex()
        if arguments.json:
            print_json({"name": arguments.name, "key": key})
        else:
            print_line(f"made {arguments.name}, public key {key}")
            print_line("the private key is stored unencrypted, in a file that only you can read: keep it to yourself")
        return 0
    names = list_keys() if arguments.name is None else [arguments.name]
    keys = {name: read_public_key(name).hex() for name in names}
    if arguments.json:
        print_json({"keys": keys})
    elif arguments.name is not None:
        print_line(keys[arguments.name])
    elif keys:
        print_table(list(keys.items()))
    else:
        print_line("there is no key yet; next: assay key new NAME")
    return 0
