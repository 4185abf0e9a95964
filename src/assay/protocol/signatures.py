"""Ed25519 signatures under one strict rule, which does not depend on the library that checks them.

RFC 8032 leaves room: libraries disagree about points of small order, about points with a part of small order, and about
encodings that are not reduced. Here a signature (R, S) by a key A holds only if A and R are reduced encodings of points
of the prime-order group other than its neutral element, S < L, and [S]B = R + [h]A. On such inputs all verification
equations agree, with cofactor or without. Honest signers make no others.

Source: RFC 8032, section 5.1.7; `spec/hashing.md`, HSH-9.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import ClassVar, Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

from assay.errors import Refuted

MAX_KEYS: Final = 65_536
"""Keys that are remembered as points of the right group, or not."""

_PRIME: Final = 2**255 - 19
_Y_BITS: Final = 2**255 - 1

_PROBE_KEY: Final = bytes.fromhex("ce0835d5eef35d3d7194904428ab19ee30b76afce559883b3b3542994e42af45")
_PROBE: Final = bytes.fromhex(
    "fec31ed9d7106ff11a74da63b4bee01fd72c3cccb464c3808a6cb109edf6b07f"
    "bfd839e04562a1dd0db3333f328145236e91c395cf1889b8338bfc99be45fd0e"
)
"""A signature of b"message" whose R has a part of order 2: the equation holds only times an even number."""


class SignatureRefuted(Refuted):
    """A signature that is not by this key over this message."""

    code: ClassVar[str] = "signature.refuted"


def get_public_key(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte seed."""
    return Signer(seed).public_key


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the 64-byte signature of `message` by the key with this 32-byte seed."""
    return Signer(seed).sign(message)


class Signer:
    """A key that signs often: its seed is expanded once, which takes as long as a signature.

    Args:
        seed: 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        return self._key.sign(message).signature


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature (HSH-9).

    Args:
        public_key: 32 bytes; anything else is refused.
        message: what was signed.
        signature: 64 bytes, R ‖ S; anything else is refused.

    Raises:
        SignatureRefuted: the signature is not by this key over this message, or breaks the strict rule.
    """
    try:
        VerifyKey(public_key).verify(message, signature)  # checks S < L and the equation
        holds = _is_proper_key(public_key) and _is_proper_commitment(signature[:32])
    except (BadSignatureError, CryptoError, ValueError, TypeError):
        holds = False
    if not holds:
        raise SignatureRefuted("signature does not hold", expected=f"a signature by {public_key.hex()}")


def _is_proper_commitment(encoding: bytes) -> bool:
    """Return whether R is a proper point, where A is one and the library has found that the equation holds.

    Without the cofactor, R = [S]B − [h]A lies in the group of A and B, so that its encoding alone is left to look at:
    a reduced y, and not that of the neutral element. With the cofactor, R may have a part of small order.
    """
    if _ignores_small_parts():
        return _is_proper_point(encoding)
    return 1 < int.from_bytes(encoding, "little") & _Y_BITS < _PRIME


@cache
def _ignores_small_parts() -> bool:
    """Return whether the library checks the equation times a cofactor: some versions do, others do not."""
    try:
        VerifyKey(_PROBE_KEY).verify(b"message", _PROBE)
    except BadSignatureError:
        return False
    return True


def _is_proper_point(encoding: bytes) -> bool:
    """Return whether this is the reduced encoding of a point of the prime-order group, not the neutral one."""
    return bool(crypto_core_ed25519_is_valid_point(encoding))


@lru_cache(maxsize=MAX_KEYS)
def _is_proper_key(public_key: bytes) -> bool:
    """Return the same about a key; accounts come again and again, and the check costs as much as half a signature."""
    return _is_proper_point(public_key)
