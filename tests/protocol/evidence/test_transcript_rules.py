import msgspec
import numpy as np
import pytest

from assay.errors import VerificationError
from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence import transcript
from assay.protocol.evidence.data import BatchField
from assay.protocol.evidence.transcript_rules import (
    is_root_due,
    verify_link,
    verify_root_period,
    verify_start_leaf,
    verify_step_leaf,
    verify_step_parts,
)
from assay.protocol.hashing import ZERO, compute_bulk_digest, compute_digest
from assay.protocol.merkle import compute_data_root, compute_path, hash_leaf, verify_inclusion
from assay.training.batches import compute_losses
from tools.example_records import PLAN, PROGRAM, START_LEAF, STEP_LEAVES, STEP_PARTS, TRANSCRIPT

LEAF, PARTS = STEP_LEAVES[0], STEP_PARTS[0]
IDS = [transcript.compute_start_id(START_LEAF), *map(transcript.compute_step_id, STEP_LEAVES)]


def change(record, **fields):
    """Return the record with other fields."""
    return msgspec.structs.replace(record, **fields)


def find_code(check, *arguments):
    """Return the code of the refusal, or None."""
    try:
        check(*arguments)
    except VerificationError as refusal:
        return refusal.code
    return None


def test_the_examples_hold():
    """TRN-2, TRN-3, TRN-6: start leaf, step leaves and kept parts hold."""
    assert find_code(verify_start_leaf, START_LEAF) is None
    assert find_code(verify_start_leaf, change(START_LEAF, context=bytes(32))) is None
    for leaf, parts in zip(STEP_LEAVES, STEP_PARTS, strict=True):
        assert find_code(verify_step_leaf, leaf) is None
        assert find_code(verify_step_parts, parts) is None
    assert find_code(verify_step_parts, change(PARTS, state_root=b"", events=bytes([1]) * 32)) is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"version": 1}, "field.version"),
        ({"plan": b""}, "field.digest-length"),
        ({"context": b"a"}, "transcript.context"),
        ({"start_root": bytes(33)}, "field.digest-length"),
    ],
    ids=str,
)
def test_refused_start_leaves(fields, code):
    """TRN-2: a start leaf with a wrong length is refused."""
    assert find_code(verify_start_leaf, change(START_LEAF, **fields)) == code


DIGESTS = ("program", "previous", "state_root", "membership", "content", "scalars", "loss", "events")


@pytest.mark.parametrize("name", DIGESTS)
@pytest.mark.parametrize("size", [0, 31, 33])
def test_digests_of_step_leaves(name, size):
    """TRN-3: every digest of a step leaf has 32 bytes, absent ones too."""
    assert find_code(verify_step_leaf, change(LEAF, **{name: bytes(size)})) == "field.digest-length"


