"""The HTTP door of a node, `/api/v1`. Nothing here decides anything; writes are signed transactions."""
