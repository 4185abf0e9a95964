import io
import shutil
import zipfile

import numpy as np
import pytest

from assay.protocol.evidence.data_proof import get_content, verify_absence, verify_presence
from assay.training import data_queries
from assay.training.compare.side import Side
from assay.training.data_queries import (
    FeedContradicts,
    SampleRefused,
    find_duplicates,
    find_overlap,
    find_sample,
    make_absence,
    make_leaf,
    make_presence,
    open_verified,
    read_sample,
)
from assay.training.packed import DataMismatch, to_hashes
from benchmarks import differing


def repeat_sample(inputs, labels):
    """Make sample 40 equal to sample 3."""
    inputs[40], labels[40] = inputs[3], labels[3]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 12 steps on 48 samples, of which one is there twice."""
    path = tmp_path_factory.mktemp("data") / "run"
    differing.record(path, change=repeat_sample)
    return path


@pytest.fixture(scope="module")
def arrays():
    """The samples as arrays."""
    inputs, labels = differing.make_data()
    repeat_sample(inputs, labels)
    return inputs.numpy(), labels.numpy()


def test_a_sample_is_found_with_its_steps(run, arrays, tmp_path):
    """A file of arrays, an index and a digest name the same sample; it was fed once an epoch at each of its places."""
    np.savez(tmp_path / "sample.npz", arrays[0][3], arrays[1][3])
    side = Side(run)
    by_file = find_sample(side, read_sample(str(tmp_path / "sample.npz")))
    by_index = find_sample(side, read_sample(f"{run}:3"))
    by_digest = find_sample(side, read_sample(by_file.content))
    assert by_file == by_index == by_digest
    assert by_file.indices == [3, 40]
    feed = {step: list(order) for step, order in iterate_batches(side)}
    assert by_file.steps == [step for step, indices in feed.items() if {3, 40} & set(indices)]
    assert 2 <= len(by_file.steps) <= 4


def iterate_batches(side):
    """Yield (step, indices) by walking the feed itself, the slow way."""
    from assay.training.feed import Feed

    data = open_verified(side)
    feed = Feed(data.packed, data.leaf_hashes, seed=side.plan.seed, order_version=1, batch_size=8, last_batch="keep")
    for step in range(1, side.steps + 1):
        yield step, feed.get_batch(step).indices


def test_an_absent_sample_that_shares_a_field_is_pointed_at(run, arrays, tmp_path):
    """The same input under another label is not in the data set, and its twin is named."""
    np.savez(tmp_path / "sample.npz", arrays[0][5], arrays[1][5] + 1)
    found = find_sample(Side(run), read_sample(str(tmp_path / "sample.npz")))
    assert (found.present, found.indices, found.steps) == (False, [], [])
    assert found.similar == [(5, "#0")]


def test_proofs_hold_for_the_plan(run, arrays):
    """Presence and absence are proven against the root that the plan names."""
    side = Side(run)
    root = side.plan.data.leaves.root
    leaf = make_leaf(open_verified(side).packed, 17)
    verify_presence(make_presence(side, 17), root, get_content(leaf))
    verify_absence(make_absence(side, bytes(32)), root)


def test_a_large_data_set_has_no_written_proof_of_absence(run, monkeypatch):
    """The proof would list every sample."""
    monkeypatch.setattr(data_queries, "MAX_PROVEN_ABSENT", 47)
    with pytest.raises(SampleRefused, match="lists every sample"):
        make_absence(Side(run), bytes(32))


def test_duplicates_and_overlap(run, tmp_path):
    """Equal samples are grouped; two runs share what both hold."""
    contents = open_verified(Side(run)).contents
    assert find_duplicates(contents) == [[3, 40]]
    differing.record(tmp_path / "other", epochs=1)
    pairs = find_overlap(open_verified(Side(tmp_path / "other")).contents, contents)
    assert len(pairs) == 48
    assert (3, 40) in pairs
    assert find_overlap(contents, to_hashes([bytes(32)])) == []


def test_changed_samples_answer_nothing(run, tmp_path):
    """Stored samples that are not those of the plan: no answer about them."""
    shutil.copytree(run, tmp_path / "run")
    other = tmp_path / "other"
    differing.record(other)
    shutil.copytree(other / "data", tmp_path / "run" / "data", dirs_exist_ok=True)
    shutil.copy(other / "train.bin", tmp_path / "run" / "train.bin")
    with pytest.raises(DataMismatch):
        find_sample(Side(tmp_path / "run"), read_sample("00" * 32))


def test_a_step_that_was_fed_something_else_is_said(run, tmp_path):
    """The rows are those of a run with another order: the plan's order is not what was fed."""
    shutil.copytree(run, tmp_path / "run")
    differing.record(tmp_path / "other", shuffle=False, change=repeat_sample)
    shutil.copy(tmp_path / "other" / "steps.log", tmp_path / "run" / "steps.log")
    with pytest.raises(FeedContradicts):
        find_sample(Side(tmp_path / "run"), read_sample(f"{run}:3"))


def test_what_is_no_sample_is_refused(run, tmp_path, monkeypatch):
    """Words, missing files, indices outside, pickled arrays, bombs, other archives, types that no sample has."""
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("no array", encoding="utf-8")
    (tmp_path / "zip.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    np.savez(tmp_path / "complex.npz", np.zeros(2, complex))
    for word in (
        "", "word", "ab" * 31, f"{run}:48", f"{run}:x", "/nowhere:3", str(tmp_path / "none.npy"),
        *(str(tmp_path / name) for name in ("pickled.npy", "text.npy", "complex.npz")),
    ):  # fmt: skip
        with pytest.raises((SampleRefused, Exception)) as caught:
            read_sample(word)
        assert type(caught.value).__module__.startswith("assay."), word
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", bytes(100_000))
    (tmp_path / "bomb.npz").write_bytes(buffer.getvalue())
    monkeypatch.setattr(data_queries, "MAX_SAMPLE_BYTES", 50_000)
    with pytest.raises(SampleRefused, match="too large"):
        read_sample(str(tmp_path / "bomb.npz"))
