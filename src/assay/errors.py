"""Every error that Assay raises on purpose.

```
AssayError
├── UsageError                 the caller asked for something that cannot be done
│   └── CaptureRefused         a training step that cannot be recorded rightly: file, line, reason, cure
├── VerificationError          evidence that does not hold
│   ├── MalformedEvidence      bytes that are not the one canonical form
│   ├── Refuted                an explicit finding contradicts the claim
│   └── Unproven               nothing contradicts the claim and nothing proves it
├── InvalidTransaction         a transaction that the ledger's rules refuse
├── InvalidBlock               a block that the ledger's rules refuse
├── StorageError               the disk: full, read-only, locked, torn
└── NetworkError               the other side could not be reached
```

An error says what was expected, what was found and what to do next. `code` is stable: programs may branch on it.
"""

from __future__ import annotations

from typing import ClassVar


class AssayError(Exception):
    """The root of the tree.

    Args:
        message: what went wrong, in one sentence without a final full stop.
        expected: what should have been found.
        actual: what was found.
        next_step: what the reader can do about it.
    """

    code: ClassVar[str] = "assay.error"

    def __init__(
        self,
        message: str,
        *,
        expected: object = None,
        actual: object = None,
        next_step: str | None = None,
    ) -> None:
        self.message = message
        self.expected = expected
        self.actual = actual
        self.next_step = next_step
        super().__init__(message)

    def __str__(self) -> str:
        text = self.message
        if self.expected is not None:
            text += f"\n  expected: {self.expected}"
        if self.actual is not None:
            text += f"\n  actual:   {self.actual}"
        if self.next_step is not None:
            text += f"\n  next:     {self.next_step}"
        return text


class UsageError(AssayError):
    """The caller asked for something that cannot be done."""

    code = "usage"


class CaptureRefused(UsageError):
    """A training step that cannot be recorded rightly; it is refused rather than recorded wrongly."""

    code = "capture.refused"


class VerificationError(AssayError):
    """Evidence that does not hold."""

    code = "verification"


class MalformedEvidence(VerificationError):
    """Bytes that are not the one canonical form of what they claim to be."""

    code = "evidence.malformed"


class Refuted(VerificationError):
    """An explicit finding contradicts the claim."""

    code = "evidence.refuted"


class Unproven(VerificationError):
    """Nothing contradicts the claim, and nothing proves it."""

    code = "evidence.unproven"


class InvalidTransaction(AssayError):
    """A transaction that the ledger's rules refuse; the sender's fault."""

    code = "transaction.invalid"


class InvalidBlock(AssayError):
    """A block that the ledger's rules refuse; the proposer's fault."""

    code = "block.invalid"


class StorageError(AssayError):
    """The disk: full, read-only, locked by another process, or torn."""

    code = "storage"


class NetworkError(AssayError):
    """The other side could not be reached."""

    code = "network"
