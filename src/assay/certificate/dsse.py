"""The envelope: DSSE with one canonical JSON form.

Source: DSSE protocol 1.0, "Pre-Authentication Encoding"; RFC 8785;
`spec/certificate.md`, CRT-1 to CRT-4.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import rfc8785

from assay.certificate.rejections import MalformedCertificate
from assay.protocol.decoders import get_json_decoder

MAX_BYTES = 8 * 1024 * 1024
MAX_SIGNATURES = 64
PAYLOAD_TYPE = "application/vnd.in-toto+json"

_HEX32 = re.compile("[0-9a-f]{64}")
DocumentT = TypeVar("DocumentT")


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature; `keyid` is the public key itself, as 64 lower-case hex digits."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payload, its type and who signed it."""

    payload: str
    payload_type: str = msgspec.field(name="payloadType")
    signatures: list[Signature]


def compute_pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode_json(value: object) -> bytes:
    """Return the canonical JSON (RFC 8785) of a struct or of plain values.

    Raises:
        MalformedCertificate: an integer beyond 2**53 - 1, a lone surrogate, or a real that JSON cannot hold.
    """
    try:
        return rfc8785.dumps(msgspec.to_builtins(value))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise MalformedCertificate("no canonical JSON exists for these values", actual=str(error)) from None


def decode_json(data: bytes, kind: type[DocumentT]) -> DocumentT:
    """Return what canonical JSON of this kind says.

    Raises:
        MalformedCertificate: of another form, or not the one canonical form; white space, duplicate and extra members
            are found by encoding what was read and comparing all bytes.
    """
    if len(data) > MAX_BYTES:
        raise MalformedCertificate("too large", expected=f"at most {MAX_BYTES} bytes", actual=len(data))
    try:
        value = get_json_decoder(kind).decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise MalformedCertificate(f"bytes do not decode as {kind.__name__}", actual=str(error)) from None
    if encode_json(value) != data:
        raise MalformedCertificate(f"{kind.__name__} is not canonical JSON", expected="RFC 8785, no other member")
    return value


def decode_base64(text: str) -> bytes:
    """Return the bytes of standard, padded base64 in its one form.

    Raises:
        MalformedCertificate: another alphabet, missing padding, or bits set that no byte uses.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedCertificate("not base64", actual=str(error)) from None
    if base64.b64encode(data).decode() != text:
        raise MalformedCertificate("base64 is not in its one form")
    return data


def encode_base64(data: bytes) -> str:
    """Return standard, padded base64."""
    return base64.b64encode(data).decode()


def decode_hex(text: str, what: str) -> bytes:
    """Return the 32 bytes of 64 lower-case hex digits.

    Raises:
        MalformedCertificate: anything else.
    """
    if not _HEX32.fullmatch(text):
        raise MalformedCertificate(f"{what} is not 64 lower-case hex digits", actual=text[:80])
    return bytes.fromhex(text)


def open_envelope(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the payload and the signatures by public key, none of which was checked yet.

    Raises:
        MalformedCertificate: the envelope is not in its one form, or its signatures are not sorted and unique.
    """
    envelope = decode_json(data, Envelope)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise MalformedCertificate("another payload type", expected=PAYLOAD_TYPE, actual=envelope.payload_type[:80])
    identifiers = [signature.keyid for signature in envelope.signatures]
    if not 1 <= len(identifiers) <= MAX_SIGNATURES:
        raise MalformedCertificate("number of signatures", expected=f"1 to {MAX_SIGNATURES}", actual=len(identifiers))
    if identifiers != sorted(set(identifiers)):
        raise MalformedCertificate("signatures are not sorted by keyid, or one key signed twice")
    signatures = {}
    for signature in envelope.signatures:
        raw = decode_base64(signature.sig)
        if len(raw) != 64:
            raise MalformedCertificate("a signature has another length", expected=64, actual=len(raw))
        signatures[decode_hex(signature.keyid, "keyid")] = raw
    return decode_base64(envelope.payload), signatures


def seal_envelope(payload: bytes, signatures: Mapping[bytes, bytes]) -> bytes:
    """Return the canonical bytes of an envelope.

    Args:
        payload: canonical JSON of a Statement.
        signatures: public key (32 bytes) to signature (64 bytes) over `compute_pae(PAYLOAD_TYPE, payload)`.
    """
    entries = [Signature(key.hex(), encode_base64(signatures[key])) for key in sorted(signatures)]
    return encode_json(Envelope(encode_base64(payload), PAYLOAD_TYPE, entries))
