import random

import numpy as np
import pytest
from sklearn.datasets import load_digits

from assay.training import datasets
from assay.training.arrays import Array
from assay.training.datasets import RandomTransform, UnusableDataset, commit_dataset, count_overlap
from assay.training.samples import UnsupportedSample

SEED = bytes(range(32))


class Listed:
    """A data set over a list, which counts how often each sample is read."""

    def __init__(self, samples):
        self.samples = samples
        self.reads = [0] * len(samples)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        self.reads[index] += 1
        return self.samples[index]


def make_pairs(size) -> tuple[Array, Array, Listed]:
    """Return images, labels and the data set of both."""
    images = np.random.default_rng(0).random((size, 1, 4, 4), np.float32)
    labels = np.arange(size) % 10
    return images, labels, Listed([(images[i], int(labels[i])) for i in range(size)])


def test_samples_are_packed_into_one_array_per_field():
    """Images and labels come back as they were, in one array each."""
    images, labels, dataset = make_pairs(30)
    committed = commit_dataset(dataset, check_seed=SEED)
    assert committed.packed.names == ("#0", "#1")
    assert (committed.packed.fields[0].values == images).all()
    assert (committed.packed.fields[1].values == labels).all()
    assert committed.record.leaves.size == 30
    assert committed.leaf_hashes.shape == committed.content_digests.shape == (30, 32)
    committed.packed.verify_commitment(committed.record)


def test_whole_arrays_give_the_same_commitment_without_reading_every_sample():
    """The fast path reads only the samples of the check, and copies: a later change of the arrays does not matter."""
    images, labels, dataset = make_pairs(1000)
    slow = commit_dataset(dataset, check_seed=SEED)
    fast_set = make_pairs(1000)[2]
    fast = commit_dataset(fast_set, check_seed=SEED, arrays=[images, labels])
    assert fast.record == slow.record
    assert sum(fast_set.reads) == 10
    images[:] = 0
    fast.packed.verify_commitment(fast.record)


def test_whole_arrays_that_are_not_the_samples_are_refused():
    """A wrong promise about the arrays is found by the check, one about their length at once."""
    images, labels, dataset = make_pairs(100)
    with pytest.raises(RandomTransform):
        commit_dataset(dataset, check_seed=SEED, arrays=[images + 1, labels])
    with pytest.raises(UnusableDataset):
        commit_dataset(dataset, check_seed=SEED, arrays=[images[:99], labels])


@pytest.mark.parametrize(("size", "twice"), [(1, 1), (5, 5), (8, 8), (100, 8), (900, 9), (2345, 23)])
def test_one_percent_and_at_least_eight_samples_are_read_twice(size, twice):
    """DAT-9: all other samples are read once; which ones is up to the seed."""
    dataset = make_pairs(size)[2]
    commit_dataset(dataset, check_seed=SEED)
    assert sorted(dataset.reads) == [1] * (size - twice) + [2] * twice
    other = make_pairs(size)[2]
    commit_dataset(other, check_seed=bytes(32))
    assert (other.reads == dataset.reads) == (size <= 8)


def test_a_random_transform_is_refused_with_a_cure():
    """DAT-9: noise added on reading is found, and the cure says where it belongs."""

    class Noisy(Listed):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image + np.float32(random.random()), label

    with pytest.raises(RandomTransform, match="move the random transform into the step") as refused:
        commit_dataset(Noisy(make_pairs(100)[2].samples), check_seed=SEED)
    assert refused.value.code == "data.random-transform"


def test_a_field_that_changes_its_shape_or_type_on_the_second_reading_is_refused():
    """DAT-9: equal bytes in another form are not the same sample."""
    for change in (lambda image: image.reshape(4, 4), lambda image: image.view(np.int32)):

        class Changing(Listed):
            def __getitem__(self, index, change=change):
                image, label = super().__getitem__(index)
                return (change(image) if self.reads[index] > 1 else image), label

        with pytest.raises(RandomTransform):
            commit_dataset(Changing(make_pairs(20)[2].samples), check_seed=SEED)


