"""Random changes to the files of a run: only typed errors, and never other contents than those recorded."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from assay.errors import AssayError
from assay.storage.run_directory import RunDirectory
from tests.storage.faults import QuickFiles
from tests.storage.samples import make_row, make_state


def make_whole_run(path):
    """Return the contents of every file of a small run."""
    with RunDirectory.create(path) as run:
        for step in range(1, 8):
            run.steps.append(make_row(step))
            if step % 3 == 0:
                run.checkpoints.write(step, **make_state(step, tensors=3, size=64))
        run.blobs.put(b"blob")
        run.fields.put("train", [b"data"])
        run.log.append({"step": 1})
        run.audit_results("mine").append({"interval": 0})
        run.write_object("plan.bin", b"plan")
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def mutate(data, rng):
    """Return other bytes: flipped, cut, doubled, zeroed or inserted ones."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice([1, 2, 8, 64, 512]))
        match rng.randrange(6):
            case 0 if start < len(changed):
                changed[start] ^= 1 << rng.randrange(8)
            case 1:
                del changed[start:end]
            case 2:
                changed[start:start] = changed[start:end]
            case 3:
                changed[start:end] = bytes(end - start)
            case 4:
                changed[start:start] = rng.randbytes(rng.randrange(1, 16))
            case _:
                changed[start:] = b""
    return bytes(changed)


def read_everything(path, *, write):
    """Read all contents; rows and tensors must be right or refused."""
    with RunDirectory.open(path, write=write, files=QuickFiles(), background=False) as run:
        for action in (
            lambda: [_check_row(step, row) for step, row in enumerate(run.iterate_rows(), 1)],
            lambda: [_check_state(run, step) for step in run.checkpoints.list_steps()],
            lambda: [run.blobs.open(digest) for digest in run.blobs.list_digests()],
            lambda: list(run.log.iterate()),
            lambda: list(run.audit_results("mine").iterate()),
        ):
            with suppress(AssayError):
                action()


def _check_row(step, row):
    assert row == make_row(step)


def _check_state(run, step):
    assert run.checkpoints.read(step).tensors == make_state(step, tensors=3, size=64)["tensors"]


@pytest.mark.torture
def test_changed_files_are_refused_or_read_right(tmp_path, rounds):
    """Whatever bytes stand in the files, the run opens right or with a typed error, and no row or tensor is wrong."""
    path: Path = tmp_path / "run"
    files = make_whole_run(path)
    names = sorted(files)
    rng = random.Random(0)
    opened = 0
    for _ in range(rounds(1500, 100_000)):
        victim = rng.choice(names)
        victim.write_bytes(mutate(files[victim], rng))
        with suppress(AssayError):
            read_everything(path, write=rng.random() < 0.3)
            opened += 1
        for name in names:
            if not name.exists() or name.stat().st_size != len(files[name]) or name == victim:
                name.write_bytes(files[name])
    assert 0 < opened < rounds(1500, 100_000)
