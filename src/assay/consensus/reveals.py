"""The operator's side of the beacon: the chain of reveals, kept as a pebble every few thousand links.

Source: `spec/blocks.md`, BLK-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from assay.errors import UsageError
from assay.protocol.beacon import MAX_CHAIN, build_chain, compute_link

SPACING: Final = 2048
"""Links from one pebble to the next; so many hashes at most between two blocks."""


class RevealsExhausted(UsageError):
    """The chain of reveals has no link for this height: the ledger has made all its blocks."""

    code: ClassVar[str] = "solo.reveals-exhausted"


class RevealsRefused(UsageError):
    """Pebbles that are not links of one chain, or a chain longer than any may be."""

    code: ClassVar[str] = "solo.reveals"


class RevealChain:
    """Gives the reveal of each height, at best in rising order.

    Args:
        length: blocks that the chain serves.
        pebbles: r at heights 0, SPACING, 2 · SPACING, … below `length`, then r at `length`; 32 bytes each, secret all
            but the first.
    """

    def __init__(self, length: int, pebbles: Sequence[bytes]) -> None:
        self.length = length
        self.pebbles = tuple(pebbles)
        expected = -(-length // SPACING) + 1
        if not 1 <= length <= MAX_CHAIN or len(pebbles) != expected or any(len(each) != 32 for each in pebbles):
            raise RevealsRefused("these are not the pebbles of a chain", expected=expected, actual=len(pebbles))
        self._segment: list[bytes] = []  # reveals of one segment, falling in height
        self._top = -1

    @classmethod
    def build(cls, seed: bytes, length: int) -> RevealChain:
        """Return the chain that ends in `seed`, 32 secret bytes; about 1 µs for each of its `length` links."""
        if not 1 <= length <= MAX_CHAIN:
            raise RevealsRefused("no chain has this length", expected=f"1 to {MAX_CHAIN}", actual=length)
        links = enumerate(build_chain(seed, length))
        kept = [link for fallen, link in links if fallen == 0 or (length - fallen) % SPACING == 0]
        return cls(length, kept[::-1])

    @property
    def anchor(self) -> bytes:
        """r_0, which the genesis names."""
        return self.pebbles[0]

    def get_reveal(self, height: int) -> bytes:
        """Return r at `height`.

        Raises:
            RevealsExhausted: the chain does not reach so far.
            RevealsRefused: a pebble is not a link of the same chain.
        """
        if not 1 <= height <= self.length:
            raise RevealsExhausted(
                "the beacon's chain has no link for this height",
                expected=f"1 to {self.length}",
                actual=height,
                next_step="found a new ledger with a longer chain of reveals",
            )
        if not self._top - len(self._segment) < height <= self._top:
            self._fill(height)
        return self._segment[self._top - height]

    def _fill(self, height: int) -> None:
        index = -(-height // SPACING)
        top = min(index * SPACING, self.length)
        link, segment = self.pebbles[index], []
        for _ in range(top, (index - 1) * SPACING, -1):
            segment.append(link)
            link = compute_link(link)
        if link != self.pebbles[index - 1]:
            raise RevealsRefused("a pebble is no link of this chain", next_step="restore the operator's beacon file")
        self._segment, self._top = segment, top
