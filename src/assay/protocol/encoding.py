"""The one encoder: msgspec structs as arrays in canonical MessagePack.

Reading is done in three steps, each of which can only refuse: a walk over the raw bytes in constant stack (`scan`),
the decoder of the record's own types, and a comparison of the record's encoding with the bytes. For few bytes the last
two come first: if they hold, the walk could not refuse.

Source: `spec/encoding.md`.
"""

from __future__ import annotations

import struct
from types import NoneType, UnionType
from typing import Any, ClassVar, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from assay.errors import MalformedEvidence, UsageError
from assay.protocol.decoders import get_decoder
from assay.protocol.scan import MAX_DEPTH, scan

__all__ = [
    "FORMAT_VERSION",
    "MAX_BYTES",
    "MAX_DEPTH",
    "EncodingRefused",
    "NewerFormat",
    "NotCanonical",
    "Record",
    "ShapeRefused",
    "TooLarge",
    "bits_to_float",
    "decode",
    "encode",
    "float_to_bits",
]

MAX_BYTES: Final = 64 * 1024 * 1024
"""Length of the longest record (ENC-7)."""

FORMAT_VERSION: Final = 0
"""The newest format that this reader knows (ENC-12, ENC-13)."""


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every hashed object. The first field of a top-level record is its format `version`."""


class EncodingRefused(UsageError):
    """A value that has no canonical form: a type that is not permitted, an integer out of range, a lone surrogate."""

    code: ClassVar[str] = "encoding.refused"


class TooLarge(MalformedEvidence):
    """More bytes than the reader allows for this record."""

    code: ClassVar[str] = "encoding.too-large"


class ShapeRefused(MalformedEvidence):
    """Well-formed items that are not the fields of this record."""

    code: ClassVar[str] = "encoding.shape"


class NotCanonical(MalformedEvidence):
    """A record whose canonical form has other bytes."""

    code: ClassVar[str] = "encoding.not-canonical"


class NewerFormat(MalformedEvidence):
    """A record of a format that this reader does not know."""

    code: ClassVar[str] = "encoding.newer-format"


RecordT = TypeVar("RecordT", bound=Record)

_SMALL: Final = 1024 * 1024
"""Up to so many bytes are decoded first and looked at closely where they are not canonical."""

_encoder = msgspec.msgpack.Encoder()
_permitted: set[type] = set()


def encode(record: Record) -> bytes:
    """Return the canonical bytes of `record`.

    Only the types of the fields are checked here, once for each class; that the values have these types is the
    caller's duty and `decode`'s check.

    Raises:
        EncodingRefused: a field's type has no canonical form (ENC-2), or a value is out of range.
    """
    if type(record) not in _permitted:
        _permit(type(record))
    try:
        return _encoder.encode(record)
    except (OverflowError, UnicodeEncodeError, TypeError, ValueError) as error:
        raise EncodingRefused(f"{type(record).__name__} has no canonical form", actual=str(error)) from None


def decode(data: bytes, kind: type[RecordT], *, max_bytes: int = MAX_BYTES) -> RecordT:
    """Return the record that `data` encodes.

    Args:
        data: the bytes, from anywhere.
        kind: the record's class.
        max_bytes: refuse more bytes than this before looking at them.

    Raises:
        MalformedEvidence: too long (`TooLarge`), not one item of the permitted kinds in its shortest form (the
            classes of `scan`), of a newer format (`NewerFormat`), of other fields (`ShapeRefused`), or not the
            canonical form (`NotCanonical`).
        EncodingRefused: `kind` has a field whose type has no canonical form.
    """
    name = kind.__name__
    if len(data) > max_bytes:  # ENC-7
        raise TooLarge(f"{name} is too large", expected=f"at most {max_bytes} bytes", actual=f"{len(data)} bytes")
    if kind not in _permitted:
        _permit(kind)
    if len(data) <= _SMALL and (found := _decode_canonical(data, kind)) is not None:
        return found
    scan(data)
    _refuse_newer(data, kind)
    try:
        record = get_decoder(kind).decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:  # ENC-10
        raise ShapeRefused(f"bytes do not decode as {name}", actual=str(error)) from None
    if _encoder.encode(record) != data:  # ENC-1
        raise NotCanonical(f"{name} is not in canonical form")
    return record


def _decode_canonical(data: bytes, kind: type[RecordT]) -> RecordT | None:
    """Return the record if `data` is its canonical form in this format; None: `decode` finds out why not.

    What the encoder makes of a record is one item, of permitted kinds in their shortest forms, no deeper than the
    record's types: bytes equal to it need no walk (ENC-2 to ENC-9). How far a decoder goes wrong before it notices is
    bounded by the length of the bytes.
    """
    try:
        record = get_decoder(kind).decode(data)
        if _encoder.encode(record) != data:
            return None
        _refuse_newer(data, kind)
    except (msgspec.MsgspecError, MalformedEvidence, RecursionError, ValueError):
        return None
    return record


def float_to_bits(value: float) -> int:
    """Return the 64 bits of an IEEE 754 binary64 number, as an unsigned integer below 2⁶⁴ (ENC-4, ENC-11)."""
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def bits_to_float(bits: int) -> float:
    """Return the binary64 number whose bits are `bits`, 0 ≤ bits < 2⁶⁴ (ENC-4)."""
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def _refuse_newer(data: bytes, kind: type[Record]) -> None:
    # ENC-12, ENC-13: decided on the first field alone, because the fields after it may be others in a newer format.
    fields = kind.__struct_fields__
    if not fields or fields[0] != "version" or not (0x90 <= data[0] <= 0x9F or data[0] == 0xDC):
        return
    start = 3 if data[0] == 0xDC else 1
    first = data[start] if len(data) > start else 0xC0
    if FORMAT_VERSION < first < 0x80 or 0xCC <= first <= 0xCF:
        raise NewerFormat(
            f"{kind.__name__} has a newer format than this reader knows",
            expected=f"version {FORMAT_VERSION}",
            actual=f"version {first}" if first < 0x80 else "a version above 127",
            next_step="install a newer version of assay",
        )
    if first != FORMAT_VERSION:
        raise ShapeRefused(f"the first field of {kind.__name__} is no format version", actual=f"byte 0x{first:02X}")


def _permit(kind: type) -> None:
    """Check once that every type reachable from `kind` has a canonical form (ENC-2)."""
    pending: list[Any] = [kind]
    seen: set[Any] = set()
    while pending:
        part = pending.pop()
        if part in seen:
            continue
        seen.add(part)
        if part in (int, str, bytes, bool, NoneType, Ellipsis):
            continue
        if get_origin(part) in (tuple, Union, UnionType):
            pending += get_args(part)
        elif isinstance(part, type) and issubclass(part, Record) and part.__struct_config__.array_like:
            pending += get_type_hints(part).values()
        else:
            raise EncodingRefused(f"{kind.__name__} has a field without canonical form", actual=repr(part))
    _permitted.add(kind)
