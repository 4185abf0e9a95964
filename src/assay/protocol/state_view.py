"""The ledger state as a contract sees it: records under keys, read through to a base that is never changed.

Changes stay in the view. Those of a transaction are kept or dropped together; those of a block are encoded once, at its
end.

Source: `spec/ledger-state.md`.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeVar

import msgspec

from assay.errors import StorageError
from assay.protocol.decoders import get_decoder
from assay.protocol.encoding import Record, encode
from assay.protocol.environment import Notice

RecordT = TypeVar("RecordT", bound=Record)


class LedgerFault(StorageError):
    """A ledger state that contradicts its own rules. No transaction can cause it; the node stops."""

    code: ClassVar[str] = "ledger.fault"


class StateReader(Protocol):
    """Where values come from."""

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded record under a key (u16 contract tag ‖ key within the contract); None: there is none."""


class StateView:
    """Records read from a base, and changes on top of it.

    Args:
        base: the ledger state before; never written to.
    """

    def __init__(self, base: StateReader) -> None:
        self._base = base
        self._records: dict[bytes, Record | None] = {}  # read or kept
        self._changed: dict[bytes, None] = {}  # kept changes, in their order
        self._pending: dict[bytes, Record | None] = {}  # of the transaction in progress
        self._heard: list[Notice] = []  # of the transaction in progress
        self.notices: list[Notice] = []
        """What was told by transactions that were kept."""

    def read(self, key: bytes, kind: type[RecordT]) -> RecordT | None:
        """Return the record under a key; None: there is none.

        Raises:
            LedgerFault: something else is there.
        """
        record = self._pending.get(key)
        if record is None and key not in self._pending:
            if key in self._records:
                record = self._records[key]
            else:
                record = self._records[key] = self._load(key, kind)
        if record is not None and type(record) is not kind:
            raise LedgerFault(
                "a key leads to another kind of record", expected=kind.__name__, actual=repr(type(record))
            )
        return record

    def expect(self, key: bytes, kind: type[RecordT]) -> RecordT:
        """Return a record that must be there.

        Raises:
            LedgerFault: it is not.
        """
        record = self.read(key, kind)
        if record is None:
            raise LedgerFault(f"a {kind.__name__} is missing from the ledger state", actual=key.hex())
        return record

    def write(self, key: bytes, record: Record | None) -> None:
        """Set the record under a key, or delete it with None, as part of the transaction in progress."""
        self._pending[key] = record

    def tell(self, notice: Notice) -> None:
        """Tell whoever follows the chain, if the transaction in progress is kept."""
        self._heard.append(notice)

    def keep(self) -> None:
        """Make what was written since the last `keep` or `drop` part of the block."""
        self._records.update(self._pending)
        self._changed.update(dict.fromkeys(self._pending))
        self._pending.clear()
        if self._heard:
            self.notices += self._heard
            self._heard.clear()

    def drop(self) -> None:
        """Forget what was written since the last `keep` or `drop`."""
        self._pending.clear()
        self._heard.clear()

    def encode_changes(self) -> dict[bytes, bytes | None]:
        """Return every kept change by its key: the encoded record, or None for a deletion."""
        records = self._records
        return {key: None if (record := records[key]) is None else encode(record) for key in self._changed}

    def _load(self, key: bytes, kind: type[RecordT]) -> RecordT | None:
        data = self._base.get(key)
        if data is None:
            return None
        try:
            return get_decoder(kind).decode(data)
        except (msgspec.MsgspecError, ValueError) as error:
            raise LedgerFault(f"the ledger state holds a broken {kind.__name__}", actual=str(error)) from None
