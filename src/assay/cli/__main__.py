"""The command `assay`: find the noun, let it parse and do one library call, turn the outcome into an exit code.

Nothing is imported before it is needed, and everything that can fail runs inside `main`: an interpreter that dies of
an uncaught exception exits with 1, which would read as "refuted".

Source: `spec/certificate.md`, CRT-30.
"""

from __future__ import annotations

import sys
from contextlib import suppress

HOLDS, REFUTED, USAGE, UNPROVEN = range(4)
"""The exit codes. UNPROVEN stands for everything else, a crash included."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; never raises.

    Args:
        arguments: the words after `assay`; None: those of this process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        from assay.cli.commands import run_command

        code = run_command(words)
        sys.stdout.flush()
    except SystemExit as end:  # argparse: 0 after --help, 2 after wrong usage
        return end.code if end.code in {HOLDS, USAGE} else UNPROVEN
    except KeyboardInterrupt:
        return _fail("interrupted")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not a refutation
        return _report(error, as_json="--json" in words)
    except BaseException as error:  # noqa: BLE001 - not even what is no Exception may end the interpreter with 1
        return _fail(f"unexpected failure: {type(error).__name__}")
    return code if code in {HOLDS, REFUTED, USAGE} else UNPROVEN


def get_exit_code(error: Exception) -> int:
    """Return the exit code that an error stands for: the only place where the two meet."""
    from assay.errors import Refuted, UsageError

    if isinstance(error, Refuted):
        return REFUTED
    return USAGE if isinstance(error, UsageError) else UNPROVEN


def _report(error: Exception, *, as_json: bool) -> int:
    """Print an error, and return its exit code."""
    try:
        from assay.cli.output import print_error

        code = get_exit_code(error)
        if isinstance(error, BrokenPipeError):
            _drop_output()
        print_error(error, code, as_json=as_json)
        sys.stdout.flush()
    except Exception:  # noqa: BLE001 - no memory, no output: still not a refutation
        _drop_output()
        return _fail(f"unexpected failure: {type(error).__name__}")
    return code


def _drop_output() -> None:
    """Let the interpreter end quietly when standard output is gone: a failing last flush would change the code."""
    with suppress(Exception):
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    with suppress(Exception):  # there may be nowhere left to write to
        sys.stderr.write(f"assay: {message}\n")
    return UNPROVEN


if __name__ == "__main__":
    sys.exit(main())