def test_samples_of_different_lengths_are_kept_ragged():
    """The shapes may begin to differ at any sample; each sample comes back as it was."""
    samples = [{"x": np.arange(length, dtype=np.int32), "y": length} for length in (3, 3, 0, 5, 3)]
    committed = commit_dataset(Listed(samples), check_seed=SEED)
    assert committed.packed.is_ragged
    for index, sample in enumerate(samples):
        found = committed.packed.get_sample(index)
        assert found[0].tolist() == sample["x"].tolist()
        assert found[1].item() == sample["y"]
    committed.packed.verify_commitment(committed.record)


@pytest.mark.parametrize(
    "samples",
    [
        [(1, 2), (1, 2, 3)],
        [{"a": 1}, {"b": 1}],
        [1, 1.0],
        [np.zeros(2), np.zeros(2, np.float32)],
        [np.zeros(2), np.zeros((2, 1))],
        [],
    ],
)
def test_samples_that_do_not_fit_together_are_refused(samples):
    """DAT-4: other fields, types or numbers of dimensions; no sample at all."""
    with pytest.raises(UnusableDataset):
        commit_dataset(Listed(samples), check_seed=SEED)


def test_data_without_random_access_are_refused():
    """An iterator cannot be committed to before the order is known."""
    for dataset in (iter([1, 2]), {1, 2}, (item for item in [1])):
        with pytest.raises(UnusableDataset):
            commit_dataset(dataset, check_seed=SEED)


def test_seeds_and_keys_of_another_length_are_refused():
    """A check that could be foreseen, or a salt that could be guessed."""
    dataset = make_pairs(3)[2]
    for seed, salt in ((bytes(15), b""), (SEED, bytes(31))):
        with pytest.raises(UnusableDataset):
            commit_dataset(dataset, check_seed=seed, salt_key=salt)


def test_a_sample_without_canonical_bytes_is_refused_wherever_it_stands():
    """Text in the last sample only."""
    with pytest.raises(UnsupportedSample):
        commit_dataset(Listed([(1, 2), (1, "two")]), check_seed=SEED)


def test_the_salt_changes_the_leaves_and_not_the_contents():
    """DAT-5, DAT-7: overlap can be counted between salted sets."""
    dataset = make_pairs(20)[2]
    plain = commit_dataset(dataset, check_seed=SEED)
    salted = commit_dataset(dataset, check_seed=SEED, salt_key=SEED)
    assert salted.record.salted
    assert salted.record.leaves.root != plain.record.leaves.root
    assert count_overlap(plain.content_digests, salted.content_digests) == 20


def test_overlap_counts_the_test_samples_that_occur_in_training():
    """DAT-7: whatever their index, and each as often as it stands in the test set."""
    samples = make_pairs(30)[2].samples
    train = commit_dataset(Listed(samples[:20]), check_seed=SEED).content_digests
    test = commit_dataset(Listed([*samples[18:], samples[0], samples[0]]), check_seed=SEED).content_digests
    assert count_overlap(train, test) == 4
    assert count_overlap(test, train) == 3


def test_real_digits_are_committed_to_and_progress_is_told():
    """The 1,797 digits of scikit-learn, read sample by sample."""
    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.float32).reshape(-1, 1, 8, 8)
    told = []
    committed = commit_dataset(
        Listed([(images[i], labels[i]) for i in range(len(labels))]),
        check_seed=SEED,
        progress=lambda done, total: told.append((done, total)),
    )
    assert committed.record.leaves.size == 1797
    assert told == [(0, 1797), (1000, 1797)] * 2
    fast = commit_dataset(
        Listed([(images[i], labels[i]) for i in range(len(labels))]), check_seed=SEED, arrays=[images, labels]
    )
    assert fast.record == committed.record


def test_the_share_that_is_read_twice_is_the_stated_one():
    """DAT-9: one percent, eight at least."""
    assert (datasets.READ_TWICE_SHARE, datasets.MIN_READ_TWICE) == (100, 8)
