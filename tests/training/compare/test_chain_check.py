import shutil
from hashlib import sha256
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kernels import step_chain
from assay.protocol.evidence.transcript import StepParts
from assay.storage.step_rows import LogDamaged, frame_mark, frame_row
from assay.training.compare import chain_check
from assay.training.compare.chain_check import verify_chain
from assay.training.compare.runs import compare_runs
from assay.training.compare.side import Side, SideContradicts
from tests.chained_rows import PROGRAMS, ROWS, START, chain_rows


class Chained:
    """A run that consists of its rows alone."""

    def __init__(self, rows, path):
        self.path, self.start_id, self.program_ids = path, START, PROGRAMS
        self.frames, _ = chain_rows(rows)
        self.steps = len(self.frames)
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


@pytest.mark.parametrize("native", [True, False])
@given(rows=st.lists(ROWS, min_size=1, max_size=12), marks=st.sets(st.integers(0, 11)))
def test_rows_of_every_form_are_accepted(native, rows, marks):
    """Where the leaves follow by the rules, natively and without; marks may stand anywhere."""
    run = Chained(rows, "run")
    for number in marks:
        run.frames[number % len(rows)] += frame_mark(number)
    with patch.object(step_chain, "_bind", step_chain._bind if native else lambda: None):
        told = []
        verify_chain(run, lambda done, total: told.append((done, total)))
    assert told == []


def test_progress_is_told(monkeypatch):
    """Every so many rows, how many are done of how many."""
    monkeypatch.setattr(chain_check, "PROGRESS_EVERY", 10)
    row = StepParts(0, 0, b"", b"m" * 32, b"c" * 32, bytes(8), (b"loss",), b"l" * 32, b"", b"")
    told = []
    verify_chain(Chained([row] * 25, "run"), lambda done, total: told.append((done, total)))
    assert told == [(10, 25), (20, 25)]


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
