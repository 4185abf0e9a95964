"""Write `vectors/draw.json`: quorums, sub-quorums, samples and own intervals of a few draws.

Run as `python -m tools.draw_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from assay.protocol.encoding import encode
from assay.protocol.evidence.draw import (
    DrawFacts,
    Seat,
    compute_draw_id,
    draw_quorum,
    draw_sub_quorum,
    select_private,
    select_sample,
)

PATH = Path(__file__).resolve().parents[1] / "vectors" / "draw.json"

STAKES = {"equal stakes": (10,) * 12, "unequal stakes": (1, 1000, 30, 7, 4096, 5, 5, 100), "few": (3, 4)}
QUORUM, SUB_QUORUM, PRIVATE = 7, 5, 3


def compute_case(name: str) -> dict[str, Any]:
    """Return one case."""
    seats = sorted(
        (Seat(sha256(b"%s %d" % (name.encode(), i)).digest(), stake) for i, stake in enumerate(STAKES[name])),
        key=lambda seat: seat.account,
    )
    facts = DrawFacts(
        submission=sha256(name.encode()).digest(),
        availability_height=11,
        draw_height=13,
        beacon=sha256(b"beacon").digest(),
        snapshot_height=8,
        sample=4,
        intervals=30,
        sub_quorum=SUB_QUORUM,
        parameters=0,
    )
    draw = compute_draw_id(facts)
    quorum = draw_quorum(draw, seats, QUORUM)
    members = sorted(quorum, key=lambda seat: seat.account)
    secret = sha256(b"secret").digest()
    sub_quorum = draw_sub_quorum(draw, facts.beacon, 29, 0, members, SUB_QUORUM)
    return {
        "name": name,
        "seats": [[seat.account.hex(), seat.stake] for seat in seats],
        "facts": {
            key: value.hex() if isinstance(value, bytes) else value
            for key in facts.__struct_fields__
            for value in (getattr(facts, key),)
        },
        "bytes": encode(facts).hex(),
        "draw": draw.hex(),
        "quorum": [seat.account.hex() for seat in quorum],
        "sub_quorum": [seat.account.hex() for seat in sub_quorum],
        "sample": list(select_sample(draw, facts)),
        "secret": secret.hex(),
        "private": list(select_private(draw, secret, facts.intervals, PRIVATE)),
    }


def render() -> str:
    """Return the text of the file."""
    return json.dumps({"draws": [compute_case(name) for name in STAKES]}, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
