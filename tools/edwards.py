"""The group of Ed25519 in plain integers: slow, short, and only for making signatures that must be refused.

Source: RFC 8032, section 5.1.
"""

from __future__ import annotations

from hashlib import sha512

Point = tuple[int, int]

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, PRIME - 2, PRIME) % PRIME
NEUTRAL: Point = (0, 1)


def add(left: Point, right: Point) -> Point:
    """Return the sum of two points."""
    (x1, y1), (x2, y2) = left, right
    mixed = CURVE * x1 * x2 * y1 * y2 % PRIME
    x = (x1 * y2 + x2 * y1) * pow(1 + mixed, PRIME - 2, PRIME) % PRIME
    return x, (y1 * y2 + x1 * x2) * pow(1 - mixed, PRIME - 2, PRIME) % PRIME


def multiply(scalar: int, point: Point) -> Point:
    """Return scalar · point for scalar ≥ 0."""
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def find_point(y: int, sign: int) -> Point | None:
    """Return the point with this y whose x has this lowest bit, if there is one."""
    square = (y * y - 1) * pow(CURVE * y * y + 1, PRIME - 2, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if (x * x - square) % PRIME:
        return None
    return (x if x % 2 == sign else PRIME - x), y


def encode_point(point: Point) -> bytes:
    """Return the reduced encoding of a point."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def find_small_point() -> Point:
    """Return a point of order 8."""
    y = 2
    while True:
        point = find_point(y, 0)
        if point is not None:
            small = multiply(ORDER, point)
            if multiply(4, small) != NEUTRAL:
                return small
        y += 1


BASE: Point = find_point(4 * pow(5, PRIME - 2, PRIME) % PRIME, 0) or NEUTRAL


def compute_challenge(commitment: bytes, key: bytes, message: bytes) -> int:
    """Return h = SHA-512(R ‖ A ‖ m) mod L."""
    return int.from_bytes(sha512(commitment + key + message).digest(), "little") % ORDER
