"""Rows and states that are cheap to make and all different."""

import hashlib

from assay.protocol.evidence.model_state import AliasTable, TensorRecord, compute_state_root
from assay.protocol.evidence.transcript import StepParts
from assay.protocol.hashing import compute_bulk_digest

NO_ALIASES = AliasTable(())


def make_digest(*parts):
    """Return 32 bytes that depend on the arguments alone."""
    return hashlib.sha256(repr(parts).encode()).digest()


def make_row(step, salt=0):
    """Return a row of any step; another salt gives another row."""
    return StepParts(
        step=step,
        program=0,
        state_root=make_digest("state", step, salt) if step % 5 == 0 else b"",
        membership=make_digest("membership", step, salt),
        content=make_digest("content", step, salt),
        scalars=make_digest("scalars", step, salt) if step % 3 == 0 else None,
        loss=(make_digest("loss", step, salt)[:4],),
        loss_root=make_digest("loss root", step, salt),
        events=b"",
        leaf=make_digest("leaf", step, salt),
    )


def make_state(step, tensors=6, size=300):
    """Return the arguments of `CheckpointStore.write`; tensor 0 never changes, tensors 1 and 2 are equal."""
    data = []
    for index in range(tensors):
        label = ("frozen",) if index == 0 else (step, max(index, 2))
        data.append((make_digest(*label) * (size // 32 + 1))[:size])
    records = [
        TensorRecord(0, f"0/t{index:04}", "u8", (size,), size, compute_bulk_digest(one))
        for index, one in enumerate(data)
    ]
    return {
        "state_root": compute_state_root(records, NO_ALIASES),
        "records": records,
        "aliases": NO_ALIASES,
        "tensors": data,
        "extra": b"cursor %d" % step,
    }
