"""Finds, checks and configures the native library; everything native is reached through `load`.

Without the library every caller has its pure-Python path: slower, the same bits. ASSAY_KERNELS in the environment says
what may be used: `off`, or the allowed instruction sets with commas between them (`portable`, `sha,avx2`). Unset: all.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import ClassVar

from assay.errors import UsageError
from assay.kernels.sources import LIBRARY, compute_source_digest

FEATURES = {"sha": 1, "avx2": 2, "avx512": 4}
"""Instruction sets beyond the platform's baseline, by the bits of `assay_kernels.h`."""

VARIABLE = "ASSAY_KERNELS"
REBUILD = "run `make native`, or install the package again"

_used = 0


class KernelsStale(UsageError):
    """A native library that was built from other sources than those beside it."""

    code: ClassVar[str] = "kernels.stale"


class KernelsWrong(UsageError):
    """A native kernel that gives a wrong known answer on this machine; nothing it computes can be relied on."""

    code: ClassVar[str] = "kernels.wrong"


class KernelsChoiceRefused(UsageError):
    """A value of ASSAY_KERNELS that names no instruction set."""

    code: ClassVar[str] = "kernels.choice"


def parse_choice(text: str) -> int | None:
    """Return the allowed bits of a value of ASSAY_KERNELS; None: the library is off.

    Raises:
        KernelsChoiceRefused: a word is unknown.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["off"]:
        return None
    unknown = [word for word in words if word not in {"portable", *FEATURES}]
    if unknown:
        raise KernelsChoiceRefused(
            f"unknown word in {VARIABLE}", expected=f"off, portable, {', '.join(FEATURES)}", actual=", ".join(unknown)
        )
    return sum(bit for name, bit in FEATURES.items() if name in words) if words else sum(FEATURES.values())


@cache
def load() -> ctypes.CDLL | None:
    """Return the native library, its known answers checked; None: there is none, or it is off.

    Raises:
        KernelsChoiceRefused: ASSAY_KERNELS has an unknown word.
        KernelsStale: the library was built from other sources.
        KernelsWrong: a known answer is wrong.
    """
    allowed = parse_choice(os.environ.get(VARIABLE, ""))
    if allowed is None or not LIBRARY.exists():
        return None
    library = open_library(LIBRARY)
    use_features(library, allowed)
    return library


def open_library(path: Path) -> ctypes.CDLL:
    """Return the library with the signatures that all kernels share.

    Raises:
        KernelsStale: the library was built from other sources than those beside it.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelsStale("the native library does not load", actual=error, next_step=REBUILD) from error
    library.assay_source_digest.restype = ctypes.c_char_p
    library.assay_find_wrong_kernel.restype = ctypes.c_char_p
    for name in ("assay_detect_features", "assay_use_features"):
        getattr(library, name).restype = ctypes.c_uint32
    library.assay_use_features.argtypes = [ctypes.c_uint32]
    expected, actual = compute_source_digest(), library.assay_source_digest().decode()
    if expected not in {None, actual}:
        raise KernelsStale(
            "the native library is not that of its sources", expected=expected, actual=actual, next_step=REBUILD
        )
    return library


def use_features(library: ctypes.CDLL, allowed: int) -> int:
    """Choose the variants that may be used, check their known answers, and return the bits in use.

    Raises:
        KernelsWrong: a known answer is wrong.
    """
    global _used  # noqa: PLW0603 - the choice is the library's own global state
    _used = int(library.assay_use_features(allowed))
    wrong = library.assay_find_wrong_kernel()
    if wrong:
        raise KernelsWrong(
            f"the native kernel {wrong.decode()} gives a wrong known answer",
            actual=f"instruction sets {get_names(_used) or ['portable']}",
            next_step=f"{REBUILD}; {VARIABLE}=off does without it",
        )
    return _used


def get_used_features() -> int:
    """Return the bits of the instruction sets in use; 0: the portable variants, or no library."""
    return _used if load() else 0


def get_names(bits: int) -> list[str]:
    """Return the names of instruction sets."""
    return [name for name, bit in FEATURES.items() if bits & bit]


def find_variants() -> list[int]:
    """Return every choice of instruction sets that this machine can run, the portable one first; none: no library."""
    library = load()
    if library is None:
        return []
    found = library.assay_detect_features()
    chosen = [bits for bits in range(sum(FEATURES.values()) + 1) if bits & ~found == 0]
    return [bits for bits in chosen if not bits & FEATURES["avx512"] or bits & FEATURES["avx2"]]


@contextmanager
def only(names: Iterable[str]) -> Iterator[None]:
    """Allow only these instruction sets for a while, so that one machine tests and measures all paths.

    Raises:
        KernelsWrong: a known answer is wrong.
    """
    library, before = load(), get_used_features()
    if library is None:
        yield
        return
    use_features(library, sum(FEATURES[name] for name in names))
    try:
        yield
    finally:
        use_features(library, before)
