"""The ledger state tree once more, from `spec/ledger-state.md` alone: recursion bit by bit over a dictionary."""

from hashlib import sha256

TAG = b"\x28\x00"  # STATE_TREE
EMPTY = sha256(b"\x02" + TAG).digest()


def get_bit(path, depth):
    """Return bit `depth` of a path, the highest bit of the first byte being bit 0."""
    return path[depth // 8] >> (7 - depth % 8) & 1


def hash_tree(leaves, depth=0):
    """Return the hash of the subtree over {path: value hash}."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        ((path, value_hash),) = leaves.items()
        return sha256(b"\x00" + TAG + path + value_hash).digest()
    halves = [{p: v for p, v in leaves.items() if get_bit(p, depth) == side} for side in (0, 1)]
    return sha256(b"\x01" + TAG + hash_tree(halves[0], depth + 1) + hash_tree(halves[1], depth + 1)).digest()


def list_siblings(leaves, path, depth=0):
    """Return the siblings from the root down to where `path` ends, and the leaves that are left there."""
    if len(leaves) < 2:
        return [], leaves
    halves = [{p: v for p, v in leaves.items() if get_bit(p, depth) == side} for side in (0, 1)]
    side = get_bit(path, depth)
    below, rest = list_siblings(halves[side], path, depth + 1)
    return [hash_tree(halves[1 - side], depth + 1), *below], rest
