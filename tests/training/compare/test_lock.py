import json

import pytest

from assay.errors import AssayError
from assay.training.compare import lock as locks
from assay.training.compare.lock import LockDamaged, LockRefused, make_lock, open_lock, read_lock
from assay.training.compare.runs import compare_sides
from assay.training.compare.side import Side
from benchmarks import differing as planted
from tests.training.compare.test_runs import change_label, change_sample


@pytest.fixture(scope="module")
def text(base):
    """The lock of the base."""
    return make_lock(Side(base), "runs/base")


def open_text(text, folder):
    """Return the side that a text of a lock describes."""
    (folder / "assay.lock").write_bytes(text)
    return open_lock(read_lock(folder / "assay.lock"), folder / "locked")


def test_a_lock_is_equal_to_its_run_and_made_the_same_again(base, text, tmp_path):
    """The lock compares as the run itself, and locking it again gives the same bytes."""
    found = compare_sides(open_text(text, tmp_path), Side(base, "B"))
    assert (found.equal, found.compared, found.findings) == (True, 12, ())
    assert make_lock(Side(base), "runs/base") == text


@pytest.mark.parametrize(
    ("changes", "kind", "name"),
    [
        ({"rate": 0.2}, "scalars", "rate"),
        ({"dropout": 0.0}, "program", "dropout"),
        ({"change": change_sample}, "data", "one sample"),
        ({"change": change_label}, "data", "one sample"),
        ({"seed": 3}, "seed", "seed"),
        ({"scale": 2.0}, "start", "initialisation"),
    ],
)
def test_a_changed_script_is_named_against_the_lock(changes, kind, name, text, tmp_path):
    """Without data and states in the lock the same causes are named; of a sample, which one."""
    planted.record(tmp_path / "other", **changes)
    found = compare_sides(open_text(text, tmp_path), Side(tmp_path / "other", "B"))
    assert (found.findings[0].kind, found.findings[0].name) == (kind, name)
    if changes.get("change") is change_sample:
        assert found.findings[0].text.endswith("1 of 48 samples differs: 17")


def test_the_readable_part_cannot_say_something_else(text, tmp_path):
    """A reviewer sees what is compared: a summary that was edited by hand is refused."""
    lock = json.loads(text)
    lock["summary"]["seed"] = "00" * 32
    with pytest.raises(LockDamaged, match="readable part"):
        open_text(json.dumps(lock).encode(), tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"assay-lock": 0}'], ids=range(7)
)
def test_what_is_no_lock_is_refused(text, tmp_path):
    """Empty files, other JSON, deep nesting, no text at all."""
    with pytest.raises(LockDamaged):
        open_text(text, tmp_path)


def test_a_lock_of_another_version_is_refused(text, tmp_path):
    """A newer version is not guessed at."""
    lock = json.loads(text) | {"assay-lock": 1}
    with pytest.raises(LockDamaged, match="another version"):
        open_text(json.dumps(lock).encode(), tmp_path)


def test_any_damage_of_a_record_is_refused(text, tmp_path):
    """Every record, cut or with changed characters: an error of ours, never another one, and never equal."""
    whole = json.loads(text)
    for number, name in enumerate(("plan", "profile", "start", "uses", "rows", "samples")):
        for place, damage in enumerate(
            (lambda s: s[:-4], lambda s: s[:8] + "AAAA" + s[12:], lambda s: "", lambda s: "é")
        ):
            lock = json.loads(text)
            lock["records"][name] = damage(whole["records"][name])
            folder = tmp_path / f"{number}-{place}"
            folder.mkdir()
            with pytest.raises(AssayError):
                open_text(json.dumps(lock).encode(), folder)


def test_a_bomb_is_not_inflated(text, tmp_path, monkeypatch):
    """A record that inflates to more than the bound is refused before it is."""
    monkeypatch.setattr(locks, "_MAX_RECORD", 100)
    with pytest.raises(LockDamaged, match="does not end"):
        open_text(text, tmp_path)


def test_long_runs_are_not_locked(base, monkeypatch):
    """A lock is for short runs."""
    monkeypatch.setattr(locks, "MAX_STEPS", 11)
    with pytest.raises(LockRefused, match="12 steps"):
        make_lock(Side(base), "runs/base")
