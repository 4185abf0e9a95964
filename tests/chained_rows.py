"""Rows of a log whose leaves follow from one another, in every form that a row can have."""

from hashlib import sha256

import msgspec
from hypothesis import strategies as st

from assay.protocol.evidence.transcript import StepParts, compute_step_id, rebuild_leaf
from assay.storage.step_rows import frame_row

START = sha256(b"start").digest()
PROGRAMS = [sha256(bytes([number])).digest() for number in range(3)]

DIGESTS = st.binary(min_size=32, max_size=32).filter(any)
ROWS = st.builds(
    StepParts,
    step=st.just(0),
    program=st.integers(0, 2),
    state_root=st.one_of(st.just(b""), DIGESTS),
    membership=DIGESTS,
    content=DIGESTS,
    scalars=st.one_of(st.none(), st.integers(0, 40).map(lambda count: bytes(8 * count))),
    loss=st.lists(st.binary(max_size=64), max_size=3).map(tuple),
    loss_root=DIGESTS,
    events=st.one_of(st.just(b""), DIGESTS),
    leaf=st.just(b""),
)


def chain_rows(rows, first=1):
    """Return the frames of rows as they stand in a log, the first one of step `first`, and the ids of their leaves."""
    previous, scalars, frames, leaves = START, b"\x01" * 8, [], []
    for number, given_row in enumerate(rows):
        scalars = given_row.scalars if given_row.scalars is not None else scalars
        kept = given_row.scalars if number else scalars
        row = msgspec.structs.replace(given_row, step=first + number, scalars=kept)
        previous = compute_step_id(rebuild_leaf(row, PROGRAMS[row.program], previous, scalars))
        leaves.append(previous)
        frames.append(frame_row(msgspec.structs.replace(row, leaf=previous)))
    return frames, leaves
