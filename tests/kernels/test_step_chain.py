import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from assay.kernels import step_chain
from assay.kernels.step_chain import DAMAGED, DIFFERS, END, MARK, OTHER, RowWalk
from assay.protocol.evidence.transcript import StepParts
from assay.storage.step_rows import frame_mark
from tests.chained_rows import PROGRAMS, ROWS, START, chain_rows

USUAL = StepParts(0, 1, b"", b"m" * 32, b"c" * 32, None, (b"loss",), b"l" * 32, b"", b"")
CHANGES = [
    {},
    {"state_root": b"s" * 32},
    {"scalars": bytes(range(48))},
    {"scalars": bytes(248), "loss": (b"x" * 64,)},
    {"scalars": b"", "loss": (b"",), "program": 0},
]


def make_rows(count):
    """Return rows in their most usual form."""
    return [msgspec.structs.replace(USUAL, **CHANGES[number % len(CHANGES)]) for number in range(count)]


def walk_along(data, end=None, rows=10**6, first=1):
    """Return a walk after `verify`, and what that said."""
    walk = RowWalk(data, PROGRAMS, START)
    walk._chain.step = first - 1
    return walk, walk.verify(len(data) if end is None else end, rows)


@pytest.mark.parametrize("first", [1, 100, 127, 128, 255, 256, 65_500, 65_536, 2**32 - 5, 2**32, 2**62])
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
def test_usual_rows_hold(variant, count, first):
    """Groups of every size, and numbers of one to nine bytes; the walk ends behind the last row with its leaf."""
    frames, leaves = chain_rows(make_rows(count), first)
    data = b"".join(frames)
    walk, found = walk_along(data, first=first)
    assert (found, walk.step, walk.position, walk.leaf) == (END, first + count - 1, len(data), leaves[-1])


def test_it_stops_where_it_is_told(variant):
    """After so many rows, or at the end of what may be read, and goes on from there."""
    frames, leaves = chain_rows(make_rows(150))
    data = b"".join(frames) + b"rest"
    walk = RowWalk(data, PROGRAMS, START)
    for rows, step in ((0, 0), (1, 1), (63, 64), (70, 134), (1000, 150)):
        assert walk.verify(len(data) - 4, rows) == END
        assert walk.step == step
        assert walk.leaf == (leaves[step - 1] if step else START)
    assert walk.verify(len(data) - 4, 5) == END
    with pytest.raises(ValueError, match="does not lie between"):
        walk.verify(len(data) + 1, 1)


def test_marks_and_other_forms_are_left_to_the_caller(variant):
    """It stops before a mark and before a row in another form; behind them it goes on with the caller's word."""
    rows = make_rows(12)
    rows[5] = msgspec.structs.replace(rows[5], loss=(b"one", b"two"), scalars=b"\x02" * 8)
    frames, leaves = chain_rows(rows)
    frames[3] += frame_mark(3)
    data = b"".join(frames)
    walk, found = walk_along(data)
    assert (found, walk.step) == (MARK, 4)
    walk.skip(walk.position + len(frame_mark(3)))
    assert (walk.verify(len(data), 100), walk.step) == (OTHER, 5)
    scalars = b"s" * 32
    walk.accept(walk.position + len(frames[5]), leaves[5], scalars)
    assert walk.scalars == scalars
    assert (walk.verify(len(data), 100), walk.step) == (DIFFERS, 6)  # row 7 keeps the scalars, which are others


def test_a_first_row_without_scalars_is_not_taken(variant):
    """There is no row before it whose scalars it could keep."""
    frames, _ = chain_rows(make_rows(2))
    assert walk_along(frames[1], first=2)[1] == OTHER


@given(
    rows=st.lists(ROWS, min_size=1, max_size=5), place=st.integers(0, 10**6), bit=st.integers(0, 7), fit=st.booleans()
)
def test_a_changed_bit_is_never_taken(rows, place, bit, fit):
    """Unless it lies in the kept bytes of a returned tensor; with and without a check that fits again."""
    frames, _ = chain_rows([*make_rows(3), *rows])
    number = place % 3
    changed = bytearray(frames[number])
    at = place % (len(changed) - 12) + 4
    changed[at] ^= 1 << bit
    if fit:
        changed[-8:] = blake3(bytes(changed[:-8])).digest(8)
        loss = len(changed) - 8 - 70 - 4
        if loss <= at < loss + 4:
            return
    frames[number] = bytes(changed)
    walk, found = walk_along(b"".join(frames))
    assert walk.step == number
    assert found in {OTHER, MARK, DAMAGED, DIFFERS}


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_are_read_within_their_bounds(data, cut):
    """Arbitrary bytes, and honest rows cut short, end the walk; a sanitizer sees that nothing else is read."""
    frames, _ = chain_rows(make_rows(4))
    whole = b"".join(frames)
    for bytes_ in (data, whole[: len(whole) - cut % len(whole)], whole[:-1] + data):
        walk, found = walk_along(bytes_)
        assert walk.position <= len(bytes_)
        assert found in {END, OTHER, MARK, DAMAGED, DIFFERS}


def test_without_the_library(monkeypatch):
    """Everything is left to the caller."""
    monkeypatch.setattr(step_chain, "_bind", lambda: None)
    frames, _ = chain_rows(make_rows(2))
    assert not step_chain.is_available()
    assert walk_along(frames[0])[1] == OTHER
    assert walk_along(frame_mark(0))[1] == MARK
