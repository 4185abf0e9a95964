import shutil

import pytest

from assay.cli.__main__ import main
from assay.storage.files import FileMissing
from assay.storage.run_directory import RunDirectory
from assay.storage.run_layout import RunLocked
from assay.training.compare.runs import compare_runs
from assay.training.recorded import NotFinished, RecordedRun
from assay.verification.pruning import NothingToPrune, choose_kept, prune
from assay.verification.reproducible import verify_recomputed
from assay.verification.structure import verify_records
from benchmarks import differing


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run of 12 steps with states of steps 2, 4, … 12."""
    path = tmp_path_factory.mktemp("original") / "run"
    differing.record(path, options={"checkpoint_every": 2})
    return path


@pytest.fixture
def run(original, tmp_path):
    """A copy that may be pruned."""
    shutil.copytree(original, tmp_path / "run")
    return tmp_path / "run"


def read_claims(path):
    """Return the bytes of everything that a run claims."""
    return {file.name: file.read_bytes() for file in path.glob("*.*") if file.is_file()}


def test_states_go_and_every_interval_can_still_be_recomputed(original, run):
    """Two states stay, evenly spread; nothing that is claimed moves; all intervals are replayed from what is left."""
    claims = read_claims(run)
    found = prune(run, states=2, data=False, dry_run=False)
    assert found.kept == [6, 12]
    assert found.dropped == [2, 4, 8, 10]
    assert found.farthest == 6
    assert found.after < found.before
    assert read_claims(run) == claims
    assert verify_recomputed(run) == 6
    assert compare_runs(original, run).equal
    assert any("at most 6 steps" in sentence for sentence in found.provable)


def test_without_data_the_structure_stays(original, run):
    """Rows, states and signature hold; recomputing is impossible and says what is missing."""
    found = prune(run, states=1, data=True, dry_run=False)
    assert found.kept == [12]
    verify_records(RecordedRun(run))
    assert compare_runs(original, run).equal
    assert main(["run", "export", str(run), "--out", str(run.parent / "model.safetensors")]) == 0
    with pytest.raises(FileMissing):
        verify_recomputed(run)
    assert any("no interval" in sentence for sentence in found.lost)


def test_a_dry_run_changes_nothing(run):
    """What would happen is said, and every byte stays."""
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    found = prune(run, states=1, data=True, dry_run=True)
    assert (found.dropped, found.before) == ([2, 4, 6, 8, 10], found.after)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_a_declared_start_is_the_last_to_go(original, tmp_path):
    """With two states the declared start and the end stay; with one the steps before it are lost, and it is said."""
    net, _ = differing.record(tmp_path / "first", epochs=1)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    differing.record(tmp_path / "run", weights=weights)
    found = prune(tmp_path / "run", states=2, data=False, dry_run=False)
    assert (found.kept, found.farthest) == ([0, 12], 12)
    found = prune(tmp_path / "run", states=1, data=False, dry_run=False)
    assert (found.kept, found.farthest) == ([12], None)
    assert any("the start was declared" in sentence for sentence in found.lost)


def test_what_cannot_be_pruned_is_left_as_it_is(run, tmp_path):
    """Nothing named, no state, a run in progress, one that another process writes to."""
    for options in ({"states": None, "data": False}, {"states": 0, "data": False}):
        with pytest.raises(NothingToPrune):
            prune(run, dry_run=False, **options)
    differing.record(tmp_path / "unfinished", finish=False)
    with pytest.raises(NotFinished):
        prune(tmp_path / "unfinished", states=1, data=False, dry_run=False)
    with RunDirectory.open(run, write=True), pytest.raises(RunLocked):
        prune(run, states=1, data=False, dry_run=False)
    assert len(RecordedRun(run).directory.checkpoints.list_steps()) == 6


@pytest.mark.parametrize("count", range(1, 8))
def test_the_gaps_stay_small(count):
    """The last state stays, and the largest gap is the smallest that so many states can have."""
    kept = choose_kept([10, 20, 30, 40, 50, 60, 70, 80], count, declared=False)
    assert len(kept) <= count
    assert kept[-1] == 80
    gaps = [after - before for before, after in zip([0, *kept], kept, strict=False)]
    assert max(gaps) == 10 * -(-8 // count)


def test_the_command_says_what_stays_provable(run, capsys):
    """Text for people, one object for programs, usage errors with 2."""
    assert main(["run", "prune", str(run), "--states", "2", "--dry-run"]) == 0
    assert "still provable" in capsys.readouterr().out
    assert main(["run", "prune", str(run), "--states", "2", "--json"]) == 0
    assert '"kept":[6,12]' in capsys.readouterr().out
    for words in ([], ["--states", "0"], ["--states", "x"]):
        assert main(["run", "prune", str(run), *words]) == 2
