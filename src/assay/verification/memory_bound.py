"""How much memory a worker may take: a hostile program must end its own process, never the auditor's machine."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path
from typing import Final

SMALLEST_SHARE: Final = 1 << 30
"""Bytes that a worker may always take unless told otherwise; torch alone needs some hundred megabytes."""

_GROUP = Path("/sys/fs/cgroup")


def choose_memory(workers: int) -> int:
    """Return an equal share of three quarters of the memory that is free now, in bytes.

    Args:
        workers: how many processes share it, at least 1.
    """
    return max(SMALLEST_SHARE, get_available() * 3 // 4 // workers)


def get_available() -> int:
    """Return the bytes that are free: of the machine, or of the control group if that is less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    match = re.search(r"^MemAvailable:\s*([0-9]+) kB$", _read(Path("/proc/meminfo")), re.MULTILINE)
    if match:
        found.append(int(match[1]) * 1024)
    limit, used = _read(_GROUP / "memory.max").strip(), _read(_GROUP / "memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        found.append(max(0, int(limit) - int(used)))
    return min(found)


def limit_memory(size: int) -> None:
    """Bound the private writable memory of this process at `size` bytes above what it has now; 0: no bound.

    Files that are mapped for reading, such as the data of a run, do not count.
    """
    if size <= 0:
        return
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[5]  # data and stack
    wanted = int(pages) * os.sysconf("SC_PAGE_SIZE") + size
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
