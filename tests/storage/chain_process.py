"""Commits blocks until it is killed; prints `height N` for each block that the database reported as committed.

Arguments: the folder of the chain.
"""

import sys
from hashlib import sha256

from assay.storage.chain import ChainDatabase, ChainMissing
from assay.storage.chain_reads import StoredBlock, StoredTransaction


def make_digest(*parts):
    """Return 32 bytes that follow from the parts."""
    return sha256(repr(parts).encode()).digest()


def make_block(height):
    """Return a block of some transactions that follows from its height alone."""
    transactions = tuple(
        StoredTransaction(make_digest("id", height, i), make_digest("data", height, i) * 6, b"ok", "message")
        for i in range(20)
    )
    return StoredBlock(
        height, make_digest("block", height), make_digest("header", height) * 8, b"seal", b"[]", transactions
    )


def make_path(name):
    """Return the path of a name."""
    return sha256(name).digest()


HEIGHT = make_path(b"height")


def make_changes(height):
    """Return what a block changes: 60 random paths of a thousand, and the path that names the height."""
    changes = {
        make_path(b"%d" % (int.from_bytes(make_digest(height, i)[:2], "big") % 1000)): b"%d" % height for i in range(60)
    }
    return {**changes, HEIGHT: b"%d" % height, make_path(b"g%d" % height): b"x", make_path(b"g%d" % (height - 1)): None}


def expect_state(height):
    """Return the whole state after a block, by replaying all changes into a dictionary."""
    state = {HEIGHT: b"0"}
    for each in range(1, height + 1):
        for key, value in make_changes(each).items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
    return state


def main(folder):
    """Go on with the chain from where it stands."""
    try:
        chain = ChainDatabase.open(folder)
    except ChainMissing:
        chain = ChainDatabase.create(folder, {"genesis": b"g"}, {HEIGHT: b"0"})
    height = chain.reads.read_height()
    sys.stdout.write(f"height {height}\n")
    sys.stdout.flush()
    while True:
        height += 1
        chain.commit(make_block(height), make_changes(height))
        sys.stdout.write(f"height {height}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    from pathlib import Path

    main(Path(sys.argv[1]))
