import shutil
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.protocol.evidence.transcript import StepParts, compute_step_id, rebuild_leaf
from assay.storage.step_rows import LogDamaged, frame_row
from assay.training.compare.chain_check import verify_chain
from assay.training.compare.runs import compare_runs
from assay.training.compare.side import Side, SideContradicts

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


class Chained:
    """A run that consists of its rows alone."""

    def __init__(self, rows, path, first=1):
        self.path, self.start_id = path, sha256(b"start").digest()
        self.program_ids = [sha256(bytes([number])).digest() for number in range(3)]
        previous, scalars, frames = self.start_id, b"\x01" * 8, []
        for number, given_row in enumerate(rows):
            scalars = given_row.scalars if given_row.scalars is not None else scalars
            kept = given_row.scalars if number else scalars
            row = msgspec.structs.replace(given_row, step=first + number, scalars=kept)
            leaf = compute_step_id(rebuild_leaf(row, self.program_ids[row.program], previous, scalars))
            previous = leaf
            frames.append(frame_row(msgspec.structs.replace(row, leaf=leaf)))
        self.frames, self.steps = frames, len(frames)
        self.log = self

    def map_all(self):
        return b"".join(self.frames)

    @property
    def end(self):
        return len(self.map_all())

    def make_damaged(self, step, actual):
        return LogDamaged(f"behind step {step}", actual=actual)

    def get_program_id(self, index):
        if index >= len(self.program_ids):
            raise SideContradicts("no such program")
        return self.program_ids[index]


@given(rows=st.lists(ROWS, min_size=1, max_size=12))
def test_the_quick_path_agrees_with_the_rules(rows):
    """Rows of every form are accepted where the leaves follow by the slow rules."""
    verify_chain(Chained(rows, "run"))


@given(rows=st.lists(ROWS, min_size=2, max_size=6), place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_any_changed_bit_of_a_row_with_a_fitting_check_is_found(rows, place, bit):
    """A forger who changes one bit of a row and makes its check fit again is found by the leaf or the form.

    The bytes of a returned tensor are the exception: the leaf holds their root, and they are judged by replay.
    """
    run = Chained(rows, "run")
    payload = bytearray(run.frames[0][4:-8])
    original = msgspec.msgpack.decode(bytes(payload), type=StepParts)
    payload[place % len(payload)] ^= 1 << bit
    try:
        changed = msgspec.msgpack.decode(bytes(payload), type=StepParts)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        changed = None
    if changed is not None and msgspec.structs.replace(changed, loss=original.loss) == original:
        return
    from blake3 import blake3

    framed = len(payload).to_bytes(4, "little") + bytes(payload)
    run.frames[0] = framed + blake3(framed).digest(8)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - one of several classes of ours
        verify_chain(run)
    assert type(caught.value).__module__.startswith("assay.")


def test_rows_after_the_millionth_step_are_numbered_rightly():
    """The integers of steps have one, two, three and five bytes."""
    from assay.training.compare.chain_check import _encode_step

    for step in (1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**62):
        assert _encode_step(step) == msgspec.msgpack.encode(step)


def test_a_false_leaf_is_believed_unless_verified(base, tmp_path):
    """A row whose loss was replaced, with a fitting check and its old leaf: only recomputing the leaves finds it."""
    shutil.copytree(base, tmp_path / "forged")
    side = Side(base)
    rows = [msgspec.msgpack.decode(payload, type=StepParts) for payload in side.log.iterate()]
    rows[5] = msgspec.structs.replace(rows[5], loss_root=sha256(b"other").digest())
    (tmp_path / "forged" / "steps.log").write_bytes(b"".join(map(frame_row, rows)))
    assert compare_runs(base, tmp_path / "forged").equal
    verify_chain(side)
    with pytest.raises(SideContradicts, match="leaf of step 6"):
        verify_chain(Side(tmp_path / "forged"))
