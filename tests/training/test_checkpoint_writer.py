"""Checkpoints are written beside the training, and what fails there is raised in the training."""

import pytest

from assay.errors import StorageError
from assay.protocol.evidence.model_state import PARAM, AliasTable, compute_state_root
from assay.storage.run_directory import RunDirectory
from assay.training.checkpoint_writer import CheckpointWriter
from assay.training.state import hash_tensor

NONE = AliasTable(())


def write(writer, data, step=0):
    """Begin the checkpoint of a state of one tensor."""
    records = [hash_tensor(PARAM, "0/w", "u8", (len(data),), bytes(data))]
    writer.write(
        step,
        state_root=compute_state_root(records, NONE),
        records=records,
        aliases=NONE,
        tensors=[memoryview(data)],
        extra=b"",
        interval=1,
        intended=0,
    )


def test_the_state_is_that_of_the_call(tmp_path):
    """The tensors may change as soon as the call returns: a copy is written."""
    with RunDirectory.create(tmp_path / "run") as run:
        writer, data = CheckpointWriter(run), bytearray(b"abcd" * 1000)
        write(writer, data)
        data[:4] = b"wxyz"
        writer.wait()
        assert bytes(run.checkpoints.read(0).tensors[0]) == b"abcd" * 1000


def test_a_failure_is_raised_by_the_next_call(tmp_path):
    """A checkpoint without its rows is refused; the one who waits is told, once."""
    with RunDirectory.create(tmp_path / "run") as run:
        writer = CheckpointWriter(run)
        write(writer, bytearray(b"abcd"), step=5)
        with pytest.raises(Exception, match="needs the rows"):
            writer.wait()
        writer.check()
        assert run.checkpoints.list_steps() == []


def test_a_full_disk_is_found_before(tmp_path, monkeypatch):
    """Without room nothing is begun."""
    with RunDirectory.create(tmp_path / "run") as run:

        def refuse(needed):
            raise StorageError(f"no room for {needed}")

        monkeypatch.setattr(run, "check_free_space", refuse)
        with pytest.raises(StorageError, match="no room for 4"):
            write(CheckpointWriter(run), bytearray(b"abcd"))
        assert run.checkpoints.list_steps() == []
