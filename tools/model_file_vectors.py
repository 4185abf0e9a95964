"""Write `vectors/model_file.json`: model files that hold, and files that are refused.

Run as `python -m tools.model_file_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from assay.certificate.model_file import compute_file_root, scan_model
from tests.certificate.cases import ALIASES, make_model_file
from tests.certificate.test_model_file import BUFFERS, PARAMETERS, REFUSED

PATH = Path(__file__).resolve().parents[1] / "vectors" / "model_file.json"
LONGEST = 1024


def render() -> str:
    """Return the text of the file."""
    data = make_model_file()
    scanned = scan_model(io.BytesIO(data))
    content = {
        "file": data.hex(),
        "sha256": scanned.sha256.hex(),
        "tensors": [
            {"name": t.spec.name, "dtype": t.spec.dtype, "shape": list(t.spec.shape), "blake3": t.digest.hex()}
            for t in scanned.tensors
        ],
        "parameters": PARAMETERS,
        "buffers": BUFFERS,
        "aliases": [{"name": alias.name, "target": alias.target} for alias in ALIASES.aliases],
        "model_root": compute_file_root(scanned.tensors, PARAMETERS, BUFFERS, ALIASES).hex(),
        "refused": [{"name": name, "file": data.hex()} for name, data in REFUSED.items() if len(data) <= LONGEST],
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
