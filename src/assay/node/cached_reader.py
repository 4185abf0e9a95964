"""Values of the ledger state as of the last commit, remembered between the check of a transaction and its block.

A transaction reads the same few values three times: when it is checked, chosen and carried out. What a commit changes
is changed here too, so that an account that pays often is not read again at all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from assay.protocol.state_view import StateReader

MAX_VALUES: Final = 131_072
MAX_LENGTH: Final = 512
"""Bytes of the longest value that is remembered; longer ones are read again."""

_UNKNOWN: Final = b"unknown"


class ManyReader(StateReader, Protocol):
    """A `StateReader` that reads many values in less time than one after the other."""

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the encoded record under each key; None: there is none."""


class CachedReader:
    """A `StateReader` in front of a store; safe to use from several threads.

    Args:
        store: whose reads belong to the last commit.
        max_values: how many are remembered.
    """

    def __init__(self, store: ManyReader, max_values: int = MAX_VALUES) -> None:
        self._store = store
        self._max = max_values
        self._guard = threading.Lock()
        self._values: dict[bytes, bytes | None] = {}
        self._commits = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a key; None: there is none."""
        value = self._values.get(key, _UNKNOWN)
        if value is not _UNKNOWN:
            return value
        commits = self._commits
        value = self._store.get(key)
        self._remember({key: value}, commits)
        return value

    def prefetch(self, keys: Iterable[bytes]) -> None:
        """Read what is not remembered yet, all of it together; at most half of what can be remembered."""
        unknown = [key for key in dict.fromkeys(keys) if key not in self._values][: self._max // 2]
        commits = self._commits
        self._remember(dict(zip(unknown, self._store.get_many(unknown), strict=True)), commits)

    def _remember(self, values: Mapping[bytes, bytes | None], commits: int) -> None:
        """Keep what was read when so many commits had been."""
        with self._guard:
            if commits == self._commits:  # otherwise they may be values from before a commit
                self._take(values)

    def forget(self) -> None:
        """Remember nothing: the store may have changed."""
        with self._guard:
            self._commits += 1
            self._values = {}

    def note_commit(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Take over what a commit has changed in the store (None: deleted)."""
        with self._guard:
            self._commits += 1
            self._take(changes)

    def _take(self, values: Mapping[bytes, bytes | None]) -> None:
        if len(self._values) + len(values) > self._max:
            self._values = {}
        for key, value in values.items():
            if value is None or len(value) <= MAX_LENGTH:
                self._values[key] = value
            else:
                self._values.pop(key, None)