@pytest.mark.parametrize("step", [0, -1, 2**63])
def test_steps_count_from_one(step):
    """TRN-3: steps are 1 to 2**63 − 1."""
    assert find_code(verify_step_leaf, change(LEAF, step=step)) == "field.number-range"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"step": 0}, "field.number-range"),
        ({"program": -1}, "field.number-range"),
        ({"program": 256}, "field.number-range"),
        ({"membership": b""}, "field.digest-length"),
        ({"content": b""}, "field.digest-length"),
        ({"loss_root": b""}, "field.digest-length"),
        ({"leaf": b""}, "field.digest-length"),
        ({"state_root": b"a"}, "field.digest-length"),
        ({"state_root": ZERO}, "transcript.parts"),
        ({"events": b"a"}, "field.digest-length"),
        ({"events": ZERO}, "transcript.parts"),
        ({"scalars": bytes(7)}, "transcript.parts"),
        ({"scalars": bytes(8 * 65537)}, "transcript.parts"),
        ({"loss": (bytes(65),)}, "transcript.parts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_parts(fields, code):
    """TRN-6: kept parts from which no leaf can be rebuilt are refused."""
    assert find_code(verify_step_parts, change(PARTS, **fields)) == code


def test_leaves_are_rebuilt_from_their_parts():
    """TRN-4, TRN-6: the parts, the leaf before and the row in force give the leaf whose id was kept."""
    row, previous = b"", IDS[0]
    for leaf, parts in zip(STEP_LEAVES, STEP_PARTS, strict=True):
        row = row if parts.scalars is None else parts.scalars
        rebuilt = transcript.rebuild_leaf(parts, leaf.program, previous, row)
        assert rebuilt == leaf
        previous = transcript.compute_step_id(rebuilt)
        assert previous == parts.leaf
    assert STEP_LEAVES[0].scalars == compute_digest(16, row)


def test_links():
    """TRN-4: a leaf of another step, or after another leaf, breaks the chain."""
    assert find_code(verify_link, LEAF, 1, IDS[0]) is None
    assert find_code(verify_link, LEAF, 2, IDS[0]) == "transcript.chain"
    assert find_code(verify_link, LEAF, 1, IDS[1]) == "transcript.chain"
    assert find_code(verify_link, STEP_LEAVES[1], 2, IDS[1]) is None


@pytest.mark.parametrize(
    ("period", "interval", "steps", "due"),
    [
        (1, 5, 4, {1, 2, 3, 4}),
        (3, 100, 7, {3, 6, 7}),
        (1000, 4, 10, {4, 8, 10}),
        (3, 4, 12, {3, 4, 6, 8, 9, 12}),
    ],
)
def test_where_state_roots_are_due(period, interval, steps, due):
    """TRN-5: by the period, at the end of each interval and after the last step; nowhere else."""
    plan = change(PLAN, root_period=period, interval_length=interval)
    assert {step for step in range(1, steps + 1) if is_root_due(plan, step, steps)} == due
    for step in range(1, steps + 1):
        present, absent = change(LEAF, step=step), change(LEAF, step=step, state_root=ZERO)
        right, wrong = (present, absent) if step in due else (absent, present)
        assert find_code(verify_root_period, plan, right, steps) is None
        assert find_code(verify_root_period, plan, wrong, steps) == "transcript.root-period"


def test_leaf_t_stands_at_index_t():
    """TRN-7: the transcript holds the ids of all leaves, that of the start first."""
    hashes = [hash_leaf(TRANSCRIPT.tag, leaf) for leaf in IDS]
    assert transcript.compute_transcript(IDS) == TRANSCRIPT
    assert TRANSCRIPT.size == len(STEP_LEAVES) + 1
    for index, leaf_hash in enumerate(hashes):
        verify_inclusion(TRANSCRIPT, leaf_hash, index, compute_path(TRANSCRIPT.tag, hashes, index))


@pytest.mark.parametrize("name", transcript.StepLeaf.__struct_fields__)
def test_every_field_is_in_the_id(name):
    """TRN-1, TRN-4: a change in any field of a leaf changes its id, and with it every later one."""
    value = getattr(LEAF, name)
    other = change(LEAF, **{name: value + 1 if isinstance(value, int) else bytes(b ^ 1 for b in value)})
    assert transcript.compute_step_id(other) != IDS[1]


def test_loss_root_is_over_the_returned_tensors():
    """TRN-8: one leaf for each returned tensor, with its position, element type, shape and BLAKE3."""
    field = BatchField(0, "f32", (), compute_bulk_digest(PARTS.loss[0]))
    assert compute_data_root(tags.LOSS_TREE, [encode(field)]) == LEAF.loss
    assert compute_losses([np.zeros((), np.float32)])[0] == LEAF.loss


def test_start_and_step_have_their_own_tags():
    """TRN-1: the same bytes would have another id in the other place."""
    assert transcript.compute_start_id(START_LEAF) != transcript.compute_id(19, START_LEAF)
    assert PROGRAM.version == START_LEAF.version == 0
