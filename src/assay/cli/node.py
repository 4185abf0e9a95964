"""`assay node start|status|stop`: a ledger of one's own on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from assay.cli.commands import add_json, add_verbs
from assay.cli.output import print_json, print_line, print_strong
from assay.errors import UsageError


class AmountRefused(UsageError):
    """A text that does not say how many points whose account gets."""

    code = "node.fund"


class FoundedAlready(UsageError):
    """Decisions about a new ledger, for a folder that has one."""

    code = "node.founded-already"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    verbs = add_verbs(
        parser,
        {
            "start": "run a node until Ctrl-C; where there is no ledger yet, found one",
            "status": "say where the node stands, checked against its genesis",
            "stop": "let the node finish its block and end",
        },
    )
    for child in verbs.values():
        child.add_argument("--folder", type=Path, metavar="FOLDER", help="of the node (default: node in ASSAY_HOME)")
        add_json(child)
    _configure_start(verbs["start"])


def _configure_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", default="operator", metavar="NAME", help="the operator's key (default: operator)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7373, help="0: any free one (default: 7373)")
    parser.add_argument(
        "--block-time", type=float, default=1.0, metavar="SECONDS", help="0: only when there is something (default: 1)"
    )
    parser.add_argument("--background", action="store_true", help="return when the node answers, and leave it running")
    founding = parser.add_argument_group("a new ledger; all of this is fixed for ever")
    founding.add_argument("--name", default="local", help="of the ledger (default: local)")
    founding.add_argument(
        "--fund", action="append", default=[], metavar="WHO=POINTS", help="a key's name or 64 digits; may be repeated"
    )
    founding.add_argument("--parameters", type=Path, metavar="FILE", help="JSON with windows, fees and quorums")
    founding.add_argument("--blocks", type=int, metavar="N", help="how many blocks it can have (default: 8388608)")


def execute(arguments: argparse.Namespace) -> int:
    """Carry out the chosen verb and return 0."""
    from assay.cli.ledger import require_node
    from assay.storage.paths import get_home

    require_node()
    folder = arguments.folder or get_home() / "node"
    return {"start": _start, "status": _status, "stop": _stop}[arguments.verb](arguments, folder)


def _start(arguments: argparse.Namespace, folder: Path) -> int:
    from assay.node.service import start_in_background
    from assay.storage.keyring import read_or_create_seed

    seed = read_or_create_seed(arguments.key)
    _found_if_new(arguments, folder, seed)
    if not arguments.background:
        return _run(arguments, folder, seed)
    words = ["--folder", str(folder.absolute()), "--key", arguments.key, "--host", arguments.host]
    address = start_in_background(
        folder, [*words, "--port", str(arguments.port), "--block-time", str(arguments.block_time)]
    )
    if arguments.json:
        print_json({"exit": 0, "url": address.url, "pid": address.pid, "folder": str(folder)})
    else:
        print_strong(f"the node answers at {address.url}")
        print_line(f"process {address.pid}; next: assay node status, assay node stop")
    return 0


def _run(arguments: argparse.Namespace, folder: Path, seed: bytes) -> int:
    from assay.node.address import Address
    from assay.node.core import NodeSettings
    from assay.node.logs import start_logs
    from assay.node.service import run_service

    def tell(address: Address) -> None:
        if arguments.json:
            print_json({"url": address.url, "pid": address.pid, "folder": str(folder)})
        else:
            print_strong(f"the node answers at {address.url}; Ctrl-C ends it")

    start_logs()
    settings = NodeSettings(
        folder, interval_ms=int(arguments.block_time * 1000), host=arguments.host, port=arguments.port
    )
    run_service(settings, seed, tell)
    return 0


def _found_if_new(arguments: argparse.Namespace, folder: Path, seed: bytes) -> None:
    """Found a ledger where the folder has none, and trust it under its name."""
    import time

    from assay.cli.meter import Meter
    from assay.node.founding import DEFAULT_BLOCKS, GENESIS, Founding, decode_parameters, found_ledger
    from assay.protocol.blocks import compute_chain_id
    from assay.protocol.params import DEFAULT_PARAMETERS
    from assay.storage.anchors import add_anchor
    from assay.storage.files import Files, naming, read_file

    if (folder / GENESIS).is_file():
        if arguments.fund or arguments.parameters or arguments.blocks:
            raise FoundedAlready(
                f"{folder} holds a ledger, which can't be changed any more",
                expected="no --fund, --parameters or --blocks",
                next_step="start it without them, or found another one with --folder",
            )
        return
    balances = read_funds(arguments.fund)
    parameters = DEFAULT_PARAMETERS
    if arguments.parameters is not None:
        parameters = decode_parameters(read_file(Files(), arguments.parameters, 100_000))
    with naming(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    founding = Founding(
        arguments.name, balances, time.time_ns() // 1_000_000, parameters, arguments.blocks or DEFAULT_BLOCKS
    )
    with Meter(quiet=arguments.json) as meter:
        meter.update("making the chain of reveals", 0, 1)
        genesis = found_ledger(folder, founding, seed)
    add_anchor(arguments.name, genesis)
    if not arguments.json:
        print_line(f"founded the ledger {arguments.name}, chain {compute_chain_id(genesis).hex()}")
        print_line(f"its operator could choose sample, verifiers and history; give others {folder / GENESIS}")


def read_funds(texts: list[str]) -> dict[bytes, int]:
    """Return points by account from texts such as `alice=1000`.

    Raises:
        AmountRefused: not of this form, or an account twice.
        UsageError: an unknown name.
    """
    from assay.cli.ledger import find_account, read_points

    balances: dict[bytes, int] = {}
    for text in texts:
        who, found, points = text.rpartition("=")
        account = find_account(who) if found else b""
        if not found or account in balances:
            raise AmountRefused(
                "not who gets how many points", expected="NAME=POINTS, each once", actual=ascii(text[:100])
            )
        balances[account] = read_points(points)
    return balances


def _status(arguments: argparse.Namespace, folder: Path) -> int:
    from assay.client.node_client import NodeClient
    from assay.node.address import read_address
    from assay.node.founding import GENESIS
    from assay.node.service import NodeNotRunning
    from assay.storage.anchors import read_genesis_file

    address = read_address(folder)
    if address is None:
        raise NodeNotRunning(f"no node runs on {folder}", next_step="assay node start")
    with NodeClient(address.url, read_genesis_file(folder / GENESIS)) as client:
        status = client.get_status()
        header, _ = client.get_header(status.height)
    if arguments.json:
        print_json({"exit": 0, "url": address.url, "pid": address.pid, "status": status})
        return 0
    print_strong(f"{status.name}: height {header.height}, {status.waiting} waiting; the last header is checked")
    print_line(f"answers at {address.url}, process {address.pid}, for {status.uptime_seconds} s")
    print_line(f"chain {status.chain_id}")
    print_line(f"operator {status.operator}: {status.engine.fault_model}")
    return 0


def _stop(arguments: argparse.Namespace, folder: Path) -> int:
    from assay.node.service import stop_service

    pid = stop_service(folder)
    if arguments.json:
        print_json({"exit": 0, "stopped": pid})
    else:
        print_line(f"stopped, process {pid}; every block is on the disk")
    return 0
