"""Replays a finished run in this process, from its start and from every checkpoint to the next: prints equal, all."""

from __future__ import annotations

import sys
from itertools import pairwise

from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.profile import apply_profile, tune_allocator
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer


def main() -> int:
    """Replay the run whose folder is the first argument."""
    tune_allocator()
    run = RecordedRun(sys.argv[1])
    apply_profile(run.profile)
    replayer = Replayer(run, TorchBackend(run.start.aliases))
    stops = sorted({0, *run.directory.checkpoints.list_steps(), run.steps})
    equal = 0
    for base, end in pairwise(stops):
        replayer.load(base)
        difference = replayer.replay(base, end)
        if difference is None:
            equal += 1
        else:
            sys.stderr.write(f"from {base}: step {difference.step} differs in {', '.join(difference.parts)}\n")
    print(equal, len(stops) - 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
