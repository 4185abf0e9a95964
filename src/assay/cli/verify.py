"""`assay verify CERTIFICATE [MODEL]`: the one command that a stranger to Assay needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli.commands import add_json
from assay.cli.output import print_boxes, print_json, print_line, print_strong
from assay.errors import AssayError, Refuted, UsageError

if TYPE_CHECKING:
    from assay.certificate.ledger_check import Anchor
    from assay.certificate.parents import CheckedParent, Lineage
    from assay.certificate.policy import TrustPolicy
    from assay.certificate.wording import Findings


class ShareRefused(UsageError):
    """A minimal share of recomputed intervals that is no share."""

    code = "verify.share"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("certificate", type=Path, metavar="CERTIFICATE", help="a file *.assay.json")
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="the model file that it should be about")
    _add_evidence(parser)
    parser.add_argument(
        "--min-level",
        choices=["observed", "replayable", "recomputed"],
        default="recomputed",
        help="the weakest level of evidence that is enough (default: recomputed)",
    )
    parser.add_argument(
        "--min-share",
        default="1/10",
        metavar="SHARE",
        help="the smallest share of intervals that must have been recomputed, such as 1, 0.25 or 1/10 (default: 1/10)",
    )
    add_json(parser)
    parser.epilog = (
        "exit codes: 0 holds, 1 refuted by an explicit finding, 2 wrong usage, 3 nothing is proven; with --parent the "
        "worst of all certificates, 1 before 2 before 3"
    )


def _add_evidence(parser: argparse.ArgumentParser) -> None:
    """Add what a reader brings along: keys, ledgers, certificates of parents."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="FILE|KEY",
        help="trust this key (64 hex digits) or the keys of this file, for this command only; may be repeated",
    )
    parser.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="FILE",
        help="trust the ledger with this genesis, for this command only; may be repeated",
    )
    parser.add_argument(
        "--parent",
        action="append",
        default=[],
        type=Path,
        metavar="CERTIFICATE",
        help="check this certificate too, and that the run started from the model that it is about; "
        "may be repeated, for the parent's own parent and so on",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Verify, print, and return 0; whatever does not hold is raised."""
    from assay.certificate.policy import TrustPolicy

    policy = TrustPolicy(
        keys=read_trusted_keys(arguments.trust),
        minimal_level=arguments.min_level,
        minimal_share=parse_share(arguments.min_share),
        anchors=read_anchors(arguments.anchor),
    )
    return verify_files(
        arguments.certificate, arguments.model, policy, parents=arguments.parent, as_json=arguments.json
    )


def verify_files(
    certificate: Path, model: Path | None, policy: TrustPolicy, *, as_json: bool, parents: Sequence[Path] = ()
) -> int:
    """Check a certificate, a model file and certificates of parents, and print what is proven and what is not.

    Returns:
        0.

    Raises:
        AssayError: whatever does not hold; the facts were printed before, where they are known.
    """
    from assay.certificate.dsse import MAX_BYTES
    from assay.certificate.parents import GivenParent, Lineage, verify_lineage
    from assay.certificate.verify import verify_certificate
    from assay.storage.files import Files, naming, read_file

    data = read_file(Files(), certificate, MAX_BYTES)
    given = [GivenParent(path.name, read_file(Files(), path, MAX_BYTES)) for path in parents]
    with ExitStack() as stack:
        stream = None
        if model is not None:
            stack.enter_context(naming(model))
            stream = stack.enter_context(model.open("rb"))
        try:
            if given:
                lineage = verify_lineage(data, stream, policy, given)
            else:
                lineage = Lineage(verify_certificate(data, stream, policy), [], None)
        except AssayError as error:
            facts = getattr(error, "findings", None)
            if facts is None:
                raise
            lineage = Lineage(facts, [], error)
    return _print_lineage(lineage, as_json=as_json)


def _print_lineage(lineage: Lineage, *, as_json: bool) -> int:
    """Print what was found about a certificate and its parents; return 0, or raise what does not hold."""
    error = lineage.error
    if as_json and error is None:
        print_json({"exit": 0, "findings": lineage.findings, "parents": lineage.parents})
    elif not as_json and not isinstance(error, UsageError):
        outcome = "holds" if error is None else "refuted" if isinstance(error, Refuted) else "nothing is proven"
        print_findings(lineage.findings, outcome)
        for parent in lineage.parents:
            _print_parent(parent)
        sys.stdout.flush()
    if error is not None:
        raise error
    return 0


def _print_parent(parent: CheckedParent) -> None:
    outcome = "nothing is proven" if parent.outcome == "unproven" else parent.outcome
    print_line()
    print_strong(f"parent {parent.name}, SHA-256 {parent.certificate}")
    if parent.findings is None:
        print_strong(f"{outcome}: {parent.reason}")
    else:
        print_findings(parent.findings, outcome)


def print_findings(findings: Findings, outcome: str) -> None:
    """Print the level of evidence, whether the certificate holds, and two boxes of one size."""
    ledger = findings.ledger
    trusted = ledger is not None or any(signer.name and not signer.is_recorder for signer in findings.signers)
    if trusted:
        print_strong(f"{findings.level}: {findings.recomputed} of {findings.intervals} intervals · {outcome}")
    else:
        print_strong(f"claimed {findings.level}, by nobody whose word counts · {outcome}")
    print_line(f"model root {findings.model_root}")
    if ledger is not None:
        print_line(f"checked by ledger {ledger.name} {ledger.chain_id}, engine {ledger.engine}: {ledger.fault_model}")
        print_line(f"submission {ledger.submission} by {ledger.account}: {ledger.verdict} ({ledger.reason})")
    for signer in findings.signers:
        whose = signer.name or "unknown"
        print_line(f"checked by {signer.key} ({whose}{', the recorder itself' if signer.is_recorder else ''})")
    print_line()
    print_boxes([("proven", findings.proven), ("not proven", findings.not_proven)])


def read_trusted_keys(extra: list[str]) -> dict[bytes, str]:
    """Return the keys of the trust store and those of `--trust`, with their names.

    Raises:
        UsageError: an argument that is neither a key nor a file.
        StorageError: a file that cannot be read, or does not hold trusted keys.
    """
    from assay.storage.files import Files, read_file
    from assay.storage.trust_store import MAX_STORE, decode_trust, parse_key, read_trust

    keys = {key: name for name, key in read_trust().items()}
    for text in extra:
        path = Path(text)
        if Files().get_kind(path) == "file":
            named = decode_trust(read_file(Files(), path, MAX_STORE), path)
            keys = {key: name for name, key in named.items()} | keys
        else:
            keys.setdefault(parse_key(text), f"key {text[:8]}")
    return keys


def read_anchors(extra: list[str]) -> dict[bytes, Anchor]:
    """Return the anchors of this home and those of `--anchor`, by chain id.

    Raises:
        AnchorDamaged: a file that holds no genesis.
        StorageError: a file that cannot be read.
    """
    from assay.certificate.ledger_check import Anchor
    from assay.protocol.blocks import compute_chain_id
    from assay.storage.anchors import list_anchors, read_anchor, read_genesis_file

    found = [Anchor(name, read_anchor(name)) for name in list_anchors()]
    found += [Anchor(Path(text).stem, read_genesis_file(Path(text))) for text in extra]
    return {compute_chain_id(anchor.genesis): anchor for anchor in found}


def parse_share(text: str) -> Fraction:
    """Return a share between 0 and 1.

    Raises:
        ShareRefused: anything else.
    """
    try:
        share = Fraction(text) if len(text) <= 40 and "e" not in text.lower() else Fraction(-1)
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if not 0 <= share <= 1:
        raise ShareRefused("not a share", expected="0 to 1, such as 1, 0.25 or 1/10", actual=ascii(text[:40]))
    return share
