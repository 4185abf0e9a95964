"""Write `vectors/certificate.json`: certificates and what a reader with given trust finds.

Run as `python -m tools.certificate_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from assay.certificate.policy import TrustPolicy
from assay.certificate.statement import PREDICATE_FAMILY, FindingClaim
from assay.certificate.verify import verify_certificate
from assay.cli.__main__ import get_exit_code
from assay.errors import AssayError
from assay.protocol.signatures import get_public_key
from tests.certificate.cases import (
    AUDITOR,
    RECORDER,
    STRANGER,
    make_audit,
    make_certificate,
    make_model_file,
    rewrite,
)

PATH = Path(__file__).resolve().parents[1] / "vectors" / "certificate.json"
MODEL = make_model_file()


def make_cases() -> Iterator[tuple[str, bytes, Iterable[bytes], bytes | None]]:
    """Yield name, certificate, seeds of the trusted keys, model file or None."""
    honest = make_certificate()
    sample = make_audit([FindingClaim(n, "uniform", "matches") for n in (0, 2, 4)])
    differs = make_audit([FindingClaim(n, "all", "differs" if n == 3 else "matches") for n in range(5)])
    flagged = make_audit([FindingClaim(n, "flagged", "matches") for n in range(5)])
    place = honest.index(b'"sig":"') + 10
    changed = honest[:place] + (b"B" if honest[place : place + 1] == b"A" else b"A") + honest[place + 1 :]
    yield "all intervals", honest, [AUDITOR], MODEL
    yield "no model file", honest, [AUDITOR], None
    yield "a sample", make_certificate(audit=sample), [AUDITOR], MODEL
    yield "two checkers, one trusted", make_certificate(seeds=(AUDITOR, STRANGER)), [AUDITOR], MODEL
    yield "another model", honest, [AUDITOR], MODEL[:-1] + b"\x00"
    yield "signature changed", changed, [AUDITOR], None
    yield "signature of a stranger changed", changed, [STRANGER], None
    yield "an interval differs", make_certificate(audit=differs), [AUDITOR], MODEL
    yield "an interval differs, says a stranger", make_certificate(audit=differs), [STRANGER], MODEL
    yield "false level", rewrite(honest, lambda v: v["predicate"].update(level="replayable")), [AUDITOR], None
    yield "false s", rewrite(honest, lambda v: v["predicate"].update(sampled=4)), [AUDITOR], None
    yield "unknown signer", honest, [], MODEL
    yield "the recorder's own key", make_certificate(seeds=(RECORDER,)), [RECORDER], MODEL
    yield "flags only", make_certificate(audit=flagged), [AUDITOR], MODEL
    yield "newer format", rewrite(honest, lambda v: v.update(predicateType=f"{PREDICATE_FAMILY}1")), [AUDITOR], None
    yield "extra member", rewrite(honest, lambda v: v["predicate"].update(note="")), [AUDITOR], None
    yield "white space", honest + b"\n", [AUDITOR], None


def describe(name: str, data: bytes, seeds: Iterable[bytes], model: bytes | None) -> dict[str, Any]:
    """Return one case with what our verifier finds."""
    keys = [get_public_key(seed) for seed in seeds]
    exit_code, code = 0, None
    try:
        verify_certificate(data, None if model is None else io.BytesIO(model), TrustPolicy(dict.fromkeys(keys, "key")))
    except AssayError as error:
        exit_code, code = get_exit_code(error), error.code
    return {
        "name": name,
        "trusted": [key.hex() for key in keys],
        "exit": exit_code,
        "code": code,
        "model": None if model is None else model.hex(),
        "certificate": base64.b64encode(data).decode(),
    }


def render() -> str:
    """Return the text of the file."""
    return json.dumps({"cases": [describe(*case) for case in make_cases()]}, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
