"""The public randomness of a ledger whose blocks one operator seals: a hash chain that the genesis commits to.

The operator keeps a secret r_L and publishes r_0, where r_{h−1} = H(r_h). Block h reveals r_h, and its beacon mixes it
in. Nobody but the operator knows a beacon beforehand. **The operator knows all of them**: no rule here changes that.

Source: `spec/blocks.md`, BLK-9 to BLK-11.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from assay.errors import InvalidBlock
from assay.protocol import tags
from assay.protocol.hashing import compute_digest

MAX_CHAIN: Final = 2**26
"""Most blocks that one chain of reveals can serve."""


class RevealRefused(InvalidBlock):
    """A reveal that is not the next link of the chain to which the genesis commits."""

    code: ClassVar[str] = "block.beacon-reveal"


def compute_link(reveal: bytes) -> bytes:
    """Return the link before `reveal`: H(r_h) = r_{h−1} (BLK-9)."""
    return compute_digest(tags.BEACON_CHAIN, reveal)


def build_chain(seed: bytes, length: int) -> Iterator[bytes]:
    """Yield r_L = seed, r_{L−1}, …, r_0: `length` + 1 links, the anchor last."""
    link = seed
    yield link
    for _ in range(length):
        link = compute_link(link)
        yield link


def verify_reveal(previous: bytes, reveal: bytes) -> None:
    """Check that `reveal` is the link after `previous` (BLK-10).

    Raises:
        RevealRefused: it is not.
    """
    if len(reveal) != 32 or compute_link(reveal) != previous:
        raise RevealRefused("the reveal is not the next link of the beacon's chain", actual=reveal.hex())


def compute_beacon(previous: bytes, reveal: bytes) -> bytes:
    """Return beacon_h = H(beacon_{h−1} ‖ r_h); beacon_0 is the chain id (BLK-11)."""
    return compute_digest(tags.BEACON, previous + reveal)
