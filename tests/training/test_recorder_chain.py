"""The recorder: the chain of rows, what is held back, what a resumed run must do again, and the closing record."""

from dataclasses import replace

import msgspec
import pytest

from assay.errors import Refuted, UsageError
from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.model_state import AliasTable, TensorRecord, compute_state_root
from assay.protocol.evidence.order import SHUFFLE
from assay.protocol.evidence.plan import DeclaredStart, Profile, Setting
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.run_directory import RunDirectory
from assay.training.datasets import commit_dataset
from assay.training.pytorch import opening
from assay.training.recorded import RecordedRun
from assay.training.recorder import ResumeDiffers, RunRecorder, StartRecord, StepResult, keep_loss
from assay.training.signing import read_signature, sign_closing
from tests.training.test_feed import Numbers
from tests.training.test_program_difference import PROGRAM

SEED = bytes(range(32))
RECORDS = (TensorRecord(0, "0/w", "f32", (2,), 8, compute_bulk_digest(bytes(8))),)
START = StartRecord(0, b"", compute_state_root(RECORDS, AliasTable(())), AliasTable(()), RECORDS)
FINAL = b"\x07" * 32


def make_plan(intended=6):
    """A plan over ten samples, three steps an epoch, roots at every second step, intervals of four."""
    return opening.make_plan(
        start=DeclaredStart(START.state_root), data=commit_dataset(Numbers(), check_seed=bytes(32)).record,
        order_version=SHUFFLE, seed=SEED, intended_steps=intended, batch_size=4, last_batch="keep", collate="default",
        interval_length=4, root_period=2, profile=Profile(0, "pinned", (Setting("device", "cpu"),)),
    )  # fmt: skip


def make_result(step, *, row=b"\x01" * 8, root=b"", program=0):
    """What a step leaves; steps have roots where the plan wants them."""
    due = root or (bytes([step]) * 32 if step % 2 == 0 else b"")
    loss = bytes([step]) * 4
    return StepResult(program, b"m" * 32, b"c" * 32, row, (loss,), b"l" * 32, due)


def begin(path, **options):
    """Open or make the run and return directory and recorder, with one program."""
    run = RunDirectory.open(path, write=True) if path.exists() else RunDirectory.create(path, background=False)
    recorder = RunRecorder(run, make_plan(**options), START)
    recorder.add_program(PROGRAM, first_step=1, known_answer=b"k" * 32)
    return run, recorder


def take(recorder, steps, **changes):
    """Record steps."""
    for step in steps:
        recorder.record(replace(make_result(step), **changes))


def finish(recorder, reason="completed"):
    """End the run."""
    return recorder.finish(reason=reason, final_root=lambda: FINAL, model_root=b"r" * 32, evaluations=())


def test_a_row_waits_for_the_next_step(tmp_path):
    """The last row is held back, because the last step of a run needs a root."""
    run, recorder = begin(tmp_path / "run")
    take(recorder, range(1, 4))
    assert (recorder.step, run.rows, run.steps.rows) == (3, 2, 2)
    recorder.settle(lambda: FINAL)
    assert run.read_row(3).state_root == FINAL
    recorder.settle(lambda: b"x" * 32)
    assert run.steps.rows == 3
    run.close()


def test_a_scalars_row_is_written_when_it_changes(tmp_path):
    """Equal rows are written once; the chain knows the row in force."""
    run, recorder = begin(tmp_path / "run")
    take(recorder, [1, 2])
    take(recorder, [3], row=b"\x02" * 8)
    take(recorder, [4, 5])
    assert [run.read_row(step).scalars is None for step in (1, 2, 3, 4)] == [False, True, False, False]
    run.close()


def test_a_finished_run_reads_back_as_evidence(tmp_path):
    """Rows, leaves, scalars table, programs and closing record agree when they are read again; the signature holds."""
    run, recorder = begin(tmp_path / "run")
    run.write_object("profile.bin", _encode_profile())
    take(recorder, range(1, 6))
    recorder.record(make_result(6, root=FINAL))
    closing = finish(recorder)
    sign_closing(run, closing, "default")
    run.close()
    found = RecordedRun(tmp_path / "run")
    assert found.closing == closing
    assert (len(found.rows), closing.steps, closing.transcript.tag) == (6, 6, tags.TRANSCRIPT_TREE)
    assert found.get_claimed_root(6) == FINAL
    signature = read_signature(found.directory, closing)
    other = replace_closing(closing)
    with pytest.raises(Refuted):
        read_signature(found.directory, other)
    assert len(signature.signature) == 64
    found.close()


