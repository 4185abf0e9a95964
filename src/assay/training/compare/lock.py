"""A lock: one text file that holds a short run's plan, programs and rows, to be committed beside the script.

The first part is for the eyes of a reviewer: settings, losses, roots. The second holds the records themselves, so that
a later run can be compared with the lock as with the run: `open_lock` writes them into a folder that `Side` reads. Of
the data it has a mark of each sample, so that it can be said which of them changed; it has no stored state, so no step
can be replayed from it.

The readable part is made from the records; a lock in which the two disagree is refused.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from assay.errors import MalformedEvidence, UsageError
from assay.protocol.decoders import get_json_decoder
from assay.protocol.encoding import encode
from assay.protocol.evidence.order import SEQUENTIAL
from assay.protocol.hashing import ZERO
from assay.storage.files import Files, read_file
from assay.storage.run_directory import RunDirectory
from assay.storage.step_search import decode_quickly
from assay.training.compare.at_step import show_losses
from assay.training.compare.chain_check import verify_chain
from assay.training.compare.samples import MARK_BYTES, mark_samples
from assay.training.compare.side import Side
from assay.training.recorder import ProgramList

VERSION: Final = 0
MAX_STEPS: Final = 2000
MAX_SAMPLES: Final = 20_000
"""Of a larger data set the lock knows the root alone."""

MAX_LOCK_BYTES: Final = 16 * 1024 * 1024
_MAX_RECORD: Final = 32 * 1024 * 1024
_SHOWN_LOSSES: Final = 20


class LockRefused(UsageError):
    """A run that no lock can be made of: too long, too large, or without a step."""

    code: ClassVar[str] = "lock.refused"


class LockDamaged(MalformedEvidence):
    """A lock that is not as it was written."""

    code: ClassVar[str] = "lock.damaged"


class Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The canonical bytes of the run's records, each deflated, in base64; of each sample a mark, or nothing."""

    plan: str
    profile: str
    start: str
    programs: dict[str, str]
    uses: str
    rows: str
    samples: str


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The file.

    Attributes:
        assay_lock: format version.
        run: the folder that the lock was made from, as it was given: where the next run is looked for.
        summary: for people.
        records: for the comparison.
    """

    assay_lock: int
    run: str
    summary: dict[str, Any]
    records: Records


def make_lock(side: Side, run: str) -> bytes:
    """Return the text of a lock, ending in a newline.

    Args:
        side: a run; every leaf is recomputed first.
        run: where it is looked for later, as a path relative to the lock's users.

    Raises:
        LockRefused: more than `MAX_STEPS` steps, or more than `MAX_LOCK_BYTES` bytes.
        SideContradicts, LogDamaged: the run does not hold together.
    """
    if not 1 <= side.steps <= MAX_STEPS:
        raise LockRefused(
            f"{side.path} has {side.steps} steps",
            expected=f"1 to {MAX_STEPS} steps",
            next_step="lock a short run: a few steps on little data show a change as well",
        )
    verify_chain(side)
    records = Records(
        plan=_pack(side.read_object("plan.bin")),
        profile=_pack(side.read_object("profile.bin")),
        start=_pack(side.read_object("start.bin")),
        programs={identity.hex(): _pack(encode(side.read_program(identity))) for identity in side.program_ids},
        uses=_pack(encode(ProgramList(0, side.uses))),
        samples=_pack(b"".join(mark_samples(side)) if side.plan.data.leaves.size <= MAX_SAMPLES else b""),
        rows=_pack(b"".join(len(row).to_bytes(4, "little") + row for row in side.log.iterate())),
    )
    lock = Lock(VERSION, run, summarise(side), records)
    text = msgspec.json.format(msgspec.json.encode(lock), indent=1) + b"\n"
    if len(text) > MAX_LOCK_BYTES:
        raise LockRefused("the lock is too large", expected=f"at most {MAX_LOCK_BYTES} bytes", actual=len(text))
    return text


def summarise(side: Side) -> dict[str, Any]:
    """Return what a reviewer sees of a run."""
    plan = side.plan
    losses = [show_losses(side.read_row(step)) for step in range(1, side.steps + 1)]
    roots = [row.parts.state_root for row in side.iterate_rows() if row.parts.state_root]
    return {
        "plan": side.plan_id.hex(),
        "seed": plan.seed.hex(),
        "samples": plan.data.leaves.size,
        "data": plan.data.leaves.root.hex(),
        "order": "sequential" if plan.order_version == SEQUENTIAL else "shuffled",
        "batch-size": plan.batch_size,
        "start": side.start.state_root.hex(),
        "environment": {s.name: s.value for s in side.profile.settings if not s.name.startswith("about.")},
        "programs": [identity.hex() for identity in side.program_ids],
        "steps": side.steps,
        "losses": losses if len(losses) <= _SHOWN_LOSSES else [*losses[: _SHOWN_LOSSES - 1], "…", losses[-1]],
        "last-state-root": (roots[-1] if roots else ZERO).hex(),
        "last-leaf": side.get_leaf(side.steps).hex(),
    }


def read_lock(path: Path) -> Lock:
    """Return a lock from a file, its form checked.

    Raises:
        FileMissing, FileTooLarge: from the storage.
        LockDamaged: it is no lock, or of a newer version.
    """
    data = read_file(Files(), path, MAX_LOCK_BYTES)
    try:
        lock = get_json_decoder(Lock).decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise LockDamaged(f"{path} is no lock", expected="what `assay lock` writes", actual=str(error)) from None
    if lock.assay_lock != VERSION:
        raise LockDamaged(
            f"{path} was written by another version of Assay",
            expected=f"version {VERSION}",
            actual=lock.assay_lock,
            next_step="install that version, or lock the run again",
        )
    return lock


def open_lock(lock: Lock, folder: Path) -> Side:
    """Write the records of a lock into a new folder, and open it for comparison.

    Args:
        lock: from `read_lock`.
        folder: does not exist yet.

    Raises:
        LockDamaged: a record is not in its form, or the readable part says something else.
        MalformedEvidence, Refuted: the records do not hold together.
    """
    with RunDirectory.create(folder, background=False) as run:
        for name, text in (
            ("plan", lock.records.plan),
            ("profile", lock.records.profile),
            ("start", lock.records.start),
        ):
            run.write_object(f"{name}.bin", _unpack(text, name))
        run.write_object("programs.bin", _unpack(lock.records.uses, "uses"))
        for identity, text in lock.records.programs.items():
            run.write_object(f"programs/{identity}.bin", _unpack(text, "a program"))
        for row in _split(_unpack(lock.records.rows, "rows")):
            run.steps.append(decode_quickly(row))
    side = Side(folder)
    verify_chain(side)
    marks = _unpack(lock.records.samples, "samples")
    side.marks = [marks[place : place + MARK_BYTES] for place in range(0, len(marks), MARK_BYTES)]
    if summarise(side) != lock.summary:
        raise LockDamaged(
            "the readable part of the lock is not that of its records",
            expected="a lock as `assay lock` wrote it",
            next_step="make it again with `assay lock`; it is not edited by hand",
        )
    return side


def _split(data: bytes) -> list[bytes]:
    rows, position = [], 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "little")
        rows.append(data[position + 4 : position + 4 + length])
        position += 4 + length
        if position > len(data) or len(rows) > MAX_STEPS:
            raise LockDamaged("the rows of the lock are cut", expected=f"at most {MAX_STEPS} whole rows")
    return rows


def _pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _unpack(text: str, what: str) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(base64.b64decode(text, validate=True), _MAX_RECORD)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise LockDamaged(f"{what} of the lock does not decode", actual=str(error)) from None
    if not inflater.eof or inflater.unused_data:
        raise LockDamaged(f"{what} of the lock does not end where it should", expected=f"at most {_MAX_RECORD} bytes")
    return data
