"""Records until it is killed; prints a line for each promise: `rows N`, `checkpoint S`, `blob HEX` or `log S`.

Arguments: the run; the seed of the groups' sizes.
"""

import random
import sys

from assay.storage.run_directory import RunDirectory
from assay.storage.run_layout import NotARun
from tests.storage.samples import make_digest, make_row, make_state


def report(*words):
    """Say what is durable, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def record(path, seed):
    """Go on with the run from the last row that is there."""
    rng = random.Random(seed)
    try:
        run = RunDirectory.open(path, write=True)
    except NotARun:
        run = RunDirectory.create(path)
    report("rows", run.steps.durable_rows)
    told = 0
    for step in range(run.rows + 1, 1_000_000):
        run.steps.append(make_row(step))
        if run.steps.durable_rows > told:
            told = run.steps.durable_rows
            report("rows", told)
        match rng.randrange(12):
            case 0:
                report("rows", run.steps.sync())
            case 1:
                run.checkpoints.write(step, **make_state(step))
                report("checkpoint", step)
                run.checkpoints.thin({*run.checkpoints.list_steps()[-3:]})
            case 2:
                report("blob", run.blobs.put(make_digest("blob", step) * 1000).hex())
            case 3:
                run.log.append({"step": step})
                run.log.sync()
                report("log", step)


if __name__ == "__main__":
    record(sys.argv[1], int(sys.argv[2]))
