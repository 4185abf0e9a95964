"""`assay diff A B`: why two runs differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import ClassVar

import msgspec

from assay.cli.commands import add_json
from assay.cli.meter import Meter
from assay.cli.output import print_json
from assay.errors import UsageError


class PictureRefused(UsageError):
    """The picture cannot be written where it should."""

    code: ClassVar[str] = "diff.picture"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("a", type=Path, metavar="A", help="the folder of a run")
    parser.add_argument("b", type=Path, metavar="B", help="the folder of another run, or of one that goes on from A")
    parser.add_argument("--explain", action="store_true", help="list everything that was compared, and what was equal")
    parser.add_argument("--verify", action="store_true", help="recompute every leaf of both instead of believing them")
    parser.add_argument(
        "--no-replay", action="store_true", help="where arithmetic differs, do not replay the step on both sides"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw how the difference grows, as an SVG file")
    add_json(parser)
    parser.epilog = (
        "exit codes: 0 nothing differs in the steps that both have, 1 something differs, 2 wrong usage, "
        "3 a run cannot be read"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Compare, print, and return 0 if nothing differs, else 1."""
    from assay.cli.diff_text import print_difference
    from assay.verification.difference import explain_difference

    picture: Path | None = arguments.picture
    if picture is not None and (not picture.resolve().parent.is_dir() or picture.is_dir()):
        raise PictureRefused(f"{picture} cannot be written", expected="a file in a folder that exists")
    with Meter(quiet=arguments.json) as meter:
        found = explain_difference(
            arguments.a,
            arguments.b,
            verify=arguments.verify,
            replay=not arguments.no_replay,
            grow=picture is not None or arguments.json,
            progress=meter.update,
        )
    if picture is not None and found.growth is None:
        raise PictureRefused("there is nothing to draw: losses and states of a run that was only observed are not kept")
    if picture is not None and found.growth is not None:
        from assay.storage.files import Files, write_atomic
        from assay.training.compare.picture import render_growth

        write_atomic(Files(), picture, [render_growth(found.comparison, found.growth).encode()])
    code = 0 if found.comparison.equal else 1
    if arguments.json:
        print_json({"exit": code, **msgspec.structs.asdict(found)})
    else:
        print_difference(found, explain=arguments.explain)
    return code
