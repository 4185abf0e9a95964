"""Values of the ledger state as of the last commit, remembered between the check of a transaction and its block.

A transaction reads the same few values three times: when it is checked, chosen and carried out. What a commit changes
is changed here too, so that an account that pays often is not read again at all.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from assay.protocol.state_view import StateReader

MAX_VALUES: Final = 131_072
MAX_LENGTH: Final = 512
"""Bytes of the longest value that is remembered; longer ones are read again."""

_UNKNOWN: Final = b"unknown"


class CachedReader:
    """A `StateReader` in front of a store; safe to use from several threads.

    Args:
        store: whose reads belong to the last commit.
        max_values: how many are remembered.
    """

    def __init__(self, store: StateReader, max_values: int = MAX_VALUES) -> None:
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
        if value is None or len(value) <= MAX_LENGTH:
            with self._guard:
                if commits == self._commits:  # otherwise it may be a value from before a commit
                    self._make_room(1)
                    self._values[key] = value
        return value

    def forget(self) -> None:
        """Remember nothing: the store may have changed."""
        with self._guard:
            self._commits += 1
            self._values = {}

    def note_commit(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Take over what a commit has changed in the store (None: deleted)."""
        with self._guard:
            self._commits += 1
            self._make_room(len(changes))
            for key, value in changes.items():
                if value is None or len(value) <= MAX_LENGTH:
                    self._values[key] = value
                else:
                    self._values.pop(key, None)

    def _make_room(self, count: int) -> None:
        if len(self._values) + count > self._max:
            self._values = {}
