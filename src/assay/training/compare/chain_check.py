"""Recomputing every leaf of a run from its rows: what a comparison does that believes nothing.

A row in its most usual form holds its leaf's bytes nearly as they are hashed, so the leaf is put together from slices
of the row; any other row is decoded and rebuilt by `transcript.rebuild_leaf`, which is the oracle of the quick path.

Source: `spec/transcript.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from blake3 import blake3

from assay.kernels.sha256 import compute_digests
from assay.protocol import tags
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.transcript import StepParts, rebuild_leaf
from assay.protocol.evidence.transcript_rules import MAX_LOSS_BYTES, verify_step_parts
from assay.protocol.hashing import ZERO, compute_digest, tag_bytes
from assay.storage.step_rows import CHECK_BYTES, MARK_BYTES, MAX_ROW_BYTES, parse_mark
from assay.training.compare.side import Side, SideContradicts

_TOGETHER: Final = 4096
PROGRESS_EVERY: Final = 10_000
_DIGEST: Final = b"\xc4\x20"
_NONE: Final = _DIGEST + ZERO
_ONE_LOSS: Final = b"\x91\xc4"
_NO_EVENTS: Final = b"\xc4\x00\xc4\x20"
_HEAD: Final = tag_bytes(tags.STEP_LEAF) + b"\x9a\x00"


def verify_chain(side: Side, progress: Callable[[int, int], None] | None = None) -> None:
    """Check that every row is as it was written, and that every leaf follows from its row and the leaf before.

    Args:
        side: a run.
        progress: is told how many rows are done, of how many.

    Raises:
        LogDamaged: a row is not as it was written.
        SideContradicts: a leaf does not follow.
        MalformedEvidence: a row is not in its form.
    """
    check = _Check(side)
    data, position, end, steps = side.log.map_all(), 0, side.log.end, side.steps
    step, hasher = 0, blake3()
    while position < end:
        length = int.from_bytes(data[position : position + 4], "little")
        if length == 0:
            if parse_mark(data[position : position + MARK_BYTES]) is None:
                raise side.log.make_damaged(step, "bytes that are no row")
            position += MARK_BYTES
            continue
        after = position + 4 + length
        frame = data[position:after]
        hasher.reset()
        if length > MAX_ROW_BYTES or hasher.update(frame).digest(CHECK_BYTES) != data[after : after + CHECK_BYTES]:
            raise side.log.make_damaged(step, "other bytes")
        step += 1
        check.take(frame, step)
        position = after + CHECK_BYTES
        if progress is not None and step % PROGRESS_EVERY == 0:
            progress(step, steps)
    check.finish()
    if step != steps:
        raise side.log.make_damaged(step, f"{step} rows instead of {steps}")


def _encode_step(step: int) -> bytes:
    """Return a step as MessagePack's shortest integer."""
    if step < 0x80:
        return step.to_bytes(1, "big")
    if step < 0x100:
        return b"\xcc" + step.to_bytes(1, "big")
    if step < 0x10000:
        return b"\xcd" + step.to_bytes(2, "big")
    return b"\xce" + step.to_bytes(4, "big") if step < 2**32 else b"\xcf" + step.to_bytes(8, "big")


class _Check:
    """Follows the chain of one run."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._previous = side.start_id
        self._scalars: bytes | None = None
        self._scalars_part = b""
        self._checked = 0
        self._messages: list[bytes] = []
        self._leaves: list[bytes] = []
        self._programs = [_DIGEST + identity + _DIGEST for identity in side.program_ids]

    def take(self, frame: bytes, step: int) -> None:
        """Take the next row: u32 length and payload; its leaf is hashed with many others."""
        leaf = frame[-32:]
        message = self._join_quickly(frame, step)
        self._messages.append(message or self._join(frame[4:], step))
        self._leaves.append(leaf)
        self._previous = leaf
        if len(self._leaves) >= _TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Compare the leaves that are waiting.

        Raises:
            SideContradicts: one does not follow from its row and the leaf before it.
        """
        found = compute_digests(self._messages)
        if found != self._leaves:
            place = next(index for index, leaf in enumerate(self._leaves) if leaf != found[index])
            raise SideContradicts(
                f"{self._side.path}: the leaf of step {self._checked + place + 1} does not follow from its row and the "
                "leaf before it",
                next_step="`assay run verify` says what else does not hold",
            )
        self._checked += len(self._leaves)
        self._messages, self._leaves = [], []

    def _join_quickly(self, frame: bytes, step: int) -> bytes:
        """Return the bytes that are hashed to the leaf's id if the row has its most usual form, else nothing.

        The form: the step, a program, a state root or none, two digests, scalars of less than 256 bytes or as before,
        one returned tensor of at most 64 bytes, its root, no events, the leaf. All lengths must add up.
        """
        number = _encode_step(step)
        start, size = 5 + len(number), len(frame)
        if size < start + 142:
            return b""
        program, root = frame[start], frame[start + 2]
        content = start + 3 + root
        scalars = loss = content + 68
        changed = frame[scalars] == 0xC4
        if changed:
            loss += 1 + frame[scalars + 1]
        if program >= len(self._programs) or root & 0xDF or loss + 76 > size:
            return b""
        if (
            frame[5:start] != number
            or frame[start + 1] != 0xC4
            or frame[content : content + 2] != _DIGEST
            or frame[content + 34 : content + 36] != _DIGEST
            or (frame[scalars] != 0xC0 and not changed)
            or frame[loss + 1 : loss + 3] != _ONE_LOSS
            or frame[loss + 3] > MAX_LOSS_BYTES
            or loss + 74 + frame[loss + 3] != size
            or frame[-70:-68] != _DIGEST
            or frame[-36:-32] != _NO_EVENTS
        ):
            return b""
        root_part = frame[start + 1 : start + 35] if root else _NONE
        if root and root_part == _NONE:
            return b""
        if changed:
            self._take_scalars(frame[scalars + 2 : loss + 1])
        fields = frame[content:scalars]
        parts = (_HEAD, number, self._programs[program], self._previous, root_part, fields, self._scalars_part)
        return b"".join(parts) + frame[-70:-36] + _NONE

    def _take_scalars(self, row: bytes) -> None:
        self._scalars = row
        self._scalars_part = _DIGEST + compute_digest(tags.SCALARS_ROW, row)

    def _join(self, payload: bytes, step: int) -> bytes:
        parts = decode(payload, StepParts, max_bytes=MAX_ROW_BYTES)
        verify_step_parts(parts)
        if parts.step != step:
            raise self._side.log.make_damaged(step - 1, f"a row of step {parts.step}")
        if parts.scalars is not None:
            self._take_scalars(parts.scalars)
        if self._scalars is None:
            raise SideContradicts(f"{self._side.path}: row {step} refers to a scalars row that is not there")
        program = self._side.get_program_id(parts.program)
        return tag_bytes(tags.STEP_LEAF) + encode(rebuild_leaf(parts, program, self._previous, self._scalars))
