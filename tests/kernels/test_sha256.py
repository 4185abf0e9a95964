import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kernels import loader, sha256
from assay.protocol import merkle

BOUNDARIES = [length + offset for length in (56, 64, 119, 120, 128, 192, 1024) for offset in (-1, 0, 1)]
LENGTHS = [*range(9), *BOUNDARIES]


def make_message(length):
    """Return bytes of period 251, so that swapped blocks show."""
    return bytes(i % 251 for i in range(length))


def test_each_length_alone(variant):
    """Every length around the block boundaries has hashlib's digest."""
    for length in LENGTHS:
        message = make_message(length)
        assert sha256.compute_digests([message]) == [hashlib.sha256(message).digest()], length


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 15, 16, 17, 33])
def test_lengths_side_by_side(variant, count):
    """Messages of different lengths that share a group do not disturb one another."""
    for shift in range(len(LENGTHS)):
        messages = [make_message(LENGTHS[(i * 5 + shift) % len(LENGTHS)]) for i in range(count)]
        assert sha256.compute_digests(messages) == [hashlib.sha256(message).digest() for message in messages]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 257])
def test_roots_are_the_oracles(variant, size):
    """Trees of every shape have the root of `protocol/merkle`."""
    leaves = [merkle.hash_leaf(9, bytes([i % 251])) for i in range(size)]
    assert sha256.compute_root(9, leaves) == merkle.compute_root(9, leaves)


def test_empty_list_has_the_oracles_root():
    """The root over nothing is the tagged constant."""
    assert sha256.compute_root(300, []) == merkle.compute_root(300, [])


@given(st.lists(st.binary(max_size=300), max_size=40), st.integers(0, 2**16 - 1))
def test_any_messages(messages, tag):
    """Whatever the messages and the tag: hashlib's digests and the oracle's root."""
    digests = [hashlib.sha256(message).digest() for message in messages]
    assert sha256.compute_digests(messages) == digests
    assert sha256.compute_root(tag, digests) == merkle.compute_root(tag, digests)


def test_without_the_library(monkeypatch):
    """The pure-Python path gives the same digests and roots."""
    messages = [make_message(length) for length in LENGTHS]
    fast = sha256.compute_digests(messages), sha256.compute_root(1, sha256.compute_digests(messages))
    assert loader.load() is not None
    monkeypatch.setattr(sha256, "_bind", lambda: None)
    assert (sha256.compute_digests(messages), sha256.compute_root(1, sha256.compute_digests(messages))) == fast


def test_joined_leaves_without_the_library(monkeypatch):
    """The plain path over hashes that stand one after another."""
    leaves = [merkle.hash_leaf(9, bytes([i])) for i in range(11)]
    fast = sha256.compute_joined_root(9, b"".join(leaves))
    monkeypatch.setattr(sha256, "_bind", lambda: None)
    assert sha256.compute_joined_root(9, b"".join(leaves)) == fast == merkle.compute_root(9, leaves)
    assert not sha256.is_available()
