"""A run that comes from a stranger is a folder of hostile files: links, other bytes of one meaning, sizes, names.

Each is refused by name before anything is computed, with exit 1 or 3, in little memory; nothing outside is touched.
"""

import os
import tracemalloc
from contextlib import suppress

import msgspec
import pytest

from assay.cli.__main__ import get_exit_code
from assay.errors import AssayError, MalformedEvidence
from assay.protocol.encoding import encode
from assay.protocol.evidence.program import compute_program_id
from assay.storage.files import MAX_OBJECT_BYTES, UnsafePath
from assay.training.recorded import RecordedRun
from assay.verification.structure import verify_structure
from tests.attacks.runs import copy_run, export, read_files

RECORDS = ["plan.bin", "profile.bin", "start.bin", "closing.bin", "signature.bin", "train.bin"]
OTHER_BYTES = {
    "a byte more": lambda data: data + b"\xc0",
    "a byte less": lambda data: data[:-1],
    "nothing": lambda data: b"",
    "a longer form of the version": lambda data: data[:1] + b"\xcc\x00" + data[2:],
    "a dict": lambda data: b"\x80",
    "deep nesting": lambda data: b"\x91" * 100_000,
    "an integer of 2**63": lambda data: data[:1] + b"\xcf" + b"\xff" * 8 + data[2:],
    "bad UTF-8": lambda data: data[:1] + b"\xa1\xff" + data[2:],
    "pickle": lambda data: b"\x80\x04cposix\nsystem\n(S'true'\ntR.",
}


def replace_file(file, data):
    """Put other bytes into a file of a copied run."""
    file.unlink()
    file.write_bytes(data)


@pytest.mark.parametrize("what", OTHER_BYTES)
@pytest.mark.parametrize("name", RECORDS)
def test_records_have_one_form(name, what, honest, tmp_path):
    """Each record in any other bytes than its own: refused with a typed error, and never as usage."""
    run = copy_run(honest, tmp_path / "copy")
    assert verify_structure(run).steps == 40
    replace_file(run / name, OTHER_BYTES[what]((honest / name).read_bytes()))
    with pytest.raises(AssayError) as refusal:
        verify_structure(run)
    assert get_exit_code(refusal.value) in {1, 3}


def test_programs_have_one_form(honest, tmp_path):
    """A stored program in other bytes is refused, whichever of them it is."""
    files = sorted((honest / "programs").glob("*.bin"))  # beside them stand source lines, which are declared
    assert files
    for file in files:
        run = copy_run(honest, tmp_path / file.name)
        replace_file(run / "programs" / file.name, file.read_bytes() + b"\x00")
        with pytest.raises(AssayError) as refusal:
            verify_structure(run)
        assert get_exit_code(refusal.value) in {1, 3}


@pytest.mark.parametrize("name", [*RECORDS, "steps.log", "data", "programs", "checkpoints"])
def test_links_are_not_followed(name, honest, tmp_path):
    """A file or folder that is a link, even to the honest one, is refused."""
    run = copy_run(honest, tmp_path / "copy")
    (run / name).rename(tmp_path / "elsewhere")
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AssayError) as refusal:
        verify_structure(run)
    assert isinstance(refusal.value, UnsafePath), refusal.value


def test_a_pipe_does_not_block(honest, tmp_path):
    """A record that is a named pipe is refused at once instead of waited for."""
    run = copy_run(honest, tmp_path / "copy")
    (run / "plan.bin").unlink()
    os.mkfifo(run / "plan.bin")
    with pytest.raises(UnsafePath):
        verify_structure(run)


@pytest.mark.parametrize("name", [*RECORDS, "steps.log"])
def test_oversized_files_take_no_memory(name, honest, tmp_path):
    """A record of 1 TiB, a hole in the disk: refused in the memory of the largest record that is read."""
    run = copy_run(honest, tmp_path / "copy")
    with (run / name).open("r+b") as file:
        file.truncate(2**40)
    tracemalloc.start()
    try:
        with pytest.raises(AssayError):
            verify_structure(run)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_OBJECT_BYTES
    finally:
        tracemalloc.stop()


HOSTILE_NAMES = ["../../escaped", "/tmp/escaped", "..", "a/../../escaped", "nul\x00", "C:\\escaped", ".git/config"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_of_tensors_are_no_paths(name, honest, tmp_path):
    """A tensor is called like a path out of the folder: refused, or a name inside the model file and nothing else."""
    run = copy_run(honest, tmp_path / "inside" / "copy")
    stored = RecordedRun(honest)
    program = stored.read_program(stored.uses[-1].program)
    renamed = msgspec.structs.replace(program.state[0], name=name)
    hostile = msgspec.structs.replace(program, state=(renamed, *program.state[1:]))
    identity = compute_program_id(hostile)
    (run / "programs" / f"{identity.hex()}.bin").write_bytes(encode(hostile))
    before = sorted(tmp_path.rglob("*"))
    with suppress(MalformedEvidence):
        assert RecordedRun(run).read_program(identity) == hostile
    assert sorted(tmp_path.rglob("*")) == before
    assert export(run) == export(honest)


def test_names_of_stored_objects_are_a_closed_form(honest):
    """Programs are looked up by hex digits of an id; no text of a run is ever part of a path."""
    run = RecordedRun(honest)
    for name in ("../plan.bin", "programs/../plan.bin", "/etc/passwd", "audit/../../x", "programs/.hidden"):
        with pytest.raises(AssayError):
            run.directory.read_object(name)
    assert read_files(honest)
