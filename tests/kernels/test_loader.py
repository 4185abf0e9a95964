import ctypes
import os
import subprocess
import sys

import pytest

from assay.kernels import loader, sources
from assay.kernels.loader import KernelsChoiceRefused, KernelsStale, KernelsWrong

SHOW = (
    "from assay.kernels import loader; print(loader.load() is not None, loader.get_names(loader.get_used_features()))"
)


def show(choice):
    """Return what a fresh process says about its native library."""
    environment = {**os.environ, "ASSAY_KERNELS": choice}
    return subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=False)


def test_library_is_built_from_these_sources():
    """The library beside the sources carries their digest (else: make native)."""
    assert loader.load() is not None
    assert loader.load().assay_source_digest().decode() == sources.compute_source_digest()


def test_portable_variant_always_runs():
    """Every machine can run the portable variants, and what is in use is one of the choices."""
    variants = loader.find_variants()
    assert variants[0] == 0
    assert loader.get_used_features() in variants
    assert all(variants.count(bits) == 1 for bits in variants)


def test_override_holds_for_a_while():
    """`only` restricts the instruction sets inside its block and restores them after, also after an error."""
    before = loader.get_used_features()
    used = []

    def fail():
        with loader.only([]):
            used.append(loader.get_used_features())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert used == [0]
    assert loader.get_used_features() == before


def test_environment_restricts():
    """ASSAY_KERNELS switches the library off, or restricts it to the named instruction sets."""
    assert show("off").stdout.strip() == "False []"
    assert show("portable").stdout.strip() == "True []"


def test_unknown_instruction_set_is_refused():
    """A misspelt word in ASSAY_KERNELS is an error that lists the words."""
    with pytest.raises(KernelsChoiceRefused) as caught:
        loader.parse_choice("avx2, avx3")
    assert caught.value.actual == "avx3"
    assert "avx512" in caught.value.expected


def test_choices_are_bits():
    """Words become the bits of the header; nothing chosen allows all."""
    assert loader.parse_choice("") == sum(loader.FEATURES.values())
    assert loader.parse_choice("portable") == 0
    assert loader.parse_choice("sha,avx2") == 3
    assert loader.parse_choice("off") is None


def test_library_of_other_sources_is_refused(monkeypatch):
    """A library that was built before the sources changed is not used."""
    monkeypatch.setattr(loader, "compute_source_digest", lambda: "0" * 64)
    with pytest.raises(KernelsStale) as caught:
        loader.open_library(sources.LIBRARY)
    assert "make native" in caught.value.next_step


def test_file_that_is_no_library_is_refused(tmp_path):
    """Bytes that are no library are an error with the way out."""
    text = tmp_path / "libassay_kernels.so"
    text.write_bytes(b"not a library")
    with pytest.raises(KernelsStale):
        loader.open_library(text)


def test_wheel_without_sources_is_trusted(monkeypatch, tmp_path):
    """Where no sources lie beside the library there is nothing to compare with."""
    assert sources.compute_source_digest(tmp_path) is None
    monkeypatch.setattr(loader, "compute_source_digest", lambda: None)
    assert isinstance(loader.open_library(sources.LIBRARY), ctypes.CDLL)


def test_source_digest_sees_names_and_bytes(tmp_path):
    """Renaming a source, or moving a byte from one to the next, changes the digest."""
    digests = set()
    for names in ({"a.c": b"xy", "b.h": b"z"}, {"a.c": b"x", "b.h": b"yz"}, {"a.c": b"xy", "c.h": b"z"}):
        for path in tmp_path.iterdir():
            path.unlink()
        for name, data in names.items():
            (tmp_path / name).write_bytes(data)
        digests.add(sources.compute_source_digest(tmp_path))
    assert len(digests) == 3


class WrongLibrary:
    """A library whose kernels do not give the known answers."""

    def assay_use_features(self, allowed):
        return allowed

    def assay_find_wrong_kernel(self):
        return b"sha256"


def test_wrong_known_answer_is_refused(monkeypatch):
    """A kernel that fails its known answer is named, and the library is not used."""
    monkeypatch.setattr(loader, "_used", 0)
    with pytest.raises(KernelsWrong, match="sha256"):
        loader.use_features(WrongLibrary(), 1)
