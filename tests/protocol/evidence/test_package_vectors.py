"""`vectors/package.json`, read by a few lines that share nothing with the code that wrote it but the libraries."""

import json
from hashlib import sha256

import pytest
from blake3 import blake3

from assay.errors import MalformedEvidence, VerificationError
from assay.protocol import tags
from assay.protocol.encoding import decode
from assay.protocol.evidence.bundle import Bundle
from assay.protocol.evidence.package import open_bundle
from assay.protocol.merkle import MerkleRoot, hash_leaf, verify_inclusion
from tests.protocol import second_decoder
from tools import package_vectors

VECTORS = json.loads(package_vectors.PATH.read_text(encoding="utf-8"))
MIB = 2**20


def number(tag):
    """Return the bytes of a tag."""
    return tag.to_bytes(2, "little")


def test_contexts():
    """PKG-7: SHA-256 of tag, account, chain id and nonce."""
    for case in VECTORS["contexts"]:
        account, chain = bytes.fromhex(case["account"]), bytes.fromhex(case["chain_id"])
        data = number(tags.CONTEXT) + account + chain + int(case["nonce"]).to_bytes(8, "little")
        assert sha256(data).hexdigest() == case["context"]


def test_chunks_and_manifests():
    """PKG-1, PKG-2: chunks of 2²⁰ bytes, at least one; the manifest lists their digests, and its id has its tag."""
    for case in VECTORS["blobs"]:
        blob = bytes(case["length"])
        chunks = [blob[start : start + MIB] for start in range(0, len(blob), MIB)] or [b""]
        assert case["chunks"] == [
            [f"rows#{place:06}", blake3(chunk).hexdigest(), len(chunk)] for place, chunk in enumerate(chunks)
        ]
        data = bytes.fromhex(case["manifest"])
        assert second_decoder.read(data) == [0, MIB, len(blob), [blake3(chunk).digest() for chunk in chunks]]
        assert sha256(number(tags.MANIFEST) + data).hexdigest() == case["id"]


def test_the_bundle():
    """PKG-3, PKG-4: sorted bytewise by name, named by BLAKE3; every blob of it holds its own name."""
    case = VECTORS["bundle"]
    data = bytes.fromhex(case["bytes"])
    version, entries = second_decoder.read(data)
    names = [name for name, _, _ in entries]
    assert (version, names) == (0, sorted(names))
    for name, digest, length in entries:
        blob = name.removesuffix("#000000").encode()
        assert (digest, length) == (blake3(blob).digest(), len(blob))
    assert blake3(data).hexdigest() == case["digest"]
    assert sum(length for _, _, length in entries) == case["total"]
    assert len(open_bundle(decode(data, Bundle))) == len(entries)


@pytest.mark.parametrize("case", VECTORS["refused_bundles"], ids=lambda case: case["name"])
def test_refused_bundles(case):
    """PKG-1, PKG-3, PKG-4: none of them can be opened, and the refusal has the stated code."""
    with pytest.raises(MalformedEvidence) as refused:
        open_bundle(decode(bytes.fromhex(case["bytes"]), Bundle))
    assert refused.value.code == case["code"]


def test_checkpoints():
    """PKG-5: each entry stands in the committed list, and nowhere else in it."""
    case = VECTORS["checkpoints"]
    committed = MerkleRoot(tags.CHECKPOINT_TREE, case["size"], bytes.fromhex(case["root"]))
    assert len(case["leaves"]) == len(case["paths"]) == case["size"]
    for place, (leaf, path) in enumerate(zip(case["leaves"], case["paths"], strict=True)):
        hashed, nodes = hash_leaf(tags.CHECKPOINT_TREE, bytes.fromhex(leaf)), tuple(map(bytes.fromhex, path))
        verify_inclusion(committed, hashed, place, nodes)
        with pytest.raises(VerificationError):
            verify_inclusion(committed, hashed, (place + 1) % case["size"], nodes)
