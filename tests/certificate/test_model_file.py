"""The model file, against the safetensors library and against its own rules."""

import io
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from assay.certificate.model_file import (
    MAX_HEADER,
    MalformedModelFile,
    TensorSpec,
    compute_file_root,
    compute_nbytes,
    encode_header,
    get_file_name,
    parse_header,
    scan_model,
    write_model,
)
from assay.protocol.evidence.model_state import compute_model_root
from assay.protocol.hashing import compute_bulk_digest
from tests.certificate.cases import ALIASES, WEIGHTS, make_model_file, make_records

PARAMETERS, BUFFERS = ["0/embed.weight", "0/out.bias"], ["0/norm.running", "0/norm.seen"]


def frame(header, data=b""):
    """Return a file with this header and these data."""
    return len(header).to_bytes(8, "little") + header + data


def scan(data):
    """Scan bytes."""
    return scan_model(io.BytesIO(data))


def test_what_is_written_is_read():
    """A scan finds names, types, shapes, digests and the SHA-256 of the file (MFL-1 to MFL-4)."""
    data = make_model_file()
    scanned = scan(data)
    assert (scanned.sha256, scanned.size) == (sha256(data).digest(), len(data))
    assert [tensor.spec.name for tensor in scanned.tensors] == ["embed.weight", "norm.running", "norm.seen", "out.bias"]
    for tensor in scanned.tensors:
        assert tensor.digest == compute_bulk_digest(WEIGHTS[f"0/{tensor.spec.name}"][3])


