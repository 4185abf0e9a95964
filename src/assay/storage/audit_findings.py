"""What an unfinished audit has found so far, so that it can go on.

It lies in the auditor's own home, `audits/NAME.jsonl` below `paths.get_home()`, never in the run: whoever made the run
could write findings there that nobody made. It is deleted when the audit is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from assay.errors import StorageError
from assay.storage.files import Files, FileTaken, UnsafePath, naming
from assay.storage.json_lines import JsonLines
from assay.storage.paths import get_home

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class AuditUnderWay(StorageError):
    """Another process carries out the same audit with the same key."""

    code = "audit.under-way"


class AuditFindings:
    """The findings of one audit, held by one process at a time; a context manager.

    Args:
        name: letters, digits, `_`, `-`, at most 100.
        home: of the auditor; None: `get_home()`.

    Raises:
        UnsafePath: another name.
        AuditUnderWay: another process holds them.
        StorageError: the disk.
    """

    def __init__(self, name: str, home: Path | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise UnsafePath("not a name for an audit", expected="letters, digits, '_', '-'", actual=ascii(name[:200]))
        folder = (get_home() if home is None else home) / "audits"
        with naming(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files = Files()
        self._path = folder / f"{name}.jsonl"
        try:
            self._lock = self._files.lock(folder / f"{name}.lock")
        except FileTaken as error:
            raise AuditUnderWay(
                "this audit is under way already",
                actual=f"process {error.pid or 'unknown'}",
                next_step="wait for it or stop it; it goes on where it stopped",
            ) from None
        self._lines = JsonLines(self._files, self._path, synced=True)

    def iterate(self) -> Iterator[dict[str, Any]]:
        """Yield what was found, in order; nothing for a new audit.

        Raises:
            LineDamaged: a line that was once on the disk does not decode.
        """
        return self._lines.iterate()

    def append(self, values: Mapping[str, Any]) -> None:
        """Keep one more line; durable on return."""
        self._lines.append(values)

    def forget(self) -> None:
        """Delete them: the audit is complete."""
        self._lines.close()
        if self._files.get_kind(self._path) != "missing":
            self._files.unlink(self._path)

    def close(self) -> None:
        """Let others hold them."""
        self._lines.close()
        self._files.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()
