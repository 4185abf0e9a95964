"""What is checked of a run without recomputing a step."""

import random
import shutil

import msgspec
import pytest

from assay.cli.__main__ import main
from assay.errors import AssayError, MalformedEvidence, Refuted, StorageError
from assay.storage.step_rows import MARK_BYTES
from assay.verification.structure import verify_structure
from tests.verification import runs

EVIDENCE = {
    "plan.bin": (MalformedEvidence, Refuted),
    "profile.bin": (MalformedEvidence, Refuted),
    "start.bin": (MalformedEvidence, Refuted),
    "closing.bin": (MalformedEvidence, Refuted, StorageError),
    "signature.bin": (MalformedEvidence, Refuted),
    "train.bin": (MalformedEvidence, Refuted, StorageError),
    "test-*.bin": (MalformedEvidence, Refuted, StorageError),
    "steps.log": (StorageError, Refuted),
    "data/train.0.bin": (StorageError,),
    "checkpoints/24.bin": (StorageError,),
    "programs/*.bin": (MalformedEvidence, Refuted),
    "packs/*": (StorageError,),
}
"""Each file that a finished run stands on, and the families of what is said when a byte of it is another."""


def test_an_honest_run_holds(honest):
    """The counts are those of the run; whoever recorded it is named."""
    said = []
    found = verify_structure(honest, said.append)
    assert (found.steps, found.intervals, found.finished, found.start) == (runs.STEPS, 12, True, "initialised")
    assert found.checkpoints == runs.INTERVALS
    assert len(found.recorder) == 32
    assert said[:2] == ["leaves, programs, signature", "data"]


@pytest.mark.parametrize("pattern", EVIDENCE)
def test_a_changed_byte_is_found_with_a_type(honest, tmp_path, pattern, rounds):
    """Any other byte in any file that the run stands on: an error of the stated family, never a pass or a crash."""
    run = runs.copy(honest, tmp_path / "run")
    path = next(file for file in sorted(run.glob(pattern)) if file.is_file())
    good = path.read_bytes()
    seeded = random.Random(pattern)
    end = len(good) - (MARK_BYTES if pattern == "steps.log" else 0)  # the last mark vouches for rows that are there
    for position in {0, end - 1, *(seeded.randrange(end) for _ in range(rounds(6, 300)))}:
        bad = bytearray(good)
        bad[position] ^= 1 << seeded.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(AssayError) as caught:
            verify_structure(run)
        assert isinstance(caught.value, EVIDENCE[pattern]), f"byte {position}: {caught.value!r}"
        assert caught.value.code
    path.write_bytes(good)
    verify_structure(run)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("plan.bin", 3), ("signature.bin", 1), ("steps.log", 3), ("checkpoints/8.bin", 3), ("data/train.0.bin", 3)],
)
def test_damage_exits_as_stated(honest, tmp_path, pattern, expected, capsys):
    """Damage exits with 3; a signature that does not hold is an explicit finding and exits with 1."""
    run = runs.copy(honest, tmp_path / "run")
    path = run / pattern
    data = bytearray(path.read_bytes())
    data[0 if pattern == "plan.bin" else len(data) // 2 if expected == 3 else -1] ^= 1
    path.write_bytes(data)
    assert main(["run", "verify", str(run)]) == expected
    assert capsys.readouterr().err.startswith("assay: ")


def test_a_stored_state_of_another_run_is_a_contradiction(honest, tmp_path):
    """A whole, valid checkpoint under another step's name is not accepted."""
    run = runs.copy(honest, tmp_path / "run")
    shutil.copyfile(run / "checkpoints/8.bin", run / "checkpoints/12.bin")
    with pytest.raises(StorageError, match="damaged"):
        verify_structure(run)


def test_rows_of_another_signed_end_are_a_contradiction(honest, tmp_path):
    """A closing record that is signed rightly and tells of other rows refutes the run."""
    run = runs.copy(honest, tmp_path / "run")
    runs.change_closing(run, lambda closing: msgspec.structs.replace(closing, final_state=bytes(32)))
    with pytest.raises(Refuted):
        verify_structure(run)
