"""Where the node of a folder answers. Imports no server: the commands of the ledger ask this each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from assay.errors import StorageError
from assay.protocol.decoders import get_json_decoder
from assay.storage.chain import get_holder
from assay.storage.files import Files, read_file

CHAIN: Final = "chain"
ADDRESS: Final = "address.json"


@dataclass(frozen=True)
class Address:
    """Where a running node answers, and which process it is."""

    url: str
    pid: int


def read_address(folder: Path) -> Address | None:
    """Return where the node of a folder answers, or None if none runs there.

    Raises:
        StorageError: the disk.
    """
    files = Files()
    pid = get_holder(folder / CHAIN)
    if pid is None or files.get_kind(folder / ADDRESS) != "file":
        return None
    try:
        address = get_json_decoder(Address).decode(read_file(files, folder / ADDRESS, 4096))
    except (msgspec.MsgspecError, StorageError):
        return None
    return address if address.pid == pid else None
