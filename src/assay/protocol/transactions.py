"""Transactions: what accounts sign.

A transaction travels as two byte strings: the encoded transaction, exactly as it was signed, and the signature over its
id. The id names the chain, so a transaction of one ledger means nothing on another.

Source: `spec/transactions.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from assay.errors import InvalidTransaction, MalformedEvidence
from assay.protocol import tags
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.stake_records import DepositStake, WithdrawStake
from assay.protocol.contracts.submission_bodies import (
    AbstainVotes,
    AttestAvailability,
    CommitVotes,
    FlagIntervals,
    ReportEquivocation,
    RevealVotes,
    SubmitRun,
    WithdrawSubmission,
)
from assay.protocol.encoding import Record, decode, encode
from assay.protocol.evidence.fields import MAX_INTEGER
from assay.protocol.hashing import compute_digest
from assay.protocol.signatures import SignatureRefuted, get_public_key, sign, verify_signature

ACCOUNT_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

Body = (
    Transfer
    | DepositStake
    | WithdrawStake
    | SubmitRun
    | WithdrawSubmission
    | AttestAvailability
    | FlagIntervals
    | CommitVotes
    | AbstainVotes
    | RevealVotes
    | ReportEquivocation
)
"""Everything that a transaction can ask for."""


class MalformedTransaction(InvalidTransaction):
    """Bytes that are not the one canonical form of a signed transaction, or fields outside their range."""

    code: ClassVar[str] = "transaction.malformed"


class TransactionTooLarge(InvalidTransaction):
    """A transaction longer than the ledger's parameters permit."""

    code: ClassVar[str] = "transaction.too-large"


class WrongSignature(InvalidTransaction):
    """A signature that is not by the account over this transaction on this chain."""

    code: ClassVar[str] = "transaction.signature"


class Transaction(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is signed."""

    version: int
    account: bytes  # 32-byte Ed25519 public key that signs and pays
    nonce: int
    fee: int  # points, to the proposer of the block
    body: Body


class SignedTransaction(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What travels."""

    unsigned: bytes  # the encoded Transaction
    signature: bytes


@dataclass(frozen=True, slots=True)
class OpenedTransaction:
    """A transaction whose form was checked, and its id."""

    id: bytes
    transaction: Transaction


def compute_transaction_id(chain_id: bytes, unsigned: bytes) -> bytes:
    """Return SHA-256(u16 tag ‖ chain id ‖ unsigned bytes): the id, and what is signed (TXN-2)."""
    return compute_digest(tags.TRANSACTION, chain_id + unsigned)


def sign_transaction(seed: bytes, chain_id: bytes, transaction: Transaction) -> bytes:
    """Return the bytes of a signed transaction; `seed` is the 32-byte seed of its account's key.

    Raises:
        WrongSignature: the seed is that of another account.
    """
    if get_public_key(seed) != transaction.account:
        raise WrongSignature("the key is not that of the account", expected=transaction.account.hex())
    unsigned = encode(transaction)
    return encode(SignedTransaction(unsigned, sign(seed, compute_transaction_id(chain_id, unsigned))))


def read_transaction(chain_id: bytes, data: bytes, max_bytes: int) -> OpenedTransaction:
    """Decode a signed transaction strictly, without checking its signature (TXN-1 to TXN-4).

    Raises:
        TransactionTooLarge: more than `max_bytes`.
        MalformedTransaction: not the canonical form, or account, nonce or fee out of range.
    """
    return _read(chain_id, data, max_bytes)[0]


def open_transaction(chain_id: bytes, data: bytes, max_bytes: int) -> OpenedTransaction:
    """Decode a signed transaction strictly and check its signature (TXN-1 to TXN-5).

    Raises:
        TransactionTooLarge: more than `max_bytes`.
        MalformedTransaction: not the canonical form, or account, nonce or fee out of range.
        WrongSignature: the signature does not hold.
    """
    opened, signature = _read(chain_id, data, max_bytes)
    try:
        verify_signature(opened.transaction.account, opened.id, signature)
    except SignatureRefuted:
        raise WrongSignature(
            "the signature does not hold", expected=f"a signature by {opened.transaction.account.hex()}"
        ) from None
    return opened


def _read(chain_id: bytes, data: bytes, max_bytes: int) -> tuple[OpenedTransaction, bytes]:
    if len(data) > max_bytes:
        raise TransactionTooLarge(
            "the transaction is too large", expected=f"at most {max_bytes} bytes", actual=len(data)
        )
    try:
        signed = decode(data, SignedTransaction)
        transaction = decode(signed.unsigned, Transaction)
    except MalformedEvidence as error:
        raise MalformedTransaction("this is no transaction", actual=f"{error.code}: {error.message}") from None
    if len(transaction.account) != ACCOUNT_BYTES or len(signed.signature) != SIGNATURE_BYTES:
        raise MalformedTransaction("account or signature has a wrong length", expected="32 and 64 bytes")
    if not (0 <= transaction.nonce <= MAX_INTEGER and 0 <= transaction.fee <= MAX_INTEGER):
        raise MalformedTransaction("nonce or fee is out of range", expected=f"0 to {MAX_INTEGER}")
    return OpenedTransaction(compute_transaction_id(chain_id, signed.unsigned), transaction), signed.signature
