"""The one encoder: msgspec structs as arrays in canonical MessagePack.

Source: FORMATS, "Encoding and hashing"; `spec/encoding.md`.
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import msgspec

from assay.errors import MalformedEvidence


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every hashed object. The first field of a top-level record is its format `version`."""


RecordT = TypeVar("RecordT", bound=Record)

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 24


def encode(record: Record) -> bytes:
    """Return the canonical bytes of `record`."""
    return _encoder.encode(record)


def decode(data: bytes, kind: type[RecordT], *, max_bytes: int = MAX_BYTES) -> RecordT:
    """Return the record that `data` encodes.

    Raises:
        MalformedEvidence: too long, too deep, of another form, or not canonical.
    """
    if len(data) > max_bytes:
        raise MalformedEvidence(
            f"{kind.__name__} is too large", expected=f"at most {max_bytes} bytes", actual=len(data)
        )
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind, strict=True)
    try:
        record = decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise MalformedEvidence(f"bytes do not decode as {kind.__name__}", actual=str(error)) from None
    if _encoder.encode(record) != data:
        raise MalformedEvidence(f"{kind.__name__} is not in canonical form")
    return record  # type: ignore[no-any-return]


def float_to_bits(value: float) -> int:
    """Return the 64 bits of an IEEE 754 binary64 number, as an unsigned integer."""
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def bits_to_float(bits: int) -> float:
    """Return the binary64 number whose bits are `bits`, 0 ≤ bits < 2⁶⁴."""
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])
