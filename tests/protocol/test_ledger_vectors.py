import json
from hashlib import sha256

from assay.protocol.blocks import (
    Genesis,
    compute_chain_id,
    decode_block,
    get_position,
    get_start,
    verify_header,
)
from assay.protocol.encoding import decode
from assay.protocol.ledger_proofs import OtherLeaf, StateProof, hash_key, verify_state_proof
from assay.protocol.seals.solo import verify_seal
from assay.protocol.transactions import open_transaction
from tests.protocol import second_decoder, state_oracle
from tools import ledger_vectors

VECTORS = json.loads(ledger_vectors.PATH.read_text(encoding="utf-8"))
GENESIS = decode(bytes.fromhex(VECTORS["genesis"]), Genesis)
BLOCKS = [decode_block(bytes.fromhex(case["block"]), GENESIS.parameters) for case in VECTORS["blocks"]]


def test_the_chain_of_the_vectors():
    """BLK-1, BLK-5, BLK-11, BLK-12, TXN-5: each header follows, each seal and signature holds."""
    position = get_start(GENESIS)
    assert compute_chain_id(GENESIS).hex() == position.chain_id.hex() == VECTORS["chain_id"]
    for block, case in zip(BLOCKS, VECTORS["blocks"], strict=True):
        verify_header(position, block.header)
        verify_seal(GENESIS, block.header, block.seal)
        position = get_position(block.header)
        assert (position.beacon.hex(), block.header.state_root.hex()) == (case["beacon"], case["state_root"])
        ids = [open_transaction(position.chain_id, data, 2**16).id.hex() for data in block.transactions]
        assert ids == [result["id"] for result in case["results"]]
    assert [result["code"] for result in VECTORS["blocks"][1]["results"]] == ["account.unaffordable", ""]


def test_the_state_of_the_vectors():
    """LST-1, LST-2, LST-3: a second implementation of the tree gives the root of the last header."""
    leaves = {
        sha256(bytes.fromhex(key)).digest(): sha256(bytes.fromhex(value)).digest()
        for key, value in VECTORS["state"].items()
    }
    assert state_oracle.hash_tree(leaves) == BLOCKS[-1].header.state_root


def test_the_proofs_of_the_vectors():
    """LST-5, LST-6: every value is proven, and so is every absence, in both of its forms."""
    forms = set()
    for case in VECTORS["proofs"]:
        key = bytes.fromhex(case["key"])
        value = None if case["value"] is None else bytes.fromhex(case["value"])
        other = case["other"] and OtherLeaf(*map(bytes.fromhex, case["other"]))
        proof = StateProof(tuple(map(bytes.fromhex, case["siblings"])), other)
        contract = int.from_bytes(key[:2], "little")
        assert hash_key(key).hex() == case["path"]
        verify_state_proof(BLOCKS[-1].header.state_root, contract, key[2:], value, proof)
        forms.add((value is None, other is None))
    assert forms == {(False, True), (True, True), (True, False)}


def test_a_second_decoder_reads_the_same():
    """TXN-1, BLK-5: genesis, blocks and transactions, read by a decoder that shares no line with ours."""
    genesis = second_decoder.read(bytes.fromhex(VECTORS["genesis"]))
    assert genesis[1] == "vectors"
    assert genesis[3][0] == "solo"
    for block, case in zip(BLOCKS, VECTORS["blocks"], strict=True):
        version, header, transactions, seal = second_decoder.read(bytes.fromhex(case["block"]))
        assert (version, header[2], tuple(transactions), seal) == (
            0,
            block.header.height,
            block.transactions,
            block.seal,
        )
        for data in transactions:
            unsigned, signature = second_decoder.read(data)
            assert len(signature) == 64
            assert second_decoder.read(unsigned)[4][0] in {"transfer", "deposit-stake"}