def replace_closing(closing):
    """The closing record with another model root."""
    return msgspec.structs.replace(closing, model_root=b"s" * 32)


def _encode_profile():
    """The profile that the plan names."""
    return encode(Profile(0, "pinned", (Setting("device", "cpu"),)))


def test_a_resumed_run_repeats_its_rows(tmp_path):
    """Rows that are there are compared, new ones appended; the leaves are those of an undisturbed run."""
    whole, recorder = begin(tmp_path / "whole")
    take(recorder, range(1, 6))
    recorder.record(make_result(6, root=FINAL))
    expected = finish(recorder)
    whole.close()
    run, recorder = begin(tmp_path / "run")
    take(recorder, range(1, 6))
    run.close()
    run, recorder = begin(tmp_path / "run")
    assert recorder.stored == 4
    recorder.replay_rows(2)
    assert recorder.step == 2
    take(recorder, range(3, 6))
    recorder.record(make_result(6, root=FINAL))
    assert finish(recorder) == expected
    run.close()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"row": b"\x09" * 8}, "scalars"), ({"losses": (b"other",)}, "loss"), ({"content": b"x" * 32}, "content"),
        ({"membership": b"x" * 32}, "membership"), ({"state_root": b"x" * 32}, "state_root"),
        ({"loss_root": b"x" * 32}, "loss_root"),
    ],
)  # fmt: skip
def test_a_resumed_run_that_does_something_else_is_refused(change, name, tmp_path):
    """The step and the parts that differ are named, and no row changes."""
    run, recorder = begin(tmp_path / "run")
    take(recorder, range(1, 6))
    run.close()
    run, recorder = begin(tmp_path / "run")
    before = [run.read_row(step) for step in range(1, 5)]
    take(recorder, [1])
    recorder.record(replace(make_result(2), **change))
    if name == "loss":
        recorder.settle()  # what is kept of a loss is no part of the leaf; its root is
        assert run.read_row(2) == before[1]
    else:
        with pytest.raises(ResumeDiffers, match="step 2") as caught:
            recorder.settle()
        assert name in caught.value.actual
    assert [run.read_row(step) for step in range(1, 5)] == before
    run.close()


def test_a_step_done_again_must_follow_a_known_program(tmp_path):
    """Another program is refused before it is stored; after the last row it begins a phase."""
    other = ir.Program(0, ir.STEP, PROGRAM.state, PROGRAM.batch, (), 1, PROGRAM.nodes[:1], (), (2,))
    run, recorder = begin(tmp_path / "run")
    take(recorder, range(1, 4))
    run.close()
    run, recorder = begin(tmp_path / "run")
    recorder.verify_known(1, PROGRAM)
    with pytest.raises(ResumeDiffers, match="another program at step 1") as caught:
        recorder.verify_known(1, other)
    assert "node 1 is missing" in caught.value.actual
    recorder.verify_known(3, other)
    assert recorder.add_program(other, first_step=3) == 1
    assert recorder.add_program(PROGRAM, first_step=3) == 0
    run.close()


def test_a_run_does_not_end_before_the_rows_that_it_has(tmp_path):
    """A resumed run that stops earlier than before would leave rows of no run."""
    run, recorder = begin(tmp_path / "run", intended=0)
    take(recorder, range(1, 6))
    run.close()
    run, recorder = begin(tmp_path / "run", intended=0)
    take(recorder, [1, 2])
    with pytest.raises(UsageError, match="before it reached") as caught:
        finish(recorder, "early-stop")
    assert (caught.value.expected, caught.value.actual) == ("4 steps", "2 steps")
    assert not run.has_object("closing.bin")
    run.close()


def test_a_long_result_is_kept_as_its_digest():
    """Up to 64 bytes are kept as they are."""
    assert keep_loss(b"x" * 64, b"d") == b"x" * 64
    assert keep_loss(b"x" * 65, b"d") == b"d"
