"""The process in which the doctor runs a user's script for a few steps.

Usage: `python -m assay.verification.trial_process REPORT MEMORY_BYTES MODE STEPS KILL_AT FOLDER SCRIPT [WORDS…]`. The
report is one JSON object in the file REPORT; there is none if the process was killed.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import msgspec

from assay.verification.memory_bound import limit_memory


def main(words: list[str]) -> None:
    """Run one trial and write its report."""
    report, memory, mode, steps, kill_at, folder, script, *arguments = words
    from assay.training.pytorch.trial import Trial

    limit_memory(int(memory))
    seen = Trial(Path(script), arguments, mode, int(steps), Path(folder), int(kill_at)).run()
    Path(report).write_bytes(msgspec.json.encode(dataclasses.asdict(seen)))


if __name__ == "__main__":
    main(sys.argv[1:])
