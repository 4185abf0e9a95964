"""`assay run list|show|verify|audit|report|weights|export|prune|submit|status|watch|certify`: recorded runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import ClassVar

from assay.cli import run_prune, run_submit, run_weights
from assay.cli.commands import add_json, add_verbs
from assay.cli.meter import Meter
from assay.cli.output import print_json, print_line, print_strong
from assay.errors import UsageError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class SizeRefused(UsageError):
    """A text that is no number of bytes."""

    code: ClassVar[str] = "run.size"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "list": "list the runs below a folder",
            "show": "print what a run says of itself, the level of evidence first",
            "verify": "check the structure of a run: every record, leaf, root and digest; no step is recomputed",
            "audit": "recompute a run, say what matches and what differs, and sign a certificate",
            "report": "write a report of a run as one HTML file that needs nothing else",
            "weights": "measure how the weights changed between stored states, and flag what stands out",
            "export": "write the trained model as a canonical safetensors file",
            "prune": "drop stored states or data of a finished run, and say what stays provable",
            "submit": "commit to a run on a ledger, with a bond, and upload what its verifiers need",
            "status": "say how far a submission has come",
            "watch": "follow a submission until its verdict is final",
            "certify": "write the certificate of a submission, with the ledger's evidence",
        },
    )
    verbs["list"].add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="default: runs")
    for name in ("show", "verify", "audit", "report", "export"):
        verbs[name].add_argument("run", type=Path, metavar="RUN", help="the folder of the run")
    _configure_audit(verbs["audit"])
    _configure_report(verbs["report"])
    run_weights.configure(verbs["weights"])
    run_prune.configure(verbs["prune"])
    run_submit.configure(verbs)
    verbs["export"].add_argument("--out", type=Path, metavar="FILE", help="default: the run's name with .safetensors")
    for child in verbs.values():
        add_json(child)


def _configure_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sample", type=int, metavar="K", help="recompute K intervals drawn at random, the last one always among them"
    )
    parser.add_argument("--key", metavar="NAME", help="your signing key (default: auditor, made if there is none)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes at a time (default: one per core)")
    parser.add_argument(
        "--memory", metavar="SIZE", help="most memory that a worker may take, such as 800M or 4G; 0: no bound"
    )
    parser.add_argument(
        "--time-limit", type=float, default=3600.0, metavar="SECONDS", help="most time for one task (default: 3600)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the certificate here too")
    parser.epilog = (
        "exit codes: 0 all that was recomputed matches, 1 something differs (the certificate says so), 2 wrong usage, "
        "3 nothing is found: this machine cannot judge the run, or tasks failed"
    )


def _configure_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the run's name with .html")
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE", help="show this certificate instead of those in the run's folder"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="FILE|KEY",
        help="trust this key (64 hex digits) or the keys of this file beside your own trust store; may be repeated",
    )
    parser.add_argument(
        "--parent",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="check this certificate of the model that the run started from, too; may be repeated",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0; whatever does not hold is raised."""
    if arguments.verb == "audit":
        from assay.cli.run_audit import audit

        return audit(arguments)
    if arguments.verb == "report":
        from assay.cli.run_report import report

        return report(arguments)
    if arguments.verb == "weights":
        return run_weights.weights(arguments)
    if arguments.verb == "prune":
        return run_prune.prune(arguments)
    if arguments.verb in {"submit", "status", "watch", "certify"}:
        return run_submit.execute(arguments)
    verbs = {"list": _list, "show": _show, "verify": _verify, "export": _export}
    return verbs[arguments.verb](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from assay.cli.run_text import print_runs
    from assay.verification.summary import list_runs

    folder = arguments.folder or Path("runs")
    runs = list_runs(folder) if arguments.folder or folder.exists() else []
    if arguments.json:
        print_json({"runs": runs})
    else:
        print_runs(runs, folder)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from assay.cli.run_text import print_summary
    from assay.verification.observation import is_observed
    from assay.verification.summary import summarise_run

    if is_observed(arguments.run):
        return _show_observed(arguments)
    summary = summarise_run(arguments.run)
    if arguments.json:
        print_json(summary)
    else:
        print_summary(summary)
    return 0


def _show_observed(arguments: argparse.Namespace) -> int:
    """Print an observed run; what `show` prints is all that `verify` can check of it."""
    from assay.cli.run_text import print_observed
    from assay.verification.observation import summarise_observed

    summary = summarise_observed(arguments.run)
    if arguments.json:
        print_json(summary)
    else:
        print_observed(summary)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from assay.verification.observation import is_observed
    from assay.verification.structure import verify_structure

    if is_observed(arguments.run):
        return _show_observed(arguments)
    with Meter(quiet=arguments.json) as meter:
        found = verify_structure(arguments.run, lambda what: meter.update("checking", *_PROGRESS.get(what, (2, 3))))
    if arguments.json:
        print_json({"exit": 0, "structure": found})
        return 0
    state = "finished" if found.finished else "in progress"
    print_strong(f"replayable: the structure of {arguments.run} holds; no step was recomputed")
    print_line(f"{found.steps} steps in {found.intervals} intervals, {state}; {found.programs} programs")
    print_line(f"{found.checkpoints} stored states, all data and digests checked; start: {found.start}")
    if found.recorder is not None:
        print_line(f"signed by the recorder {found.recorder.hex()}")
    print_line(f"next: assay run audit {arguments.run}")
    return 0


_PROGRESS = {"leaves, programs, signature": (0, 3), "data": (1, 3)}


def _export(arguments: argparse.Namespace) -> int:
    from assay.verification.certify import export_file

    out = arguments.out or Path(f"{arguments.run.resolve().name}.safetensors")
    exported = export_file(arguments.run, out)
    if arguments.json:
        print_json({"exit": 0, "file": str(out), **exported})
    else:
        print_line(f"wrote {out}, {exported['bytes']} bytes")
        print_line(f"SHA-256    {exported['sha256']}")
        print_line(f"model root {exported['modelRoot']}")
    return 0


def parse_size(text: str) -> int:
    """Return a number of bytes: digits and, optionally, one of K, M, G, T (powers of 1024).

    Raises:
        SizeRefused: anything else.
    """
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    if not (number.isascii() and number.isdigit() and len(number) <= 15) or unit not in _UNITS:
        raise SizeRefused("not a size", expected="such as 800M or 4G", actual=ascii(text[:40]))
    return int(number) * _UNITS[unit]
