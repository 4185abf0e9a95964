"""Which ledgers this person trusts as such: the genesis of each, under a name of their choice.

An anchor is the one thing from which a client checks everything that a node says. It lies in `anchors/NAME.genesis`
below `paths.get_home()`; its id is the chain id. Nothing becomes an anchor because a node or a certificate brings it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from assay.errors import MalformedEvidence, StorageError, UsageError
from assay.protocol.blocks import Genesis, compute_chain_id, verify_genesis
from assay.protocol.encoding import MAX_BYTES, decode, encode
from assay.storage.files import Files, naming, read_file, write_atomic
from assay.storage.paths import get_home

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SUFFIX: Final = ".genesis"


class AnchorNameRefused(UsageError):
    """A name that an anchor cannot have, or that another ledger has."""

    code = "anchor.name"


class AnchorMissing(UsageError):
    """There is no anchor of this name, or several and none was named."""

    code = "anchor.missing"


class AnchorDamaged(StorageError):
    """A file that does not hold a genesis."""

    code = "anchor.damaged"


def decode_genesis(data: bytes, path: Path) -> Genesis:
    """Return the genesis that a file says; `path` is for the message.

    Raises:
        AnchorDamaged: it is none, or breaks its own rules.
    """
    try:
        genesis = decode(data, Genesis)
        verify_genesis(genesis)
    except MalformedEvidence as error:
        raise AnchorDamaged(f"{path} does not hold a genesis", actual=f"{error.code}: {error.message}") from None
    return genesis


def read_genesis_file(path: Path) -> Genesis:
    """Return the genesis in a file.

    Raises:
        AnchorDamaged: it holds none.
        StorageError: the disk.
    """
    return decode_genesis(read_file(Files(), path, MAX_BYTES), path)


def add_anchor(name: str, genesis: Genesis, home: Path | None = None) -> bytes:
    """Trust a ledger under a name; adding the same again does nothing. Return its chain id, 32 bytes.

    Raises:
        AnchorNameRefused: no name, or another ledger has it.
        StorageError: the disk.
    """
    path, files, data = _get_path(name, home), Files(), encode(genesis)
    with naming(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if files.get_kind(path) != "missing":
        held = compute_chain_id(read_genesis_file(path))
        if held != compute_chain_id(genesis):
            raise AnchorNameRefused(
                "another ledger has this name",
                expected=held.hex(),
                actual=compute_chain_id(genesis).hex(),
                next_step=f"choose another name, or: assay trust remove {name} --anchor",
            )
    else:
        write_atomic(files, path, [data])
    return compute_chain_id(genesis)


def read_anchor(name: str | None = None, home: Path | None = None) -> Genesis:
    """Return the genesis under a name; None: the only one that there is.

    Raises:
        AnchorMissing: there is none, or no name was given and there are several.
        StorageError: the disk, or a damaged file.
    """
    names = list_anchors(home)
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in names:
        raise AnchorMissing(
            "no such anchor" if name is not None else "say which ledger is meant",
            expected=", ".join(names) or "none is known yet",
            actual=name,
            next_step="assay trust add NAME --anchor FILE",
        )
    return read_genesis_file(_get_path(name, home))


def remove_anchor(name: str, home: Path | None = None) -> bytes:
    """Stop trusting a ledger, and return its chain id.

    Raises:
        AnchorMissing: there is none of this name.
        StorageError: the disk.
    """
    chain_id = compute_chain_id(read_anchor(name, home))
    Files().unlink(_get_path(name, home))
    return chain_id


def list_anchors(home: Path | None = None) -> list[str]:
    """Return the names of all anchors, sorted.

    Raises:
        StorageError: the disk.
    """
    folder, files = _get_folder(home), Files()
    if files.get_kind(folder) == "missing":
        return []
    names = [name.removesuffix(_SUFFIX) for name in files.list_names(folder) if name.endswith(_SUFFIX)]
    return [name for name in names if NAME.fullmatch(name)]


def _get_folder(home: Path | None) -> Path:
    return (get_home() if home is None else home) / "anchors"


def _get_path(name: str, home: Path | None) -> Path:
    if not NAME.fullmatch(name):
        raise AnchorNameRefused(
            "not a name for an anchor", expected="1 to 64 of a-z, 0-9, dot, hyphen, underscore", actual=ascii(name[:80])
        )
    return _get_folder(home) / f"{name}{_SUFFIX}"
