"""The model file: safetensors in exactly one form, written and read strictly as a stream.

`u64 header length, little-endian ‖ header ‖ data`. The header is the JSON object that `encode_header` gives: tensors
sorted by name (UTF-8, bytewise), members in the order dtype, shape, data_offsets, no white space, no metadata. The
data follow in the same order without padding, gap or overlap. Tied weights are stored once.

Source: `spec/model-file.md`, MFL-1 to MFL-7.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

import msgspec
from blake3 import blake3

from assay.errors import MalformedEvidence
from assay.protocol.decoders import get_json_decoder
from assay.protocol.evidence.fields import verify_name
from assay.protocol.evidence.model_state import (
    BUFFER,
    DTYPES,
    PARAM,
    AliasTable,
    TensorRecord,
    compute_model_root,
    sort_key,
)

MAX_HEADER = 8 * 1024 * 1024
MAX_EXTENT = 2**40
MAX_RANK = 16
CHUNK = 1024 * 1024

FILE_DTYPES = {
    "f16": "F16", "bf16": "BF16", "f32": "F32", "f64": "F64", "bool": "BOOL", "u8": "U8", "i8": "I8", "i16": "I16",
    "i32": "I32", "i64": "I64",
}  # fmt: skip
"""Our names of element types, and those of safetensors."""

_OUR_DTYPES = {theirs: ours for ours, theirs in FILE_DTYPES.items()}


class MalformedModelFile(MalformedEvidence):
    """Bytes that are not a model file in its one form."""

    code = "model-file.malformed"


class Reader(Protocol):
    """A binary stream, such as a file that was opened for reading."""

    def read(self, count: int, /) -> bytes:
        """Return at most `count` bytes, none at the end."""
        ...


class TensorSpec(NamedTuple):
    """What the header says of one tensor: its name in the file, element type (ours) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class ScannedTensor(NamedTuple):
    """One tensor of a file that was read: its place and the BLAKE3 of its bytes."""

    spec: TensorSpec
    nbytes: int
    digest: bytes


class ScannedModel(NamedTuple):
    """A whole file that was read and held in its one form."""

    sha256: bytes
    size: int
    tensors: tuple[ScannedTensor, ...]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


_decoder = get_json_decoder(dict[str, _Entry])


def compute_nbytes(spec: TensorSpec) -> int:
    """Return the number of bytes of a tensor (MFL-5).

    Raises:
        MalformedModelFile: name, element type or shape is none that a model file may hold.
    """
    try:
        verify_name(spec.name, "name of a tensor")
    except MalformedEvidence as error:
        raise MalformedModelFile(error.message, expected=error.expected, actual=error.actual) from None
    if spec.name == "__metadata__":
        raise MalformedModelFile("a model file holds no metadata", expected="tensors only")
    if spec.dtype not in DTYPES:
        raise MalformedModelFile("unknown element type", expected=", ".join(DTYPES), actual=spec.dtype)
    if len(spec.shape) > MAX_RANK:
        raise MalformedModelFile("too many dimensions", expected=f"at most {MAX_RANK}", actual=len(spec.shape))
    nbytes = DTYPES[spec.dtype]
    for extent in spec.shape:
        if not 0 <= extent < MAX_EXTENT or nbytes * max(extent, 1) >= MAX_EXTENT:
            raise MalformedModelFile("a tensor is too large", expected="below 2**40 bytes", actual=spec.shape)
        nbytes *= max(extent, 1)
    return 0 if 0 in spec.shape else nbytes


def encode_header(specs: Sequence[TensorSpec]) -> bytes:
    """Return the canonical header of these tensors, which are sorted by name (MFL-3).

    Raises:
        MalformedModelFile: not sorted, not unique, too large, or a tensor that a model file may not hold.
    """
    position, header, previous = 0, {}, b""
    for spec in specs:
        nbytes = compute_nbytes(spec)
        name = spec.name.encode()
        if name <= previous:
            raise MalformedModelFile("tensors are not sorted by name, or one is twice", actual=spec.name)
        previous = name
        header[spec.name] = {
            "dtype": FILE_DTYPES[spec.dtype],
            "shape": spec.shape,
            "data_offsets": (position, position + nbytes),
        }
        position += nbytes
    data = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > MAX_HEADER:
        raise MalformedModelFile("the header is too large", expected=f"at most {MAX_HEADER} bytes", actual=len(data))
    return data


def write_model(
    write: Callable[[bytes | memoryview], object],
    specs: Iterable[TensorSpec],
    read: Callable[[str], bytes | memoryview],
) -> bytes:
    """Write a model file and return its SHA-256.

    Args:
        write: takes the next bytes of the file, such as the `write` of an open binary file.
        specs: the tensors, in any order.
        read: returns the raw little-endian contiguous bytes of the tensor with this name; asked once per tensor, in
            the order of the file, so that one tensor at a time need be in memory.

    Raises:
        MalformedModelFile: a tensor that a model file may not hold, or bytes of another length than its shape says.
    """
    ordered = sorted(specs, key=lambda spec: spec.name.encode(errors="surrogatepass"))
    header = encode_header(ordered)
    digest = sha256()
    for part in (len(header).to_bytes(8, "little"), header):
        digest.update(part)
        write(part)
    for spec in ordered:
        data = memoryview(read(spec.name)).cast("B")
        if len(data) != compute_nbytes(spec):
            raise MalformedModelFile(
                f"tensor {spec.name} has another length", expected=compute_nbytes(spec), actual=len(data)
            )
        digest.update(data)
        write(data)
    return digest.digest()


