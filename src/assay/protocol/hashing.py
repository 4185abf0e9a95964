"""Hashes of objects and of bulk data.

Objects: SHA-256(u16 tag, little-endian ‖ canonical bytes). Bulk data: BLAKE3.

Source: `spec/hashing.md`.
"""

from __future__ import annotations

from hashlib import sha256

from blake3 import blake3

from assay.protocol.encoding import Record, encode

ZERO = bytes(32)
"""Stands for "none" wherever a digest is optional (HSH-4)."""


def tag_bytes(tag: int) -> bytes:
    """Return the two little-endian bytes of a tag."""
    return tag.to_bytes(2, "little")


def compute_digest(tag: int, data: bytes) -> bytes:
    """Return SHA-256(tag ‖ data), 32 bytes."""
    return sha256(tag_bytes(tag) + data).digest()


def compute_id(tag: int, record: Record) -> bytes:
    """Return the id of a record, 32 bytes (HSH-1)."""
    return sha256(tag_bytes(tag) + encode(record)).digest()


def compute_bulk_digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the BLAKE3 digest of raw bytes, 32 bytes; `data` is any contiguous buffer (HSH-3)."""
    return blake3(data).digest()
