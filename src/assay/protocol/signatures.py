"""Ed25519 signatures under one strict rule.

Source: RFC 8032; `spec/hashing.md`. libsodium refuses non-canonical S, non-canonical and small-order points.
"""

from __future__ import annotations

from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

from assay.errors import Refuted


def get_public_key(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte seed."""
    return bytes(SigningKey(seed).verify_key)


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the 64-byte signature of `message` by the key with this 32-byte seed."""
    return SigningKey(seed).sign(message).signature


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature.

    Raises:
        Refuted: the signature is not by this key over this message.
    """
    try:
        VerifyKey(public_key).verify(message, signature)
    except (BadSignatureError, CryptoError, ValueError, TypeError):
        raise Refuted("signature does not hold", expected=f"a signature by {public_key.hex()}") from None
