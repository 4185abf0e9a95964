"""What the contract `accounts` keeps, and its transaction.

Source: `spec/accounts.md`.
"""

from __future__ import annotations

from assay.protocol.encoding import Record


class Account(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One account; its key in the state is its 32-byte Ed25519 public key."""

    balance: int
    nonce: int  # that the next transaction must have


class Supply(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All points that were ever issued, and those of them that were burned."""

    issued: int
    burned: int


class Transfer(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="transfer"):
    """Pay points to an account, which comes into being with its first points."""

    to: bytes
    amount: int
