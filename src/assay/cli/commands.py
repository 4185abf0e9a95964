"""Which nouns there are.

A noun is a module of `assay.cli` with two functions:

- `configure(parser)` adds its arguments to an `argparse` parser;
- `execute(arguments)` makes one library call, prints, and returns an exit code. Errors are raised, not returned.

A module is imported only when its noun is used, so that `assay --help` and `assay verify` start quickly. Measured with
`benchmarks/startup.py`: typer without rich costs more at start than the whole of argparse, msgspec, PyNaCl, blake3 and
rfc8785.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

EPILOG = "exit codes: 0 holds or done, 1 refuted by an explicit finding, 2 wrong usage, 3 everything else"


class Command(NamedTuple):
    """A noun: the module that implements it and what the list of commands says."""

    module: str
    summary: str


COMMANDS = {
    "run": Command("assay.cli.run", "recorded runs: list, show, verify, audit, report, weights, export, submit"),
    "verify": Command("assay.cli.verify", "check a training certificate, and a model file against it"),
    "diff": Command("assay.cli.diff", "why two runs differ: the first difference, named, in milliseconds"),
    "doctor": Command(
        "assay.cli.doctor", "reproducible, resume-safe, replayable? what stands in the way, with its line"
    ),
    "estimate": Command("assay.cli.estimate", "what recording a script costs: time and disk"),
    "lock": Command("assay.cli.lock", "put what a short run must give again into one file, to be committed"),
    "check": Command("assay.cli.check", "whether a run gives again what a lock holds; for CI"),
    "data": Command("assay.cli.data", "samples of a run: prove that one is in it or is not, duplicates, overlap"),
    "trust": Command("assay.cli.trust", "whose word counts: add, list or remove public keys and ledgers"),
    "key": Command("assay.cli.key", "your own signing keys: make one, show its public key"),
    "node": Command("assay.cli.node", "a ledger of your own: start, status, stop"),
    "account": Command("assay.cli.account", "accounts on a ledger: make one, show it, send points"),
    "stake": Command("assay.cli.stake", "what a verifier answers with: deposit, withdraw"),
    "submissions": Command("assay.cli.submissions", "what was submitted to a ledger: list, search, show"),
    "explain": Command("assay.cli.explain", "who earned and lost what through a submission, and why"),
    "verifier": Command("assay.cli.verifier", "recompute the runs of others: start, doctor, earnings"),
    "demo": Command("assay.cli.demo", "the whole story on real data, and a certificate that ships in the package"),
}
"""The literal table, in the order of the help."""


class Parser(argparse.ArgumentParser):
    """An `argparse` parser that takes no abbreviations and lists commands one per line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter, **settings})

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and end with exit code 2."""
        sys.stderr.write(f"assay: {message}\n  next: {self.prog} --help\n")
        sys.exit(2)


def run_command(words: Sequence[str]) -> int:
    """Run one command and return its exit code.

    Raises:
        SystemExit: after `--help` or wrong usage.
        AssayError: from the library.
    """
    if words and words[0] in COMMANDS:
        parser = build_parser(words[0])
        arguments = parser.parse_args(words[1:])
        return int(_load(words[0]).execute(arguments))
    if words and words[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"assay {version('assay')}\n")
        return 0
    _build_root().parse_args(words or ["--help"])
    return 2


def build_parser(noun: str) -> Parser:
    """Return the complete parser of a noun."""
    parser = Parser(
        prog=f"assay {noun}", description=f"{COMMANDS[noun].summary[0].upper()}{COMMANDS[noun].summary[1:]}."
    )
    _load(noun).configure(parser)
    return parser


def add_verbs(parser: argparse.ArgumentParser, verbs: dict[str, str], *, required: bool = True) -> dict[str, Parser]:
    """Add verbs to a noun and return one parser for each; the chosen verb is `arguments.verb`.

    Args:
        parser: the parser of the noun.
        verbs: name to summary.
        required: whether one must be chosen; otherwise `arguments.verb` may be None.
    """
    parser.epilog = render_commands(verbs)
    children: Any = parser.add_subparsers(dest="verb", metavar="COMMAND", required=required, help=argparse.SUPPRESS)
    return {
        name: children.add_parser(name, description=f"{summary[0].upper()}{summary[1:]}.")
        for name, summary in verbs.items()
    }


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def render_commands(summaries: dict[str, str]) -> str:
    """Return the list of commands as the help shows it."""
    width = max(len(name) for name in summaries) + 2
    return "\n".join(["commands:", *(f"  {name:<{width}}{summary}" for name, summary in summaries.items())])


def _build_root() -> Parser:
    listed = render_commands({name: command.summary for name, command in COMMANDS.items()})
    parser = Parser(
        prog="assay",
        usage="assay COMMAND ...",
        description="Check how a machine-learning model came to be.",
        epilog=f"{listed}\n\n{EPILOG}",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("command", metavar="COMMAND", choices=sorted(COMMANDS), help=argparse.SUPPRESS)
    return parser


def _load(noun: str) -> ModuleType:
    return importlib.import_module(COMMANDS[noun].module)
