"""The tree over the ledger state, updated in one batch for each block.

The tree is that of `ledger_proofs`: its root depends on the leaves alone, so that nothing but the values is stored, and
a tree can be built again from them at any time. The plain tree here keeps its upper part in memory, down to a *cut*;
below the cut a subtree has a handful of leaves and is computed from them when needed.

Source: `spec/ledger-state.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Final, Protocol

from assay.errors import UsageError
from assay.protocol import tags
from assay.protocol.hashing import tag_bytes
from assay.protocol.ledger_proofs import EMPTY, PATH_BITS, OtherLeaf, StateProof, hash_state_leaf

Leaf = tuple[bytes, bytes]
"""Path and value hash, 32 bytes each."""

LEAVES_PER_SUBTREE: Final = 2
"""How many leaves a subtree below the cut has in the mean, when the tree is built."""

CROWDED: Final = 32
"""With more in the mean, the tree is built again with a deeper cut."""

MAX_CUT: Final = 24

BUILD_BITS: Final = 8
"""While a tree is built, the leaves that agree in so many bits are read at once."""

_NODE: Final = b"\x01" + tag_bytes(tags.STATE_TREE)

Subtree = bytes | None
"""None if the subtree is empty; 33 bytes, 0x00 ‖ leaf hash, if it has one leaf; else its 32-byte hash."""


class LeafSource(Protocol):
    """Where the leaves are."""

    def count_leaves(self) -> int:
        """Return how many values the ledger state has."""

    def get_leaves(self, depth: int, prefixes: Sequence[int]) -> Iterable[Sequence[Leaf]]:
        """Yield, for each prefix of `depth` bits, all leaves whose paths begin with it, sorted by path."""


class NothingComputed(UsageError):
    """`apply` without an update that was computed since the last one."""

    code: ClassVar[str] = "ledger-tree.nothing-computed"


class LedgerTree(Protocol):
    """The tree over the leaves of a source, which change from outside, together with it."""

    @property
    def root(self) -> bytes:
        """Root of the ledger state (LST-3)."""

    def rebuild(self) -> None:
        """Compute everything from the leaves."""

    def compute_update(self, changes: Mapping[bytes, bytes | None]) -> bytes:
        """Return the root after a batch of changes, without changing the tree (LST-3, LST-4).

        What was computed is kept for `apply`, and forgotten at the next call.

        Args:
            changes: new value hash by path; None: the value is deleted.
        """

    def apply(self) -> None:
        """Take over what was computed last; the source must have changed already.

        Raises:
            NothingComputed: there is no such update.
        """

    def prove(self, path: bytes) -> StateProof:
        """Return the proof that a path has its value, or that it has none (LST-5 to LST-7)."""


@dataclass(frozen=True, slots=True)
class _Update:
    """What a batch of changes does: changed upper nodes by their place, and how many leaves more there are."""

    nodes: Mapping[int, Subtree]
    added: int


class PlainLedgerTree:
    """A `LedgerTree` that keeps the upper part of the tree, and reads the leaves below when it needs them.

    A place is 1 for the root, 2p and 2p + 1 for the halves of p: the bits of a prefix after a leading one.

    Args:
        source: the leaves.
    """

    def __init__(self, source: LeafSource) -> None:
        self._source = source
        self._update: _Update | None = None
        self._nodes: dict[int, bytes] = {}
        self._count = 0
        self._cut = 0
        self.rebuild()

    @property
    def root(self) -> bytes:
        """Root of the ledger state (LST-3)."""
        return _show(self._nodes.get(1))

    def rebuild(self) -> None:
        """Compute everything from the leaves, with a cut that fits their number."""
        self._count = self._source.count_leaves()
        self._cut = min(MAX_CUT, max(0, (self._count // LEAVES_PER_SUBTREE).bit_length() - 1))
        nodes: dict[int, bytes] = {}
        bits = min(BUILD_BITS, self._cut)
        for prefix, leaves in enumerate(self._source.get_leaves(bits, range(1 << bits))):
            _fill(nodes, (1 << bits) | prefix, bits, self._cut, leaves)
        for depth in range(bits - 1, -1, -1):
            for place in range(1 << depth, 2 << depth):
                node = _join(nodes.get(2 * place), nodes.get(2 * place + 1))
                if node is not None:
                    nodes[place] = node
        self._nodes = nodes

    def compute_update(self, changes: Mapping[bytes, bytes | None]) -> bytes:
        """Return the root after a batch of changes, without changing the tree (LST-3, LST-4)."""
        shift = PATH_BITS - self._cut
        by_prefix: dict[int, list[bytes]] = {}
        for path in sorted(changes):
            by_prefix.setdefault(int.from_bytes(path, "big") >> shift, []).append(path)
        groups: list[list[Leaf]] = []
        added = 0
        for paths, old in zip(by_prefix.values(), self._source.get_leaves(self._cut, list(by_prefix)), strict=True):
            leaves = dict(old)
            for path in paths:
                value_hash = changes[path]
                if value_hash is None:
                    leaves.pop(path, None)
                else:
                    leaves[path] = value_hash
            added += len(leaves) - len(old)
            groups.append(sorted(leaves.items()))
        first = 1 << self._cut
        places = [first | prefix for prefix in by_prefix]
        changed = {place: _compute_subtree(leaves, self._cut) for place, leaves in zip(places, groups, strict=True)}
        self._climb(changed, places)
        self._update = _Update(changed, added)
        return _show(changed[1] if changed else self._nodes.get(1))

    def apply(self) -> None:
        """Take over what was computed last; the source must have changed already."""
        if self._update is None:
            raise NothingComputed("no update was computed since the last one was applied")
        update, self._update = self._update, None
        self._nodes.update((place, node) for place, node in update.nodes.items() if node is not None)
        for place, node in update.nodes.items():
            if node is None:
                self._nodes.pop(place, None)
        self._count += update.added
        if self._count > CROWDED << self._cut and self._cut < MAX_CUT:
            self.rebuild()

    def prove(self, path: bytes) -> StateProof:
        """Return the proof that a path has its value, or that it has none (LST-5 to LST-7)."""
        bits = int.from_bytes(path, "big")
        siblings: list[bytes] = []
        depth = 0
        while depth < self._cut:
            place = (1 << depth) | bits >> (PATH_BITS - depth)
            node = self._nodes.get(place)
            if node is None or len(node) == 33:
                break
            below = (1 << (depth + 1)) | bits >> (PATH_BITS - depth - 1)
            siblings.append(_show(self._nodes.get(below ^ 1)))
            depth += 1
        (found,) = self._source.get_leaves(depth, [bits >> (PATH_BITS - depth)])
        leaves = list(found)
        while len(leaves) > 1:
            halves: tuple[list[Leaf], list[Leaf]] = ([], [])
            for leaf in leaves:
                halves[_get_bit(leaf[0], depth)].append(leaf)
            side = bits >> (PATH_BITS - 1 - depth) & 1
            depth += 1
            siblings.append(_show(_compute_subtree(halves[1 - side], depth)))
            leaves = halves[side]
        other = OtherLeaf(*leaves[0]) if leaves and leaves[0][0] != path else None
        return StateProof(tuple(siblings), other)

    def _climb(self, changed: dict[int, Subtree], places: list[int]) -> None:
        """Compute every node above the given places, level by level, each once."""
        nodes = self._nodes
        while places and places[0] > 1:
            places = list(dict.fromkeys(place >> 1 for place in places))
            for place in places:
                left, right = 2 * place, 2 * place + 1
                changed[place] = _join(
                    changed[left] if left in changed else nodes.get(left),
                    changed[right] if right in changed else nodes.get(right),
                )


def _show(subtree: Subtree) -> bytes:
    """Return the hash of a subtree."""
    if subtree is None:
        return EMPTY
    return subtree if len(subtree) == 32 else subtree[1:]


def _join(left: Subtree, right: Subtree) -> Subtree:
    """Return the subtree over two halves: a lone leaf moves up, everything else is a node (LST-3)."""
    if left is None:
        if right is None or len(right) == 33:
            return right
        return sha256(_NODE + EMPTY + right).digest()
    if right is None:
        return left if len(left) == 33 else sha256(_NODE + left + EMPTY).digest()
    return sha256(_NODE + left[-32:] + right[-32:]).digest()


def _get_bit(path: bytes, depth: int) -> int:
    return path[depth >> 3] >> (7 - (depth & 7)) & 1


def _compute_subtree(leaves: Sequence[Leaf], depth: int) -> Subtree:
    """Return the subtree at `depth` over sorted leaves whose paths agree in their first `depth` bits."""
    if len(leaves) < 2:
        return b"\x00" + hash_state_leaf(*leaves[0]) if leaves else None
    first, last = int.from_bytes(leaves[0][0], "big"), int.from_bytes(leaves[-1][0], "big")
    fork = PATH_BITS - (first ^ last).bit_length()  # the first bit in which they differ
    middle = 1
    while not _get_bit(leaves[middle][0], fork):
        middle += 1
    node = _join(_compute_subtree(leaves[:middle], fork + 1), _compute_subtree(leaves[middle:], fork + 1))
    for level in range(fork - 1, depth - 1, -1):
        node = _join(None, node) if first >> (PATH_BITS - 1 - level) & 1 else _join(node, None)
    return node


def _fill(nodes: dict[int, bytes], place: int, depth: int, cut: int, leaves: Sequence[Leaf]) -> Subtree:
    """Store every node from `place` down to the cut, and return the one at `place`; leaves are sorted."""
    if not leaves:
        return None
    if depth == cut:
        node = _compute_subtree(leaves, depth)
    else:
        low, high = 0, len(leaves)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if _get_bit(leaves[middle][0], depth) else (middle + 1, high)
        node = _join(
            _fill(nodes, 2 * place, depth + 1, cut, leaves[:low]),
            _fill(nodes, 2 * place + 1, depth + 1, cut, leaves[low:]),
        )
    if node is not None:
        nodes[place] = node
    return node
