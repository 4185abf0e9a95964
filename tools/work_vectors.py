"""Write `vectors/work.json`: which values of a program enter a work digest, work keys, and digests.

Run as `python -m tools.work_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from assay.protocol.encoding import encode
from assay.protocol.evidence.program import (
    INFERENCE,
    Node,
    Program,
    StateInput,
    StateOutput,
    Value,
    compute_program_id,
)
from assay.protocol.evidence.votes import compute_work_key
from assay.protocol.evidence.work import choose_values
from assay.training.work_digest import WorkHasher
from tools import example_records as examples

PATH = Path(__file__).resolve().parents[1] / "vectors" / "work.json"

STEPS: dict[int, dict[int, bytes]] = {
    5: {7: b"", 3: bytes(4), 12: bytes(range(256)) * 5},
    6: {},
    7: {300: sha256(b"value").digest(), 4: b"\xff" * 64},
}
"""Bytes of the values that each step computes, in the order in which they are made."""


PARAMETERS = 10


def make_wide_program() -> Program:
    """Return a step of ten parameters, so that more values are eligible than are chosen.

    Parameter i becomes p_i + batch · p_i, and twice as many values depend on the batch alone.
    """
    kind, batch = examples.VECTOR, PARAMETERS
    gradients, news = range(batch + 1, 2 * batch + 1), range(2 * batch + 1, 3 * batch + 1)
    last = 5 * batch + 1
    nodes = [Node("aten.mul.Tensor", (Value(batch), Value(number)), (), (kind,)) for number in range(PARAMETERS)]
    nodes += [Node("aten.add.Tensor", (Value(n), Value(g)), (), (kind,)) for n, g in enumerate(gradients)]
    for number in range(news[-1] + 1, last + 1):
        before = batch if number == news[-1] + 1 else number - 1
        nodes.append(Node("aten.add.Tensor", (Value(before), Value(batch)), (), (kind,)))
    return Program(
        version=0,
        kind=examples.PROGRAM.kind,
        state=tuple(StateInput(0, f"0/p{number}", kind) for number in range(PARAMETERS)),
        batch=(kind,),
        constants=(),
        scalars=0,
        nodes=tuple(nodes),
        state_outputs=tuple(StateOutput(0, f"0/p{i}", new) for i, new in enumerate(news)),
        results=(last,),
    )


def describe_program(name: str, program: Program) -> dict[str, Any]:
    """Return a program and the values that are chosen from it."""
    return {
        "name": name,
        "program": encode(program).hex(),
        "id": compute_program_id(program).hex(),
        "chosen": list(choose_values(program)),
    }


def describe_digest(key: bytes, steps: dict[int, dict[int, bytes]]) -> dict[str, Any]:
    """Return what some steps compute, and its digest."""
    hasher = WorkHasher()
    hasher.begin(key)
    for step, values in steps.items():
        for number, data in values.items():
            hasher.observe(number, memoryview(data))
        hasher.end_step(step)
    shown = [
        {"step": step, "values": [[number, data.hex()] for number, data in values.items()]}
        for step, values in steps.items()
    ]
    return {"key": key.hex(), "steps": shown, "digest": hasher.finish().hex()}


def render() -> str:
    """Return the text of the file."""
    draw, accounts = sha256(b"draw").digest(), [sha256(b"one").digest(), sha256(b"other").digest()]
    keys = {account: compute_work_key(draw, account) for account in accounts}
    content = {
        "keys": [{"draw": draw.hex(), "account": account.hex(), "key": key.hex()} for account, key in keys.items()],
        "programs": [
            describe_program("a step", examples.PROGRAM),
            describe_program("more eligible values than are chosen", make_wide_program()),
            describe_program("the same as inference", msgspec.structs.replace(examples.PROGRAM, kind=INFERENCE)),
        ],
        "digests": [
            *(describe_digest(key, STEPS) for key in keys.values()),
            describe_digest(keys[accounts[0]], {}),
        ],
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
