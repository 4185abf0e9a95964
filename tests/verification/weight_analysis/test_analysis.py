"""The analysis of a series of states: of arrays, of a run, of files."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from assay.storage.blobs import DigestMismatch
from assay.storage.run_directory import RunDirectory
from assay.training.recorded import RunContradicts
from assay.verification.weight_analysis.analysis import MeasureUndefined, analyse_states
from assay.verification.weight_analysis.measures import UnknownMeasure
from assay.verification.weight_analysis.records import CAVEAT
from assay.verification.weight_analysis.subjects import analyse_files, analyse_run
from assay.verification.weight_analysis.thresholds import SIGMA, Threshold, TooFewIntervals
from tests.verification.weight_analysis.examples import open_states, walk

CHANGES = [1.0, 1.0, 1.0, *[0.9**i for i in range(17)]]


def test_flags_come_with_their_figures():
    """An interval of four times the change is flagged, with measures, expectation and steps beside it."""
    changes = [change * (4 if number == 9 else 1) for number, change in enumerate(CHANGES)]
    states = walk(changes)
    told = []
    found = analyse_states(
        "test", range(len(states)), open_states(states), progress=lambda done, total: told.append((done, total))
    )
    assert found.flagged == [9]
    assert told == [(i, 20) for i in range(1, 21)]
    assert (found.weights, found.tensors, found.caveat) == (400, 1, CAVEAT)
    interval = found.intervals[9]
    assert (interval.first, interval.last) == (9, 10)
    assert interval.measures.l2 == pytest.approx(changes[9])
    assert interval.measures.absolute == pytest.approx(np.abs(states[10] - states[9]).sum())
    assert interval.expected == pytest.approx(interval.measures.absolute / 4, rel=0.2)
    assert found.get_value(9) == interval.measures.absolute
    assert not found.intervals[2].judged
    assert found.intervals[3].judged


def test_an_interval_that_goes_back_is_not_flagged():
    """States that jump away and come back: the jump is flagged, the return is not unless asked for (WGT-15)."""
    states = walk(CHANGES)
    jump = 20 * np.random.default_rng(5).standard_normal(400) / 20
    states[11] = states[11] + jump
    for number, part in enumerate((0.6, 0.5, 0.4, 0.4)):
        states[12 + number] = states[12 + number] + part * jump
    for number in range(16, len(states)):
        states[number] = states[number] + 0.4 * jump
    opener = open_states(states)
    found = analyse_states("test", range(len(states)), opener)
    assert found.flagged == [10]
    assert found.intervals[11].undoing
    every = analyse_states("test", range(len(states)), opener, ways_back=False)
    assert every.flagged[:2] == [10, 11]
    assert not every.ways_back


def test_layers_show_where():
    """Of two layers, the one that changed has the score; a layer is a module with its own tensors."""
    quiet, loud = walk(CHANGES, seed=1), walk([c * (5 if i == 8 else 1) for i, c in enumerate(CHANGES)], seed=2)

    def opener(number):
        opened = open_states(quiet, "0/first.weight")(number)
        other = open_states(loud, "0/second.weight")(number)
        opened.tensors |= other.tensors
        opened._bytes |= other._bytes
        return opened

    found = analyse_states("test", range(21), opener)
    assert [layer.name for layer in found.layers] == ["0/first", "0/second"]
    assert [layer.weights for layer in found.layers] == [400, 400]
    assert abs(found.layers[0].scores[8]) < 5 < found.layers[1].scores[8]
    assert found.layers[1].measures[8].l2 == pytest.approx(5 * CHANGES[8])


def test_bad_wishes_are_refused_before_reading():
    """Too few states and unknown measures are refused without opening one."""

    def refuse(number):
        raise RuntimeError(f"opened {number}")

    with pytest.raises(TooFewIntervals):
        analyse_states("test", range(9), refuse)
    with pytest.raises(UnknownMeasure):
        analyse_states("test", range(21), refuse, measure="loss")


def test_a_measure_that_does_not_exist_is_refused():
    """Percent of weights that are all 0 has no value; the error proposes another measure (WGT-7)."""
    states = walk(CHANGES)
    states[0] = np.zeros(400)
    with pytest.raises(MeasureUndefined) as refused:
        analyse_states("test", range(21), open_states(states), measure="percent")
    assert refused.value.code == "weights.undefined"
    assert "absolute" in refused.value.next_step
    assert analyse_states("test", range(21), open_states(states)).intervals[0].measures.percent is None


def test_a_run_is_analysed_from_its_checkpoints(honest):
    """The states of an honest run: every interval measured, weights counted, nothing flagged."""
    found = analyse_run(honest)
    assert [(i.first, i.last) for i in found.intervals] == [(step, step + 4) for step in range(4, 48, 4)]
    assert found.flagged == []
    assert found.weights == 20 * 16 + 16 + 16 + 16 + 16 * 3 + 3
    with RunDirectory.open(honest) as run:
        kept = {step: run.checkpoints.read(step) for step in (4, 8)}
    totals = {}
    for step, checkpoint in kept.items():
        pairs = zip(checkpoint.manifest.records, checkpoint.tensors, strict=True)
        totals[step] = np.concatenate([np.frombuffer(t, "<f4") for r, t in pairs if r.namespace == 0])
    difference = totals[8].astype(np.float64) - totals[4]
    assert found.intervals[0].measures.absolute == pytest.approx(np.abs(difference).sum(), rel=1e-12)
    assert analyse_run(honest, measure="cosine", threshold=Threshold(SIGMA, 3)).measure == "cosine"


def test_a_changed_tensor_of_a_run_is_refused(honest, tmp_path):
    """A byte changed in a stored tensor is found while it is read, not measured."""
    path = tmp_path / "run"
    shutil.copytree(honest, path)
    pack = max((path / "packs").iterdir(), key=lambda file: file.stat().st_mtime)
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.write_bytes(data)
    with pytest.raises(DigestMismatch):
        analyse_run(path)


def test_a_foreign_checkpoint_is_refused(honest, tmp_path):
    """A stored state that is whole but not the one that the transcript claims contradicts the run."""
    path = tmp_path / "run"
    shutil.copytree(honest, path)
    with RunDirectory.open(path, write=True) as run:
        other = run.checkpoints.read(8)
        run.checkpoints.remove(12)
        run.checkpoints.write(
            12,
            state_root=other.manifest.state_root,
            records=other.manifest.records,
            aliases=other.manifest.aliases,
            tensors=other.tensors,
        )
    with pytest.raises(RunContradicts):
        analyse_run(path)


def test_files_are_analysed_in_their_order(tmp_path):
    """Safetensors files of any program give the same figures as arrays in memory."""
    states = walk([change * (4 if number == 9 else 1) for number, change in enumerate(CHANGES)])
    paths = []
    for number, state in enumerate(states):
        paths.append(tmp_path / f"{number}.safetensors")
        save_file({"layer.weight": state}, paths[-1])
    found = analyse_files(paths)
    assert found.flagged == [9]
    assert found.subject == str(paths[0])
    memory = analyse_states("test", range(len(states)), open_states(states))
    assert [i.measures for i in found.intervals] == [i.measures for i in memory.intervals]
