"""Write `vectors/signatures.json`: signatures that hold, and signatures on which libraries disagree.

Run as `python -m tools.signature_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from assay.protocol.signatures import get_public_key, sign
from tools import edwards

PATH = Path(__file__).resolve().parents[1] / "vectors" / "signatures.json"

Case = tuple[str, bytes, bytes, bytes]
"""Name, public key, message, signature."""

SECRET, NONCE = 0x1234567890ABCDEF1234567890ABCDEF, 0xFEDCBA0987654321FEDCBA0987654321
KEY_POINT, NONCE_POINT = edwards.multiply(SECRET, edwards.BASE), edwards.multiply(NONCE, edwards.BASE)
SMALL = edwards.find_small_point()
KEY, COMMITMENT = edwards.encode_point(KEY_POINT), edwards.encode_point(NONCE_POINT)
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")


def finish(commitment: bytes, key: bytes, message: bytes, nonce: int, secret: int) -> bytes:
    """Return R ‖ S with S = nonce + h · secret."""
    answer = (nonce + edwards.compute_challenge(commitment, key, message) * secret) % edwards.ORDER
    return commitment + answer.to_bytes(32, "little")


def find_message(commitment: bytes, key: bytes, *, divisible: bool) -> bytes:
    """Return the first message whose h is, or is not, a multiple of 8: then h · (a point of small order) vanishes."""
    number = 0
    while (edwards.compute_challenge(commitment, key, b"%d" % number) % 8 == 0) != divisible:
        number += 1
    return b"%d" % number


def make_valid() -> Iterator[Case]:
    """Yield signatures that hold."""
    for name, seed, message in (
        ("RFC 8032, 7.1, test 1", RFC_SEED, b""),
        ("seed of zeros", bytes(32), b"message"),
        ("1,000 bytes", b"\xff" * 32, bytes(range(250)) * 4),
    ):
        yield name, get_public_key(seed), message, sign(seed, message)
    yield "made in plain integers", KEY, b"message", finish(COMMITMENT, KEY, b"message", NONCE, SECRET)


def make_altered() -> Iterator[Case]:
    """Yield signatures that nobody disagrees about."""
    _, key, message, signature = next(make_valid())
    yield "another message", key, b"x", signature
    yield "another key", get_public_key(bytes(32)), message, signature
    yield "a bit of R flipped", key, message, bytes([signature[0] ^ 1]) + signature[1:]
    yield "a bit of S flipped", key, message, signature[:32] + bytes([signature[32] ^ 1]) + signature[33:]
    yield "63 bytes", key, message, signature[:-1]
    yield "65 bytes", key, message, signature + b"\0"
    yield "no bytes", key, message, b""
    yield "a key of 31 bytes", key[:-1], message, signature


def make_unreduced() -> Iterator[Case]:
    """Yield signatures with an S or a point that is not reduced."""
    signature = finish(COMMITMENT, KEY, b"message", NONCE, SECRET)
    answer = int.from_bytes(signature[32:], "little")
    for times in (1, 2, 15):
        yield f"S + {times} L", KEY, b"message", COMMITMENT + (answer + times * edwards.ORDER).to_bytes(32, "little")
    plain = NONCE.to_bytes(32, "little")
    for name, encoding in (
        ("y = p + 1", edwards.PRIME + 1),
        ("y = 1 with a sign", 1 | 1 << 255),
        ("y = p + 1 with a sign", edwards.PRIME + 1 | 1 << 255),
    ):
        neutral = encoding.to_bytes(32, "little")
        yield f"A is the neutral element, {name}", neutral, b"message", COMMITMENT + plain
        yield f"R is the neutral element, {name}", KEY, b"message", finish(neutral, KEY, b"message", 0, SECRET)


def make_small_order() -> Iterator[Case]:
    """Yield signatures with points of small order, or with a part of small order."""
    point = SMALL
    for multiple in range(1, 9):
        small = edwards.encode_point(point)
        message = find_message(COMMITMENT, small, divisible=True)
        signature = finish(COMMITMENT, small, message, NONCE, 0)
        yield f"A = {multiple} T, equation holds", small, message, signature
        yield f"R = {multiple} T", KEY, b"message", finish(small, KEY, b"message", 0, SECRET)
        yield f"A = R = {multiple} T, S = 0", small, b"message", small + bytes(32)
        point = edwards.add(point, SMALL)
    mixed = edwards.encode_point(edwards.add(KEY_POINT, SMALL))
    for divisible, name in ((True, "equation holds"), (False, "only the equation with the cofactor holds")):
        message = find_message(COMMITMENT, mixed, divisible=divisible)
        yield f"A = aB + T, {name}", mixed, message, finish(COMMITMENT, mixed, message, NONCE, SECRET)
    for multiple, name in ((1, "T"), (4, "4 T")):
        commitment = edwards.encode_point(edwards.add(NONCE_POINT, edwards.multiply(multiple, SMALL)))
        signature = finish(commitment, KEY, b"message", NONCE, SECRET)
        yield f"R = rB + {name}, only the equation with the cofactor holds", KEY, b"message", signature


def render() -> str:
    """Return the text of the file."""
    valid = [(*case, True) for case in make_valid()]
    refused = [(*case, False) for make in (make_altered, make_unreduced, make_small_order) for case in make()]
    cases = [
        {"name": name, "key": key.hex(), "message": message.hex(), "signature": signature.hex(), "holds": holds}
        for name, key, message, signature, holds in [*valid, *refused]
    ]
    return json.dumps({"cases": cases}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
