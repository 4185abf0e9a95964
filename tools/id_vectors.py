"""Write `vectors/ids.json`: the bytes and ids of example records, and the roots of an example state.

Run as `python -m tools.id_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from pathlib import Path

from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.hashing import compute_id
from tools import example_records as examples

PATH = Path(__file__).resolve().parents[1] / "vectors" / "ids.json"

TAGS = {
    "profile": tags.PROFILE,
    "program": tags.PROGRAM,
    "plan, initialised": tags.PLAN,
    "plan, certified": tags.PLAN,
    "plan, declared": tags.PLAN,
    "start leaf": tags.START_LEAF,
    "step leaf": tags.STEP_LEAF,
    "closing record": tags.CLOSING_RECORD,
}


def render() -> str:
    """Return the text of the file."""
    content = {
        "records": [
            {
                "name": name,
                "kind": type(record).__name__,
                "tag": tag,
                "bytes": encode(record).hex(),
                "id": compute_id(tag, record).hex(),
            }
            for name, tag in TAGS.items()
            for record in (examples.EXAMPLES[name],)
        ],
        "state": {
            "records": [encode(record).hex() for record in examples.RECORDS],
            "aliases": encode(examples.ALIASES).hex(),
            "model_root": examples.MODEL_ROOT.hex(),
            "rest_root": examples.REST_ROOT.hex(),
            "state_root": examples.STATE_ROOT.hex(),
        },
        "transcript": {"size": examples.TRANSCRIPT.size, "root": examples.TRANSCRIPT.root.hex()},
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
