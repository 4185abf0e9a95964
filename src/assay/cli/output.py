"""What a person and a program see: boxes, tables, JSON and errors. `NO_COLOR` and pipes get plain text."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

import msgspec

from assay.errors import AssayError


class UnexpectedFailure(AssayError):
    """Anything that was not foreseen, such as a lack of memory; it says nothing about any evidence."""

    code = "unexpected"


MAX_WIDTH = 100
MIN_WIDTH = 40


def print_line(text: str = "") -> None:
    """Print one line of text."""
    sys.stdout.write(escape(text) + "\n")


def print_json(value: object) -> None:
    """Print one JSON object on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_strong(text: str) -> None:
    """Print one line, in bold where the terminal can."""
    shown = escape(text)
    sys.stdout.write((f"\x1b[1m{shown}\x1b[0m" if is_coloured() else shown) + "\n")


def print_error(error: Exception, code: int, *, as_json: bool) -> None:
    """Print an error: for people on standard error, for programs as JSON on standard output.

    Args:
        error: what was raised.
        code: the exit code that follows.
        as_json: whether the command was called with `--json`.
    """
    if not isinstance(error, AssayError):
        error = UnexpectedFailure(f"unexpected failure: {type(error).__name__}: {error}")
    if as_json:
        print_json(
            {
                "exit": code,
                "error": error.code,
                "message": error.message,
                "expected": None if error.expected is None else str(error.expected),
                "actual": None if error.actual is None else str(error.actual),
                "nextStep": error.next_step,
                "findings": getattr(error, "findings", None),
                "parents": getattr(error, "parents", []),
            }
        )
        return
    sys.stderr.write("assay: " + "\n".join(escape(line) for line in str(error).splitlines()) + "\n")


def print_boxes(boxes: Sequence[tuple[str, Iterable[str]]]) -> None:
    """Print boxes of one size below each other: a title and sentences each."""
    width = max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns))
    bodies = [
        [
            line
            for sentence in sentences
            for line in textwrap.wrap(escape(sentence), width - 4, initial_indent="· ", subsequent_indent="  ")
        ]
        for _, sentences in boxes
    ]
    height = max(len(body) for body in bodies)
    for (title, _), body in zip(boxes, bodies, strict=True):
        print_strong(f"┌─ {title} ".ljust(width - 1, "─") + "┐")
        for line in body + [""] * (height - len(body)):
            sys.stdout.write(f"│ {line:<{width - 4}} │\n")
        sys.stdout.write("└" + "─" * (width - 2) + "┘\n")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns; the last column is not padded."""
    widths = [max(len(escape(row[column])) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        cells = [escape(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def escape(text: str) -> str:
    """Return text that cannot steer a terminal: what does not print is shown as an escape sequence."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def is_coloured() -> bool:
    """Return whether standard output is a terminal and `NO_COLOR` is not set."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.stdout.isatty()
