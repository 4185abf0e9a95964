"""Write `vectors/ledger.json`: a short chain, its state, and proofs about it.

Run as `python -m tools.ledger_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.accounts import account_key
from assay.protocol.contracts.stake_records import DepositStake
from assay.protocol.encoding import encode
from assay.protocol.ledger_proofs import StateProof, hash_key
from experiments.simulation.world import World, make_actor, make_parameters

PATH = Path(__file__).resolve().parents[1] / "vectors" / "ledger.json"


def build_world() -> World:
    """Return a ledger with three blocks: two transfers, a refused one and a deposit, nothing."""
    alice, bob, carol = (make_actor(name) for name in ("alice", "bob", "carol"))
    world = World(make_parameters(), (alice, bob), name="vectors", length=16)
    world.send(alice, Transfer(carol.account, 500))
    world.send(bob, Transfer(alice.account, 1))
    world.make_block()
    world.send(carol, Transfer(bob.account, 10_000))
    world.send(alice, DepositStake(5_000))
    world.make_block()
    world.make_block()
    return world


def render_proof(world: World, key: bytes) -> dict[str, Any]:
    """Return the proof of one key under the last state root."""
    answer = world.application.query(key, prove=True)
    proof = answer.proof or StateProof((), None)
    return {
        "key": key.hex(),
        "path": hash_key(key).hex(),
        "value": None if answer.value is None else answer.value.hex(),
        "siblings": [sibling.hex() for sibling in proof.siblings],
        "other": None if proof.other is None else [proof.other.path.hex(), proof.other.value_hash.hex()],
    }


def render() -> str:
    """Return the text of the file."""
    world = build_world()
    absent = [account_key(bytes([i]) * 32) for i in range(6)]
    content = {
        "genesis": encode(world.genesis).hex(),
        "chain_id": world.chain_id.hex(),
        "blocks": [
            {
                "block": encode(block).hex(),
                "results": [
                    {"id": result.transaction.hex(), "code": result.code, "charged": result.charged, "fee": result.fee}
                    for result in finalized.results
                ],
                "state_root": block.header.state_root.hex(),
                "beacon": block.header.beacon.hex(),
            }
            for block, finalized in zip(world.engine.blocks, world.engine.finalized, strict=True)
        ],
        "state": {key.hex(): value.hex() for key, value in sorted(world.store.values.items())},
        "proofs": [render_proof(world, key) for key in [*sorted(world.store.values), *absent]],
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
