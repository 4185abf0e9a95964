"""Committed data in a run: what is stored is what is opened, and nothing else is."""

import numpy as np
import pytest

from assay.errors import AssayError, MalformedEvidence, StorageError, UsageError
from assay.protocol.encoding import decode, encode
from assay.storage.run_directory import RunDirectory
from assay.training.data_store import DataManifest, count_bytes, open_data, store_data
from assay.training.datasets import commit_dataset
from assay.training.replay import verify_data
from tests.training.test_feed import Numbers


class Other(Numbers):
    """The same with one sample changed."""

    def __getitem__(self, index):
        return np.float32(index + (index == 3)), np.int64(index * index)


@pytest.fixture
def run(tmp_path):
    """An open run."""
    with RunDirectory.create(tmp_path / "run") as made:
        yield made


def commit(dataset):
    """Commit without a salt."""
    return commit_dataset(dataset, check_seed=bytes(32))


def test_stored_data_are_read_back(run):
    """Fields, names, commitment and hashes come back; storing again changes nothing."""
    data = commit(Numbers())
    for _ in range(2):
        store_data(run, "train", data.packed, data.record)
    record, packed = open_data(run, "train")
    assert record == data.record
    assert packed.names == data.packed.names
    for index in range(10):
        for one, other in zip(packed.get_sample(index), data.packed.get_sample(index), strict=True):
            assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
    assert verify_data(data.record, record, packed).tobytes() == data.leaf_hashes.tobytes()
    assert count_bytes(packed) == 10 * (4 + 8)


def test_one_name_has_one_data_set(run):
    """Another data set under the same name is refused, and the first one stays."""
    data, other = commit(Numbers()), commit(Other())
    store_data(run, "train", data.packed, data.record)
    with pytest.raises((UsageError, StorageError)):
        store_data(run, "train", other.packed, other.record)
    assert open_data(run, "train")[0] == data.record


def test_changed_arrays_are_found(run):
    """A flipped bit in a stored array is found when it is opened."""
    data = commit(Numbers())
    store_data(run, "train", data.packed, data.record)
    run.close()
    (array,) = [file for file in (run.path / "data").rglob("*") if file.is_file() and file.stat().st_size == 80]
    changed = bytearray(array.read_bytes())
    changed[17] ^= 4
    array.chmod(0o600)
    array.write_bytes(changed)
    with RunDirectory.open(run.path) as again, pytest.raises(AssayError) as caught:
        open_data(again, "train")
    assert caught.value.code


@pytest.mark.parametrize("change", ["size", "dtype", "shape"])
def test_a_manifest_that_does_not_fit_is_refused(change, run):
    """Sizes, types and shapes that the arrays do not have are malformed evidence."""
    data = commit(Numbers())
    store_data(run, "train", data.packed, data.record)
    manifest = decode(run.read_object("train.bin"), DataManifest)
    field = manifest.fields[0]
    values = {
        "size": {"size": 11},
        "dtype": {"fields": (type(field)(field.name, "f99", field.shape, field.digest, b""), manifest.fields[1])},
        "shape": {"fields": (type(field)(field.name, field.dtype, (-1,), field.digest, b""), manifest.fields[1])},
    }[change]
    names = ("version", "data", "size", "salt_key", "fields")
    changed = DataManifest(*(values.get(name, getattr(manifest, name)) for name in names))
    run.write_object("train.bin", encode(changed), replace=True)
    with pytest.raises(MalformedEvidence):
        open_data(run, "train")
