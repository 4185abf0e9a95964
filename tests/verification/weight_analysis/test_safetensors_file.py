"""Safetensors files of other programs: read in parts, hostile ones refused."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from assay.storage.files import FileMissing
from assay.verification.weight_analysis.pairs import compare_pair
from assay.verification.weight_analysis.safetensors_file import MalformedSafetensors, SafetensorsSource
from assay.verification.weight_analysis.sources import WeightTensor


def frame(header, data=b""):
    """Return a file with this header and these data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype, shape, begin, end):
    """Return what a header says of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_files_of_the_library_are_read(tmp_path):
    """What the safetensors library writes, with metadata and its own order, is compared like arrays in memory."""
    generator = torch.Generator().manual_seed(0)
    for number in range(2):
        tensors = {
            "z": torch.randn(300, 40, generator=generator),
            "a": torch.randn(50, generator=generator).bfloat16(),
            "h": torch.randn(9, generator=generator).half(),
            "n": torch.tensor(3),
        }
        (tmp_path / f"{number}.safetensors").write_bytes(save(tensors, {"format": "pt"}))
        if number == 0:
            first = tensors
    with (
        SafetensorsSource(tmp_path / "0.safetensors") as one,
        SafetensorsSource(tmp_path / "1.safetensors") as other,
    ):
        assert one.tensors["z"] == WeightTensor("f32", (300, 40))
        found = compare_pair(one, other)
    assert list(found) == ["a", "h", "z"]
    for name, sums in found.items():
        a, b = first[name].double(), tensors[name].double()
        assert sums.change == pytest.approx(float((b - a).abs().sum()), rel=1e-12)
        assert sums.after == pytest.approx(float((b * b).sum()), rel=1e-12)


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "header of 2**64 - 1 bytes": b"\xff" * 8 + b"{}",
    "header longer than the file": (100).to_bytes(8, "little") + b"{}",
    "not JSON": frame(b"{"),
    "a list": frame([]),
    "deep": frame(b"[" * 1_000_000),
    "NaN": frame(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', b"x"),
    "a number of a million digits": frame(b'{"a":{"dtype":"U8","shape":[' + b"9" * 10**6 + b'],"data_offsets":[0,1]}}'),
    "gap": frame({"a": entry("U8", [1], 1, 2)}, b"xy"),
    "overlap": frame({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"xyz"),
    "the same bytes twice": frame({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 0, 1)}, b"x"),
    "bytes after the last": frame({"a": entry("U8", [1], 0, 1)}, b"xy"),
    "too short": frame({"a": entry("F32", [2], 0, 8)}, b"1234"),
    "size and shape": frame({"a": entry("F32", [3], 0, 8)}, b"12345678"),
    "negative": frame({"a": entry("U8", [-1], 0, -1)}),
    "overflowing shape": frame({"a": entry("U8", [2**40, 2**40], 0, 0)}),
    "many dimensions": frame({"a": entry("U8", [1] * 17, 0, 1)}, b"x"),
    "unknown type": frame({"a": entry("F8_E4M3", [1], 0, 1)}, b"x"),
    "further member": frame({"a": {**entry("U8", [1], 0, 1), "offset": 0}}, b"x"),
    "a name twice": frame(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                          b'"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "a member twice": frame(b'{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "metadata that is no text": frame({"__metadata__": {"a": 1}}),
    "code": b"\x80\x04cposix\nsystem\n(S'true'\ntR.",
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(tmp_path, data):
    """Each is refused by type and code, in little memory (WGT-9)."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedSafetensors) as refused:
            SafetensorsSource(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert refused.value.code == "safetensors.malformed"


GOOD = frame({"a": entry("F32", [2], 0, 8), "b": entry("U8", [1], 8, 9)}, b"123456789")


@given(st.integers(0, 8 * len(GOOD) - 1), st.binary(max_size=3))
def test_a_flipped_bit_is_read_or_refused(tmp_path_factory, bit, tail):
    """One flipped bit and a few bytes more give another valid file or the typed refusal, nothing else."""
    data = bytearray(GOOD)
    data[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("flip") / "x.safetensors"
    path.write_bytes(bytes(data) + tail)
    try:
        with SafetensorsSource(path) as source:
            assert sum(int(np.prod(tensor.shape)) for tensor in source.tensors.values()) <= 16
    except MalformedSafetensors as refused:
        assert refused.code == "safetensors.malformed"  # noqa: PT017 - either outcome is right


def test_a_file_that_shrinks_is_refused(tmp_path):
    """A file that is cut while it is read is named, not read as zeros."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(GOOD)
    with SafetensorsSource(path) as source:
        path.write_bytes(GOOD[:-4])
        with pytest.raises(MalformedSafetensors):
            source.read_into("a", 0, memoryview(bytearray(8)))


def test_a_missing_file_is_named(tmp_path):
    """A path without a file is a storage error."""
    with pytest.raises(FileMissing):
        SafetensorsSource(tmp_path / "none.safetensors")