def parse_header(data: bytes) -> tuple[TensorSpec, ...]:
    """Return the tensors that a header names, in the order of the file.

    Raises:
        MalformedModelFile: anything but the one form; found by encoding what was read and comparing all bytes.
    """
    if len(data) > MAX_HEADER:
        raise MalformedModelFile("the header is too large", expected=f"at most {MAX_HEADER} bytes", actual=len(data))
    try:
        entries = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise MalformedModelFile("the header does not decode", actual=str(error)) from None
    specs = tuple(
        TensorSpec(name, _OUR_DTYPES.get(entry.dtype, entry.dtype), tuple(entry.shape))
        for name, entry in entries.items()
    )
    if encode_header(specs) != data:
        raise MalformedModelFile(
            "the header is not in the one form",
            expected="sorted by name, no white space, no metadata, no gap, no duplicate, no padding",
            next_step="export the model again with `assay run export`",
        )
    return specs


def read_header(stream: Reader) -> tuple[tuple[TensorSpec, ...], bytes]:
    """Read the length and the header from the start of a stream.

    Returns:
        The tensors in the order of the file, and the bytes that were read.

    Raises:
        MalformedModelFile: the stream ends early, or the header is not in the one form.
    """
    prefix = _read_exactly(stream, 8)
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        raise MalformedModelFile("the header is too large", expected=f"at most {MAX_HEADER} bytes", actual=length)
    header = _read_exactly(stream, length)
    return parse_header(header), prefix + header


def scan_model(stream: Reader, receive: Callable[[TensorSpec, bytes], None] | None = None) -> ScannedModel:
    """Read a whole model file and return its digests.

    Args:
        stream: a binary stream at the start of the file.
        receive: if given, is handed each tensor whole; otherwise at most `CHUNK` bytes are held at a time.

    Raises:
        MalformedModelFile: anything but the one form, including bytes after the last tensor.
    """
    specs, start = read_header(stream)
    whole, size, tensors = sha256(start), len(start), []
    for spec in specs:
        nbytes = compute_nbytes(spec)
        digest, kept, left = blake3(), [], nbytes
        while left:
            chunk = _read_exactly(stream, min(left, CHUNK))
            whole.update(chunk)
            digest.update(chunk)
            left -= len(chunk)
            if receive is not None:
                kept.append(chunk)
        if receive is not None:
            receive(spec, b"".join(kept))
        size += nbytes
        tensors.append(ScannedTensor(spec, nbytes, digest.digest()))
    if stream.read(1):
        raise MalformedModelFile("bytes follow the last tensor", expected=f"{size} bytes")
    return ScannedModel(whole.digest(), size, tuple(tensors))


def get_file_name(name: str, all_names: Iterable[str]) -> str:
    """Return the name in the file of a tensor of the state: without `0/` when there is one model only (MFL-6)."""
    return name.removeprefix("0/") if all(other.startswith("0/") for other in all_names) else name


def compute_file_root(
    tensors: Iterable[ScannedTensor],
    parameters: Sequence[str],
    buffers: Sequence[str],
    aliases: AliasTable,
) -> bytes:
    """Return the model root of the tensors of a file (MFL-7).

    Args:
        tensors: what `scan_model` found.
        parameters: names of the parameters in the state (model index '/' qualified name).
        buffers: names of the persistent buffers in the state.
        aliases: the second names of tied tensors, which the file does not hold.

    Raises:
        MalformedModelFile: the file does not hold exactly these tensors.
    """
    every = [*parameters, *buffers]
    bare = all(name.startswith("0/") for name in every)
    places = {name.removeprefix("0/") if bare else name: (PARAM, name) for name in parameters}
    places |= {name.removeprefix("0/") if bare else name: (BUFFER, name) for name in buffers}
    records = []
    for spec, nbytes, digest in tensors:
        place = places.pop(spec.name, None)
        if place is None:
            raise MalformedModelFile("the file holds a tensor that the model does not have", actual=spec.name)
        records.append(TensorRecord(place[0], place[1], spec.dtype, spec.shape, nbytes, digest))
    if places:
        raise MalformedModelFile("the file lacks a tensor of the model", expected=min(places))
    return compute_model_root(sorted(records, key=sort_key), aliases)


def _read_exactly(stream: Reader, count: int) -> bytes:
    parts, left = [], count
    while left:
        part = stream.read(min(left, CHUNK))
        if not part:
            raise MalformedModelFile("the file ends early", expected=f"{left} more bytes")
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
