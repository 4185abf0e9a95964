"""Write `vectors/merkle.json`: trees of 0 to 17 leaves with all proofs, and proofs that must be refused.

Run as `python -m tools.merkle_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assay.protocol import tags
from assay.protocol.merkle import compute_path, compute_root, hash_leaf, hash_node

PATH = Path(__file__).resolve().parents[1] / "vectors" / "merkle.json"
TAG = tags.TRANSCRIPT_TREE
LEAVES = [bytes([number]) * number for number in range(17)]
HASHES = [hash_leaf(TAG, leaf) for leaf in LEAVES]


def make_tree(size: int) -> dict[str, Any]:
    """Return the tree over the first leaves, with the path of each."""
    hashes = HASHES[:size]
    paths = [[sibling.hex() for sibling in compute_path(TAG, hashes, index)] for index in range(size)]
    return {"size": size, "root": compute_root(TAG, hashes).hex(), "paths": paths}


def make_refused() -> list[dict[str, Any]]:
    """Return proofs about trees above that do not hold."""
    node = hash_node(TAG, HASHES[0], HASHES[1])
    five, four = list(compute_path(TAG, HASHES[:5], 4)), list(compute_path(TAG, HASHES[:4], 0))
    cases = [
        ("the index of another leaf", 4, 1, HASHES[0], compute_path(TAG, HASHES[:4], 0), "merkle.inclusion"),
        ("another leaf", 4, 0, HASHES[1], compute_path(TAG, HASHES[:4], 0), "merkle.inclusion"),
        ("an index beyond the end", 4, 4, HASHES[3], compute_path(TAG, HASHES[:4], 3), "merkle.leaf-index"),
        ("a negative index", 4, -1, HASHES[3], compute_path(TAG, HASHES[:4], 3), "merkle.leaf-index"),
        ("any leaf of an empty tree", 0, 0, HASHES[0], (), "merkle.leaf-index"),
        ("a path that is too short", 4, 0, HASHES[0], four[:1], "merkle.path-length"),
        ("a path that is too long", 4, 0, HASHES[0], [*four, HASHES[0]], "merkle.path-length"),
        ("a node in place of a leaf, path cut", 4, 0, node, four[1:], "merkle.path-length"),
        ("a node in place of a leaf, as if of two leaves", 4, 0, node, [four[1], four[1]], "merkle.inclusion"),
        ("the odd leaf paired with itself", 5, 4, HASHES[4], [HASHES[4], *five], "merkle.path-length"),
        ("an entry of 31 bytes", 4, 0, HASHES[0], [four[0][:31], four[1]], "merkle.path-length"),
        ("an entry of 64 bytes", 4, 0, HASHES[0], [four[0] + four[1], b""], "merkle.path-length"),
    ]
    return [
        {
            "name": name,
            "size": size,
            "index": index,
            "leaf_hash": leaf.hex(),
            "path": [entry.hex() for entry in path],
            "code": code,
        }
        for name, size, index, leaf, path, code in cases
    ]


def render() -> str:
    """Return the text of the file."""
    content = {
        "tag": TAG,
        "leaves": [leaf.hex() for leaf in LEAVES],
        "leaf_hashes": [leaf.hex() for leaf in HASHES],
        "trees": [make_tree(size) for size in range(18)],
        "refused": make_refused(),
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
