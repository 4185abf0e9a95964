"""Write `vectors/package.json`: contexts, chunks, manifests, bundles and lists of checkpoints of submission packages.

Run as `python -m tools.package_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from assay.errors import MalformedEvidence
from assay.protocol.encoding import encode
from assay.protocol.evidence.bundle import (
    Bundle,
    BundleEntry,
    Checkpoint,
    compute_checkpoints,
    compute_manifest_id,
    open_checkpoint,
)
from assay.protocol.evidence.package import (
    CHUNK_BYTES,
    SINGLE,
    build_bundle,
    build_manifest,
    compute_bundle_bytes,
    compute_bundle_digest,
    list_chunks,
    open_bundle,
)
from assay.protocol.evidence.transcript import compute_context
from assay.protocol.hashing import ZERO

PATH = Path(__file__).resolve().parents[1] / "vectors" / "package.json"

LENGTHS = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1)
EDIT = f"edit/{sha256(b'edit').hexdigest()}"
BLOBS = {name: name.encode() for name in (*SINGLE, "train/manifest", "train/0", "state/0", "events", EDIT)}


def make_bundle() -> Bundle:
    """Return the bundle of a run with events and an edit; each blob holds its own name."""
    return build_bundle(entry for name, data in BLOBS.items() for entry in list_chunks(name, data))


def make_checkpoints() -> list[Checkpoint]:
    """Return the list of a run of three intervals whose start is not stored."""
    stored = [build_manifest(list_chunks(f"state/{step}", b"state %d" % step)) for step in (4, 8, 12)]
    listed = [Checkpoint(0, sha256(b"root 0").digest(), ZERO, 0)]
    for step, manifest in zip((4, 8, 12), stored, strict=True):
        root = sha256(b"root %d" % step).digest()
        listed.append(Checkpoint(step, root, compute_manifest_id(manifest), manifest.length))
    return listed


def list_refused(bundle: Bundle) -> dict[str, Bundle]:
    """Return bundles that no reader accepts, by their fault."""
    entries = bundle.entries
    longer = BundleEntry("plan#000000", entries[0].digest, CHUNK_BYTES + 1)
    return {
        "a blob that must be there is missing": build_bundle(e for e in entries if e.name != "plan#000000"),
        "a second chunk after a short one": build_bundle((*entries, BundleEntry("plan#000001", ZERO, 1))),
        "a first chunk is missing": build_bundle((*entries, BundleEntry("state/4#000001", ZERO, 1))),
        "a chunk that is too long": build_bundle(longer if e.name == "plan#000000" else e for e in entries),
        "a name that leads elsewhere": build_bundle((*entries, BundleEntry("../plan#000000", ZERO, 1))),
        "a number with a leading zero": build_bundle((*entries, BundleEntry("state/04#000000", ZERO, 1))),
        "not sorted": msgspec.structs.replace(bundle, entries=entries[::-1]),
        "one entry twice": build_bundle((*entries, entries[0])),
        "a digest that is too short": build_bundle((*entries, BundleEntry("state/4#000000", bytes(31), 1))),
    }


def find_code(bundle: Bundle) -> str:
    """Return the code of the refusal of a bundle."""
    try:
        open_bundle(bundle)
    except MalformedEvidence as error:
        return error.code
    raise AssertionError("nothing refuses this bundle")


def describe_blob(length: int) -> dict[str, Any]:
    """Return the chunks of a blob of zeros, and its manifest."""
    entries = list_chunks("rows", bytes(length))
    manifest = build_manifest(entries)
    return {
        "length": length,
        "chunks": [[entry.name, entry.digest.hex(), entry.nbytes] for entry in entries],
        "manifest": encode(manifest).hex(),
        "id": compute_manifest_id(manifest).hex(),
    }


def render() -> str:
    """Return the text of the file."""
    bundle, checkpoints = make_bundle(), make_checkpoints()
    account, chain = sha256(b"account").digest(), sha256(b"chain").digest()
    committed = compute_checkpoints(checkpoints)
    content = {
        "contexts": [
            {
                "account": account.hex(),
                "chain_id": chain.hex(),
                "nonce": str(nonce),
                "context": compute_context(account, chain, nonce).hex(),
            }
            for nonce in (0, 1, 2**64 - 1)
        ],
        "blobs": [describe_blob(length) for length in LENGTHS],
        "bundle": {
            "bytes": encode(bundle).hex(),
            "digest": compute_bundle_digest(bundle).hex(),
            "total": compute_bundle_bytes(bundle),
        },
        "refused_bundles": [
            {"name": name, "bytes": encode(refused).hex(), "code": find_code(refused)}
            for name, refused in list_refused(bundle).items()
        ],
        "checkpoints": {
            "leaves": [encode(each).hex() for each in checkpoints],
            "size": committed.size,
            "root": committed.root.hex(),
            "paths": [
                [node.hex() for node in open_checkpoint(checkpoints, index).path] for index in range(len(checkpoints))
            ],
        },
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
