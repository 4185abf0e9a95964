"""A disk that fails on purpose, and a model of what a loss of power leaves on it."""

import os
import random
from pathlib import Path

from assay.storage.files import Files, OpenFile, classify_error


class Crash(BaseException):
    """The process is dead: from here on every call of the layer raises this."""


class QuickFiles(Files):
    """The real disk without its promises: for checks in which no power is lost."""

    def fsync(self, file):
        pass

    def fsync_dir(self, path):
        pass


class FileNode:
    """A file: its bytes at the last fsync, then after each change since."""

    def __init__(self, data=b""):
        self.versions = [data]

    def change(self, data):
        self.versions.append(bytes(data))

    def survive(self, rng, page):
        """Return bytes that may be found after a loss of power: any page and the length of any version since fsync."""
        size = len(rng.choice(self.versions))
        pages = (rng.choice(self.versions)[start : start + page] for start in range(0, size, page))
        return b"".join(part.ljust(page, b"\0") for part in pages)[:size]


class FolderNode:
    """A folder: its names at the last fsync, its names now, and the changes between."""

    def __init__(self):
        self.durable = {}
        self.current = {}
        self.pending = []

    def change(self, removed, name=None, node=None):
        if removed is not None:
            self.current.pop(removed, None)
        if name is not None:
            self.current[name] = node
        self.pending.append((removed, name, node))

    def survive(self, rng):
        """Return names that may be found after a loss of power: any of the changes may have reached the disk."""
        names = dict(self.durable)
        for removed, name, node in self.pending:
            if rng.random() < 0.5:
                names.pop(removed, None)
                if name is not None:
                    names[name] = node
        return names


class FaultyFiles(Files):
    """The real disk below `root`, with a fault at the n-th changing call.

    Args:
        root: an existing folder; what it holds is durable.
        fail_at: the number of the call that fails, from 1; 0: none.
        error: an errno, or None for the death of the process.
        lasting: every later changing call fails too.
        seed: chooses how much of a write is done before it fails.
    """

    def __init__(self, root, *, fail_at=0, error=None, lasting=True, seed=0):
        self.root = Path(root)
        self.tree = _read_tree(self.root)
        self.calls = 0
        self.syncs = 0
        self.names = []
        self._fail_at = fail_at
        self._error = error
        self._lasting = lasting
        self._rng = random.Random(seed)

    def revive(self):
        """Return the same disk for a new process: nothing was lost, and nothing was synced in between."""
        heir = FaultyFiles(self.root)
        heir.tree = self.tree
        return heir

    def _find(self, path):
        node = self.tree
        for part in path.relative_to(self.root).parts:
            node = node.current[part]
        return node

    def _is_failing(self, what):
        self.calls += 1
        self.names.append(what)
        return bool(self._fail_at) and (
            self.calls == self._fail_at or (self.calls > self._fail_at and (self._lasting or self._error is None))
        )

    def _fail(self, path):
        if self._error is None:
            raise Crash
        raise classify_error(OSError(self._error, os.strerror(self._error)), path)

    def _step(self, what, path):
        if self._is_failing(what):
            self._fail(path)

    def create(self, path):
        self._step("create", path)
        file = super().create(path)
        self._find(path.parent).change(None, path.name, FileNode())
        return file

    def open_append(self, path):
        self._step("open_append", path)
        is_new = not path.exists()
        file = super().open_append(path)
        if is_new:
            self._find(path.parent).change(None, path.name, FileNode())
        return file

    def write(self, file, data):
        node = self._find(file.path)
        if self._is_failing("write"):
            done = bytes(data)[: self._rng.randrange(len(data) + 1)]
            super().write(file, done)
            node.change(node.versions[-1] + done)
            self._fail(file.path)
        super().write(file, data)
        node.change(node.versions[-1] + bytes(data))

    def truncate(self, file, size):
        self._step("truncate", file.path)
        super().truncate(file, size)
        node = self._find(file.path)
        node.change(node.versions[-1][:size])

    def fsync(self, file):
        self._step("fsync", file.path)
        self.syncs += 1
        node = self._find(file.path)
        node.versions = node.versions[-1:]

    def fsync_dir(self, path):
        self._step("fsync_dir", path)
        self.syncs += 1
        if path != self.root.parent:
            node = self._find(path)
            node.durable, node.pending = dict(node.current), []

    def replace(self, source, target):
        self._step("replace", target)
        node = self._find(source)
        super().replace(source, target)
        self._find(source.parent).change(source.name, target.name, node)

    def unlink(self, path):
        self._step("unlink", path)
        super().unlink(path)
        self._find(path.parent).change(path.name)

    def mkdir(self, path):
        self._step("mkdir", path)
        is_new = not path.exists()
        super().mkdir(path)
        if is_new:
            self._find(path.parent).change(None, path.name, FolderNode())

    def lock(self, path):
        self._step("lock", path)
        return OpenFile(
            path, os.open("/dev/null", os.O_RDWR)
        )  # an injected crash must not leave a lock in this process

    def lose_power(self, target, *, seed, page):
        """Write into the new folder `target` what may be left on the disk."""
        _write_tree(self.tree, Path(target), random.Random(seed), page)


def _read_tree(path):
    folder = FolderNode()
    for entry in path.iterdir():
        folder.durable[entry.name] = _read_tree(entry) if entry.is_dir() else FileNode(entry.read_bytes())
    folder.current = dict(folder.durable)
    return folder


def _write_tree(folder, target, rng, page):
    target.mkdir()
    for name, node in folder.survive(rng).items():
        if isinstance(node, FolderNode):
            _write_tree(node, target / name, rng, page)
        else:
            (target / name).write_bytes(node.survive(rng, page))
