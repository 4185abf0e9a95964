"""`assay run report`: a run as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path

from assay.cli.meter import Meter
from assay.cli.output import print_json, print_line, print_strong


def report(arguments: argparse.Namespace) -> int:
    """Write the report, say what it says first, and return 0, whatever the finding is.

    Raises:
        AssayError: the run or the certificate cannot be read, or the file not be written.
    """
    from assay.certificate.policy import TrustPolicy
    from assay.cli.verify import read_trusted_keys
    from assay.report.contents import gather
    from assay.report.observed import gather_observed
    from assay.report.page import render_page
    from assay.storage.files import Files, write_atomic
    from assay.verification.observation import is_observed

    out: Path = arguments.out or Path(f"{arguments.run.resolve().name}.html")
    with Meter(quiet=arguments.json) as meter:
        meter.update("reading the run", 0, 2)
        if is_observed(arguments.run):
            found = gather_observed(arguments.run, arguments.certificate)
        else:
            policy = TrustPolicy(keys=read_trusted_keys(arguments.trust))
            found = gather(arguments.run, arguments.certificate, policy, arguments.parent)
        meter.update("reading the run", 1, 2)
        page = render_page(found).encode()
    write_atomic(Files(), out, [page])
    if arguments.json:
        print_json(
            {
                "exit": 0,
                "file": str(out),
                "bytes": len(page),
                "level": found.level,
                "outcome": found.outcome,
                "finding": found.finding,
            }
        )
        return 0
    print_strong(f"{found.level}: {found.finding}")
    print_line(f"wrote {out}, {len(page)} bytes: one file, to be opened in any browser")
    return 0
