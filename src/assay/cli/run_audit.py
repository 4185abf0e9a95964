"""`assay run audit`: recompute, report, certify."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from assay.cli.meter import Meter, require_training
from assay.cli.output import print_json, print_line
from assay.cli.run import parse_size
from assay.errors import Refuted, StorageError, Unproven, UsageError

if TYPE_CHECKING:
    from assay.verification.audit import Audit
    from assay.verification.audit_report import AuditReport

DEFAULT_KEY = "auditor"
GO_ON = "run the same command again: it goes on where it stopped"


class AuditDiffers(Refuted):
    """What was recomputed is not what the run claims."""

    code: ClassVar[str] = "audit.differs"
    findings: dict[str, object] | None = None


class AuditIncomplete(Unproven):
    """Some tasks of the audit failed, so that there is no certificate; nothing is found against the run."""

    code: ClassVar[str] = "audit.incomplete"
    findings: dict[str, object] | None = None


class AuditInterrupted(Unproven):
    """The audit was interrupted; what it found is kept."""

    code: ClassVar[str] = "audit.interrupted"


class AuditArgument(UsageError):
    """An argument of an audit that cannot be."""

    code: ClassVar[str] = "audit.argument"


def audit(arguments: argparse.Namespace) -> int:
    """Audit, print, write the certificate, and return 0 if all matches.

    Raises:
        AuditDiffers: something differs; the certificate that says so was written.
        AuditIncomplete: tasks failed; nothing was found against the run.
        AssayError: the run cannot be read or judged.
    """
    require_training("assay run audit")
    _check(arguments)
    from assay.storage.keyring import read_or_create_seed, read_seed

    seed = read_or_create_seed(DEFAULT_KEY) if arguments.key is None else read_seed(arguments.key)
    try:
        with Meter(quiet=arguments.json) as meter:
            found, report = _recompute(arguments, seed, meter)
    except KeyboardInterrupt:
        raise AuditInterrupted(
            "the audit was interrupted, all workers have ended", actual="its findings so far are kept", next_step=GO_ON
        ) from None
    facts: dict[str, object] = {"report": report, "certificate": None}
    if report.complete:
        facts["certificate"] = _certify(arguments, found, report, seed)
    if not arguments.json:
        _print(arguments, report, facts["certificate"])
    _raise_unless_matching(found, report, facts)
    if arguments.json:
        print_json({"exit": 0, **facts})
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse at once what would fail after hours."""
    if arguments.workers is not None and not 1 <= arguments.workers <= 1024:
        raise AuditArgument("not a number of workers", expected="1 to 1024", actual=arguments.workers)
    if arguments.sample is not None and arguments.sample < 1:
        raise AuditArgument("not a sample", expected="1 or more intervals", actual=arguments.sample)
    out: Path | None = arguments.out
    if out is not None and (not out.resolve().parent.is_dir() or out.is_dir()):
        raise AuditArgument(f"{out} cannot be written", expected="a file in a folder that exists")


def _recompute(arguments: argparse.Namespace, seed: bytes, meter: Meter) -> tuple[Audit, AuditReport]:
    from assay.protocol.signatures import get_public_key
    from assay.training.profile_environment import environment_for
    from assay.training.signing import read_signature
    from assay.verification.audit import audit_run
    from assay.verification.audit_report import make_report

    found = audit_run(
        arguments.run,
        auditor=get_public_key(seed),
        environment=environment_for,
        sample=arguments.sample,
        workers=arguments.workers,
        memory=None if arguments.memory is None else parse_size(arguments.memory),
        seconds=arguments.time_limit,
        progress=lambda done, total: meter.update("recomputing", done, total),
    )
    recorder = read_signature(found.run.directory, found.run.closing).public_key
    return found, make_report(found, get_public_key(seed), recorder)


def _certify(arguments: argparse.Namespace, found: Audit, report: AuditReport, seed: bytes) -> str:
    from assay.storage.files import Files, write_atomic
    from assay.verification.audit_report import store_certificate
    from assay.verification.certify import certify

    certificate = certify(found, seed)
    out: Path | None = arguments.out
    if out is not None:
        write_atomic(Files(), out, [certificate])
    try:
        stored = store_certificate(arguments.run, report, certificate)
    except StorageError:
        if out is None:
            raise
        return str(out)  # a run on a read-only disk
    return str(out or stored)


def _print(arguments: argparse.Namespace, report: AuditReport, certificate: object) -> None:
    from assay.cli.run_text import print_report

    print_report(report)
    if certificate is None:
        print_line("no certificate yet: some tasks have no finding")
        return
    model = f"{arguments.run.resolve().name}.safetensors"
    print_line(f"certificate {certificate}, signed by {report.auditor}")
    if report.auditor_is_recorder:
        print_line("this is the recorder's own key: such a check is shown and never counts; use another one with --key")
    print_line("to verify it offline, without PyTorch:")
    print_line(f"  assay run export {shlex.quote(str(arguments.run))} --out {shlex.quote(model)}")
    print_line(f"  assay verify {shlex.quote(str(certificate))} {shlex.quote(model)} --trust {report.auditor}")


def _raise_unless_matching(found: Audit, report: AuditReport, facts: dict[str, object]) -> None:
    if found.differing:
        differing = [finding.what for finding in report.others if finding.result == "differs"]
        refuted = AuditDiffers(
            "what was recomputed is not what the run claims", expected="all match", actual=", ".join(differing[:20])
        )
        refuted.findings = facts
        raise refuted
    if not report.complete or report.others:
        failed = [f"{finding.what}: {finding.detail}" for finding in report.others]
        incomplete = AuditIncomplete(
            "some tasks of the audit failed; nothing is found against the run",
            actual="\n".join(failed[:5]),
            next_step=GO_ON,
        )
        incomplete.findings = facts
        raise incomplete
