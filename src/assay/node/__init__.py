"""The one process that wires a ledger together: engine, storage, mempool and the HTTP door."""
