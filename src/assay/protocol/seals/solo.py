"""The seal of the engine `solo`: the operator's signature over the id of the header.

It proves who sealed a block and nothing else: the operator could choose the sample, the verifiers and the history.

Source: `spec/blocks.md`, BLK-12.
"""

from __future__ import annotations

from typing import ClassVar

from assay.errors import InvalidBlock
from assay.protocol import tags
from assay.protocol.blocks import Genesis, Header, compute_block_id
from assay.protocol.hashing import tag_bytes
from assay.protocol.signatures import SignatureRefuted, Signer, verify_signature

FAULT_MODEL = "one operator, who could choose the sample, the verifiers and the history"
"""What a certificate says about this engine."""


class WrongSeal(InvalidBlock):
    """A block that the operator of the genesis did not seal."""

    code: ClassVar[str] = "block.seal"


def compute_seal_message(header: Header) -> bytes:
    """Return the 34 bytes that are signed: tag ‖ id of the header."""
    return tag_bytes(tags.SOLO_SEAL) + compute_block_id(header)


def seal_header(operator: Signer, header: Header) -> bytes:
    """Return the operator's 64-byte seal."""
    return operator.sign(compute_seal_message(header))


def verify_seal(genesis: Genesis, header: Header, seal: bytes) -> None:
    """Check that the operator sealed a header, and takes its fees (BLK-12).

    Raises:
        WrongSeal: it did not.
    """
    operator = genesis.engine.operator
    if header.proposer != operator:
        raise WrongSeal("another proposer than the operator", expected=operator.hex(), actual=header.proposer.hex())
    try:
        verify_signature(operator, compute_seal_message(header), seal)
    except SignatureRefuted:
        raise WrongSeal("the seal does not hold", expected=f"a signature by {operator.hex()}") from None
