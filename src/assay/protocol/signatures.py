"""Ed25519 signatures under one strict rule, which does not depend on the library that checks them.

RFC 8032 leaves room: libraries disagree about points of small order, about points with a part of small order, and about
encodings that are not reduced. Here a signature (R, S) by a key A holds only if A and R are reduced encodings of points
of the prime-order group other than its neutral element, S < L, and [S]B = R + [h]A. On such inputs all verification
equations agree, with cofactor or without. Honest signers make no others.

Source: RFC 8032, section 5.1.7; `spec/hashing.md`, HSH-9.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

from assay.errors import Refuted

MAX_KEYS: Final = 65_536
"""Keys that are remembered as points of the right group, or not."""


class SignatureRefuted(Refuted):
    """A signature that is not by this key over this message."""

    code: ClassVar[str] = "signature.refuted"


def get_public_key(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte seed."""
    return bytes(SigningKey(seed).verify_key)


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the 64-byte signature of `message` by the key with this 32-byte seed."""
    return SigningKey(seed).sign(message).signature


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
        # The library checks S < L and the equation; newer versions of it may do so times the cofactor.
        VerifyKey(public_key).verify(message, signature)
        holds = _is_proper_key(public_key) and _is_proper_point(signature[:32])
    except (BadSignatureError, CryptoError, ValueError, TypeError):
        holds = False
    if not holds:
        raise SignatureRefuted("signature does not hold", expected=f"a signature by {public_key.hex()}")


def _is_proper_point(encoding: bytes) -> bool:
    """Return whether this is the reduced encoding of a point of the prime-order group, not the neutral one."""
    return bool(crypto_core_ed25519_is_valid_point(encoding))


@lru_cache(maxsize=MAX_KEYS)
def _is_proper_key(public_key: bytes) -> bool:
    """Return the same about a key; accounts come again and again, and the check costs as much as half a signature."""
    return _is_proper_point(public_key)
