"""Hashes the chosen values of replayed steps under a verifier's key, while they are computed.

Source: `spec/work-digest.md`.
"""

from __future__ import annotations

from typing import Protocol

from blake3 import blake3

from assay.protocol.evidence.program import Program
from assay.protocol.evidence.work import choose_values

NO_KEY = bytes(32)


class Observer(Protocol):
    """What sees values of a step while they are computed."""

    def choose(self, program: Program) -> tuple[int, ...]:
        """Return the numbers of the values that it wants to see."""
        ...

    def observe(self, number: int, data: memoryview) -> None:
        """Take the little-endian contiguous bytes of one value; they are not kept."""
        ...


class WorkHasher:
    """Implements `Observer`: the work digest of the steps between `begin` and `finish` (WRK-4)."""

    def __init__(self) -> None:
        self._key = NO_KEY
        self._steps = blake3(key=NO_KEY)
        self._values: dict[int, bytes] = {}

    def begin(self, key: bytes) -> None:
        """Forget what was seen and start again under a key of 32 bytes (WRK-1)."""
        self._key = key
        self._steps = blake3(key=key)
        self._values = {}

    def choose(self, program: Program) -> tuple[int, ...]:
        """Return the numbers of the values that enter the digest."""
        return choose_values(program)

    def observe(self, number: int, data: memoryview) -> None:
        """Hash one value of the step under way."""
        self._values[number] = blake3(data, key=self._key).digest()

    def end_step(self, step: int) -> None:
        """Take the values of a step into the digest, in the order of their numbers."""
        self._steps.update(step.to_bytes(8, "little"))
        for number in sorted(self._values):
            self._steps.update(self._values[number])
        self._values = {}

    def finish(self) -> bytes:
        """Return the digest of the steps so far, 32 bytes."""
        return self._steps.digest()
