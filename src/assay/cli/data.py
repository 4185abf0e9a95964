"""`assay data prove|check|duplicates|overlap`: questions about the samples of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from assay.cli.commands import add_json, add_verbs
from assay.cli.output import print_json, print_line, print_strong
from assay.errors import Refuted

if TYPE_CHECKING:
    from assay.training.compare.side import Side
    from assay.training.data_queries import Found, Sample

_MOST = 20


class SampleIsThere(Refuted):
    """The sample is in the data set, and it was said not to be."""

    code: ClassVar[str] = "data.present"
    findings: object = None


class SampleIsNotThere(Refuted):
    """The sample is not in the data set, and it was said to be."""

    code: ClassVar[str] = "data.absent"
    findings: object = None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "prove": "whether a sample is in the training set of a run, or is not, and which steps used it",
            "check": "check a proof that `prove --out` wrote, offline, without the run",
            "duplicates": "samples that a training set holds more than once",
            "overlap": "test samples that the training set holds too, or samples that two runs share",
        },
    )
    sample = "64 hex digits (a content digest), a file .npy or .npz, or RUN:INDEX"
    verbs["prove"].add_argument("sample", metavar="SAMPLE", help=sample)
    claims = verbs["prove"].add_mutually_exclusive_group(required=True)
    claims.add_argument("--in", dest="present", type=Path, metavar="RUN", help="it is in this run's training set")
    claims.add_argument("--not-in", dest="absent", type=Path, metavar="RUN", help="it is not")
    verbs["prove"].add_argument("--out", type=Path, metavar="FILE", help="write a proof that others can check")
    verbs["check"].add_argument("proof", type=Path, metavar="PROOF", help="the file that `prove --out` wrote")
    verbs["check"].add_argument("sample", metavar="SAMPLE", help=sample)
    verbs["check"].add_argument(
        "--root", required=True, metavar="HEX", help="root of the data set, as plan and certificate print it"
    )
    verbs["duplicates"].add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    verbs["overlap"].add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    verbs["overlap"].add_argument("other", type=Path, nargs="?", metavar="OTHER", help="another run")
    for child in verbs.values():
        add_json(child)
    verbs["prove"].epilog = "exit codes: 0 it is as was said, 1 it is not, 2 wrong usage, 3 the run cannot be read"


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0; what does not hold is raised."""
    verbs = {"prove": _prove, "check": _check, "duplicates": _list_duplicates, "overlap": _list_overlap}
    return verbs[arguments.verb](arguments)


def _prove(arguments: argparse.Namespace) -> int:
    from assay.training.compare.side import Side
    from assay.training.data_queries import find_sample, read_sample

    sample = read_sample(arguments.sample)
    side = Side(arguments.present or arguments.absent)
    found = find_sample(side, sample)
    if arguments.out is not None and found.present == (arguments.present is not None):
        _write_proof(side, sample, found, arguments.out)
    if arguments.json and found.present == (arguments.present is not None):
        print_json({"exit": 0, "sample": found})
    elif not arguments.json:
        _print_found(found, side.path)
    _raise_unless(found, wanted=arguments.present is not None)
    return 0


def _write_proof(side: Side, sample: Sample, found: Found, out: Path) -> None:
    from assay.protocol.encoding import encode
    from assay.storage.files import Files, write_atomic
    from assay.training.data_queries import make_absence, make_presence

    proof = make_presence(side, found.indices[0]) if found.present else make_absence(side, sample.content)
    write_atomic(Files(), out, [encode(proof)])


def _print_found(found: Found, path: Path) -> None:
    state = "is in" if found.present else "is not in"
    print_strong(f"the sample {state} the training set of {path}")
    print_line(f"  content {found.content}")
    print_line(f"  data set of {found.samples} samples, root {found.root}; every sample was hashed again")
    if found.present:
        print_line(f"  index {_join(found.indices)}")
        print_line(f"  fed to {len(found.steps)} steps: {_join(found.steps) or 'none so far'}")
    for index, field in found.similar:
        name = repr(field) if field else "its only field"
        print_line(f"  sample {index} has the same bytes in field {name}, and differs otherwise")


def _join(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MOST]))
    return f"{shown} and {len(numbers) - _MOST} more" if len(numbers) > _MOST else shown


def _raise_unless(found: Found, *, wanted: bool) -> None:
    if found.present and not wanted:
        there = SampleIsThere(
            "the sample is in the data set", expected="absent", actual=f"index {_join(found.indices)}"
        )
        there.findings = found
        raise there
    if wanted and not found.present:
        missing = SampleIsNotThere("the sample is not in the data set", expected="present", actual="no equal sample")
        missing.findings = found
        raise missing


def _check(arguments: argparse.Namespace) -> int:
    from assay.storage.trust_store import parse_key
    from assay.training.data_queries import read_sample
    from assay.verification.data_check import check_proof

    present = check_proof(arguments.proof, parse_key(arguments.root), read_sample(arguments.sample).content)
    if arguments.json:
        print_json({"exit": 0, "present": present})
    else:
        print_strong(f"proven: the sample is {'' if present else 'not '}in the data set with this root")
    return 0


def _list_duplicates(arguments: argparse.Namespace) -> int:
    from assay.training.compare.side import Side
    from assay.training.data_queries import find_duplicates, open_verified

    data = open_verified(Side(arguments.run))
    groups = find_duplicates(data.contents)
    if arguments.json:
        print_json({"exit": 0, "samples": data.packed.size, "groups": groups})
        return 0
    extra = sum(len(group) - 1 for group in groups)
    print_strong(f"{extra} of {data.packed.size} samples repeat another one")
    for group in groups[:_MOST]:
        print_line(f"  equal: {_join(group)}")
    return 0


def _list_overlap(arguments: argparse.Namespace) -> int:
    from assay.training.compare.side import Side
    from assay.training.data_queries import find_overlap, list_test_sets, open_verified

    side = Side(arguments.run)
    train = open_verified(side)
    others = (
        {str(arguments.other): open_verified(Side(arguments.other))}
        if arguments.other is not None
        else {name: open_verified(side, name) for name in list_test_sets(side)}
    )
    found = {name: (other.packed.size, find_overlap(train.contents, other.contents)) for name, other in others.items()}
    if arguments.json:
        print_json({"exit": 0, "sets": {name: {"samples": n, "pairs": pairs} for name, (n, pairs) in found.items()}})
        return 0
    if not found:
        print_line(f"{arguments.run} has no test set")
    for name, (size, pairs) in found.items():
        print_strong(f"{len(pairs)} of {size} samples of {name} are in the training set of {arguments.run}")
        for index, other in pairs[:_MOST]:
            print_line(f"  sample {other} is training sample {index}")
    return 0
