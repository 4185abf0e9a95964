"""Leaves in memory, for trees under test."""

from bisect import bisect_left


class MemoryLeaves:
    """A dictionary of path to value hash, as a `LeafSource`."""

    def __init__(self, leaves=()):
        self.leaves = dict(leaves)

    def count_leaves(self):
        return len(self.leaves)

    def get_leaves(self, depth, prefixes):
        paths = sorted(self.leaves)
        for prefix in prefixes:
            low = (prefix << (256 - depth)).to_bytes(32, "big")
            high = (((prefix + 1) << (256 - depth)) - 1).to_bytes(32, "big")
            first = bisect_left(paths, low)
            last = first
            while last < len(paths) and paths[last] <= high:
                last += 1
            yield [(path, self.leaves[path]) for path in paths[first:last]]

    def change(self, changes):
        for path, value_hash in changes.items():
            if value_hash is None:
                self.leaves.pop(path, None)
            else:
                self.leaves[path] = value_hash
