"""A node as a process: started here or in the background, found by its folder, stopped by its process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from assay.errors import AssayError, NetworkError, StorageError, UsageError
from assay.node.address import ADDRESS, CHAIN, Address, read_address
from assay.node.core import NodeCore, NodeSettings, freeze_memory
from assay.node.server import NodeServer
from assay.storage.chain import get_holder
from assay.storage.files import Files, write_atomic

LOG: Final = "node.log"
_PATIENCE: Final = 60.0
_started: Final[dict[int, subprocess.Popen[bytes]]] = {}
"""Nodes that this process started, so that it takes note of their end when it stops them."""


class NodeNotRunning(UsageError):
    """No node runs on this folder."""

    code: ClassVar[str] = "node.not-running"


class NodeStuck(NetworkError):
    """A node did not start or stop in time; it was left as it is."""

    code: ClassVar[str] = "node.stuck"


class NodeHalted(StorageError):
    """A fault kept the node from making blocks, and it ended; what was committed is kept."""

    code: ClassVar[str] = "node.halted"


def run_service(
    settings: NodeSettings, operator_seed: bytes, on_ready: Callable[[Address], None] | None = None
) -> None:
    """Run a node in this process until SIGTERM or SIGINT; returns when everything is written.

    Raises:
        NodeHalted: a fault kept it from making blocks.
        UsageError, StorageError, NetworkError: it could not start.
    """
    core = NodeCore(settings, operator_seed)
    try:
        server = NodeServer(core)
    except BaseException:
        core.close()
        raise
    address = Address(server.url, os.getpid())
    path = settings.folder / ADDRESS

    def announce() -> None:
        write_atomic(Files(), path, [msgspec.json.encode(address)])
        if on_ready is not None:
            on_ready(address)

    freeze_memory()
    before = {number: signal.signal(number, lambda *_: server.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(announce)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        with suppress(StorageError):
            Files().unlink(path)
    if core.halt is not None:
        raise NodeHalted("the node made no more blocks and ended", actual=_say(core.halt), next_step="see its log")


def start_in_background(folder: Path, arguments: Sequence[str]) -> Address:
    """Start `assay node start` in a process that outlives this one, and return when it answers.

    Args:
        folder: of the node; its log goes there.
        arguments: after `assay node start`.

    Raises:
        NodeStuck: it ended, or did not answer in time; its log says why.
    """
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "assay", "node", "start", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and child.poll() is None:
        address = read_address(folder)
        if address is not None and address.pid == child.pid:
            _started[child.pid] = child
            return address
        time.sleep(0.02)
    raise NodeStuck(
        "the node did not start" if child.poll() is not None else "the node does not answer yet",
        actual=f"exit code {child.returncode}" if child.poll() is not None else f"process {child.pid}",
        next_step=f"see the end of {folder / LOG}",
    )


def stop_service(folder: Path) -> int:
    """Ask the node of a folder to end, and return its process id when it has given the folder free.

    Raises:
        NodeNotRunning: none runs there.
        NodeStuck: it did not end in time; it is not killed.
    """
    pid = get_holder(folder / CHAIN)
    if not pid:
        raise NodeNotRunning(f"no node runs on {folder}", next_step="assay node start")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if get_holder(folder / CHAIN) != pid:
            if pid in _started:
                _started.pop(pid).wait()
            return pid
        time.sleep(0.02)
    raise NodeStuck("the node did not end", actual=f"process {pid}", next_step=f"see the end of {folder / LOG}")


def _say(error: BaseException) -> str:
    return f"{error.code}: {error.message}" if isinstance(error, AssayError) else repr(error)
