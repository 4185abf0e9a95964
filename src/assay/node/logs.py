"""Structured logs of a node: one JSON object a line, on standard error or in a file that the caller opened.

A record is `{"time": ..., "level": ..., "event": ..., further keys}`; values that came from outside are cut and
escaped, so that nothing in a request can forge a line.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

_MAX_VALUE: Final = 500
NAME: Final = "assay.node"
_logger: Final = logging.getLogger(NAME)


class JsonFormatter(logging.Formatter):
    """Makes one line of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON object."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage()[:_MAX_VALUE],
        }
        for key, value in getattr(record, "facts", {}).items():
            line[key] = value if isinstance(value, int | float | bool | None) else ascii(str(value))[1:-1][:_MAX_VALUE]
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def start_logs(stream: TextIO | None = None, level: str = "INFO") -> None:
    """Send the records of this process there; called once, by the process that is the node."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter())
    for name in (NAME, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def log(event: str, *, level: int = logging.INFO, exc_info: bool = False, **facts: Any) -> None:
    """Write one record.

    Args:
        event: a few fixed words.
        level: of the module `logging`.
        exc_info: whether the exception at hand is told too.
        facts: further keys; text is escaped and cut at 500 characters.
    """
    if _logger.isEnabledFor(level):
        _logger.log(level, event, extra={"facts": facts}, exc_info=exc_info)