def test_the_library_reads_our_file():
    """The safetensors library reads the same arrays (MFL-1)."""
    arrays = load(make_model_file())
    assert arrays["embed.weight"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert arrays["norm.seen"].shape == ()
    assert arrays["norm.seen"] == 8


def test_the_library_writes_another_form():
    """What the library writes holds the same tensors and is refused: padding, and order by type (MFL-3)."""
    arrays = load(make_model_file())
    with pytest.raises(MalformedModelFile, match="sorted"):
        scan(save(arrays))


def test_model_root_follows_from_the_file():
    """The tensors of the file, namespaces and aliases give the model root of the state (MFL-7)."""
    scanned = scan(make_model_file())
    expected = compute_model_root(make_records(WEIGHTS, 20), ALIASES)
    assert compute_file_root(scanned.tensors, PARAMETERS, BUFFERS, ALIASES) == expected


def test_missing_and_extra_tensors_are_refused():
    """A file has exactly the tensors of the model (MFL-7)."""
    tensors = scan(make_model_file()).tensors
    with pytest.raises(MalformedModelFile, match="lacks"):
        compute_file_root(tensors[1:], PARAMETERS, BUFFERS, ALIASES)
    with pytest.raises(MalformedModelFile, match="does not have"):
        compute_file_root(tensors, PARAMETERS, BUFFERS[1:], ALIASES)


def test_names_lose_the_index_of_a_single_model():
    """One model: plain names; several: names with their index (MFL-6)."""
    assert get_file_name("0/a", ["0/a", "0/b"]) == "a"
    assert get_file_name("0/a", ["0/a", "1/b"]) == "0/a"


def test_tensors_are_handed_over_whole():
    """A receiver gets each tensor with its bytes, in the order of the file."""
    got = []
    scan_model(io.BytesIO(make_model_file()), lambda spec, data: got.append((spec.name, data)))
    assert got == [(name.removeprefix("0/"), WEIGHTS[name][3]) for name in sorted(WEIGHTS)]


def test_short_reads_are_continued():
    """A stream that returns one byte at a time gives the same result."""

    class Slow(io.BytesIO):
        def read(self, count=-1):
            return super().read(min(count, 1))

    assert scan_model(Slow(make_model_file())) == scan(make_model_file())


ONE = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'

REFUSED = {
    "empty file": b"",
    "truncated length": b"\x01\x00",
    "truncated header": frame(ONE)[:-1],
    "truncated data": frame(ONE, b"x"),
    "data after the last tensor": frame(ONE, b"xyz"),
    "huge header": (MAX_HEADER + 1).to_bytes(8, "little") + b"{}",
    "header of 2**63": (2**63).to_bytes(8, "little"),
    "leading space": frame(b" " + ONE, b"xy"),
    "trailing space": frame(ONE + b" ", b"xy"),
    "inner space": frame(ONE.replace(b":[2]", b": [2]"), b"xy"),
    "metadata": frame(b'{"__metadata__":{"format":"pt"},' + ONE[1:], b"xy"),
    "duplicate tensor": frame(ONE[:-1] + b"," + ONE[1:], b"xy"),
    "duplicate member": frame(ONE.replace(b'"shape":[2]', b'"shape":[1],"shape":[2]'), b"xy"),
    "extra member": frame(ONE.replace(b'"shape"', b'"x":1,"shape"'), b"xy"),
    "other order of members": frame(b'{"a":{"shape":[2],"dtype":"U8","data_offsets":[0,2]}}', b"xy"),
    "gap before": frame(ONE.replace(b"[0,2]", b"[1,3]"), b"xyz"),
    "offsets reversed": frame(ONE.replace(b"[0,2]", b"[2,0]"), b"xy"),
    "offsets do not fit the shape": frame(ONE.replace(b"[2]", b"[3]"), b"xy"),
    "overlap": frame(ONE[:-1] + b',"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', b"xy"),
    "gap between": frame(ONE[:-1] + b',"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}', b"xyzuv"),
    "not sorted": frame(
        b'{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        b"xy",
    ),
    "unknown type": frame(ONE.replace(b"U8", b"U7"), b"xy"),
    "our name of a type": frame(ONE.replace(b"U8", b"u8"), b"xy"),
    "negative extent": frame(ONE.replace(b"[2]", b"[-2]"), b"xy"),
    "product overflows": frame(ONE.replace(b"[2]", b"[4294967296,4294967296,0]").replace(b"[0,2]", b"[0,0]")),
    "real number": frame(ONE.replace(b"[2]", b"[2.0]"), b"xy"),
    "digits without end": frame(ONE.replace(b"[2]", b"[" + b"9" * 5000 + b"]"), b"xy"),
    "too many dimensions": frame(ONE.replace(b"[2]", b"[" + b"1," * 16 + b"2]"), b"xy"),
    "empty name": frame(ONE.replace(b'"a"', b'""'), b"xy"),
    "control character": frame(ONE.replace(b'"a"', b'"\\n"'), b"xy"),
    "escaped letter": frame(ONE.replace(b'"a"', b'"\\u0061"'), b"xy"),
    "no UTF-8": frame(ONE.replace(b'"a"', b'"\xff"'), b"xy"),
    "deep": frame(b"[" * 100_000),
    "no object": frame(b"[]"),
    "null": frame(b"null"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_every_other_form_is_refused(data):
    """Each deviation from the one form is a typed rejection (MFL-2 to MFL-5)."""
    assert scan(frame(ONE, b"xy")).size == len(ONE) + 10
    with pytest.raises(MalformedModelFile):
        scan(data)


def test_a_file_without_tensors_has_one_form():
    """No tensors: an empty object."""
    assert scan(frame(b"{}")).tensors == ()


def test_writer_refuses_wrong_length():
    """Bytes of another length than the shape says are an error of the caller, found before they are written."""
    with pytest.raises(MalformedModelFile, match="another length"):
        write_model(lambda data: None, [TensorSpec("a", "f32", (2,))], lambda name: b"1234")


def test_writer_refuses_a_name_twice():
    """Two tensors of one name cannot be written."""
    with pytest.raises(MalformedModelFile, match="twice"):
        encode_header([TensorSpec("a", "u8", (1,)), TensorSpec("a", "u8", (1,))])


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=8).filter(
    lambda name: name != "__metadata__"
)
dtypes = {"u8": np.uint8, "f32": np.float32, "f64": np.float64, "i64": np.int64, "bool": np.bool_, "f16": np.float16}
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@given(st.dictionaries(names, st.tuples(st.sampled_from(sorted(dtypes)), shapes), max_size=6))
def test_any_tensors_round_trip_and_the_library_agrees(entries):
    """Whatever the names, types and shapes: our reader gives them back, and the library reads the same (MFL-1)."""
    specs = [TensorSpec(name, dtype, shape) for name, (dtype, shape) in entries.items()]
    parts = []
    write_model(
        lambda part: parts.append(bytes(part)),
        specs,
        lambda name: bytes(compute_nbytes(TensorSpec(name, *entries[name]))),
    )
    data = b"".join(parts)
    scanned = scan(data)
    assert {tensor.spec for tensor in scanned.tensors} == set(specs)
    arrays = load(data)
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
        name: (np.dtype(dtypes[dtype]), shape) for name, (dtype, shape) in entries.items()
    }


def test_header_parses_to_what_was_encoded():
    """Parsing is the inverse of encoding."""
    specs = (TensorSpec("a", "bf16", (2, 3)), TensorSpec("ä", "bool", ()), TensorSpec("\U0001f600", "i8", (0,)))
    assert parse_header(encode_header(specs)) == specs
