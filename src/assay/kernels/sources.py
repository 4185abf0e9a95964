"""Which C sources a native library was built from, so that an old library beside newer sources is noticed."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "native"
"""The C sources, and the library; a wheel carries the library alone."""

LIBRARY = FOLDER / "libassay_kernels.so"
"""Where the native library is built, and looked for."""


def compute_source_digest(folder: Path = FOLDER) -> str | None:
    """Return the hex SHA-256 over names and bytes of all C sources; None: there are none."""
    paths = sorted(folder.glob("*.[ch]"))
    if not paths:
        return None
    digest = sha256()
    for path in paths:
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()
