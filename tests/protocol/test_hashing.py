import hashlib
import json
import re
from pathlib import Path

import blake3

from assay.protocol import hashing, tags
from assay.protocol.encoding import decode
from assay.protocol.evidence import model_state
from tests.protocol.test_encoding import KINDS
from tools import id_vectors

VECTORS = json.loads(id_vectors.PATH.read_text(encoding="utf-8"))
TAGS = {name: number for name, number in vars(tags).items() if name.isupper()}


def test_tags_are_those_of_the_table():
    """HSH-2: each tag has one number, no number has two tags, and the chapter lists exactly these."""
    chapter = (Path(__file__).parents[2] / "spec" / "hashing.md").read_text(encoding="utf-8")
    table = {name: int(number) for name, number in re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", chapter, re.MULTILINE)}
    assert table == TAGS
    assert len(set(TAGS.values())) == len(TAGS)
    assert all(0 < number < 2**16 for number in TAGS.values())


def test_ids_of_the_vectors():
    """HSH-1, PRG-1, PLN-1, TRN-1: an id is SHA-256 of two bytes of tag and the record's bytes."""
    for case in VECTORS["records"]:
        data = bytes.fromhex(case["bytes"])
        expected = hashlib.sha256(bytes([case["tag"], 0]) + data).hexdigest()
        assert case["id"] == expected == hashing.compute_id(case["tag"], decode(data, KINDS[case["kind"]])).hex()


def test_roots_of_the_vectors():
    """MST-7, MST-8: model root, rest root and state root follow from the records."""
    state = VECTORS["state"]
    records = [decode(bytes.fromhex(data), model_state.TensorRecord) for data in state["records"]]
    aliases = decode(bytes.fromhex(state["aliases"]), model_state.AliasTable)
    assert model_state.compute_model_root(records, aliases).hex() == state["model_root"]
    assert model_state.compute_rest_root(records).hex() == state["rest_root"]
    assert model_state.compute_state_root(records, aliases).hex() == state["state_root"]


def test_bulk_digest_is_plain_blake3():
    """HSH-3: BLAKE3 of the raw bytes, 32 bytes, no key, from any contiguous buffer."""
    data = bytes(range(256)) * 9
    assert hashing.compute_bulk_digest(data) == blake3.blake3(data).digest()
    assert hashing.compute_bulk_digest(memoryview(bytearray(data))) == hashing.compute_bulk_digest(data)
    assert hashing.compute_bulk_digest(b"").hex().startswith("af1349b9f5f9a1a6")


def test_none_is_32_zero_bytes():
    """HSH-4: the digest that stands for none."""
    assert bytes(32) == hashing.ZERO
