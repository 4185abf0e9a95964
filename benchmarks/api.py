"""How long a proven read of the ledger state takes over HTTP, beside a bare FastAPI route, for 50 clients at a time.

Node and bare route are processes of their own, under the same server and one worker each; the clients are a third one,
50 connections that send the next request when the answer is there. A read is a random account of a ledger in SQLite,
with its proof and the sealed header, while blocks are made. The two are asked in turn, several rounds; figures are over
all rounds. At the end one read is checked by the client that trusts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from assay.client.node_client import NodeClient
from assay.node.api.limits import Limits
from assay.node.core import NodeSettings
from assay.node.founding import Founding, found_ledger
from assay.node.service import run_service
from assay.protocol.contracts.accounts import account_key
from benchmarks.report import make_result, print_report

OPERATOR = b"o" * 32
CLIENTS = 50
BAR = 10


def make_accounts(count: int) -> list[bytes]:
    """Return the keys of the ledger's accounts."""
    rng = random.Random(3)  # noqa: S311 - a load, no secret
    return [rng.randbytes(32) for _ in range(count)]


def serve_node(folder: Path) -> None:
    """Be the node, and print where it answers."""
    settings = NodeSettings(folder, interval_ms=500, port=0, limits=Limits(requests_per_second=0))
    run_service(settings, OPERATOR, lambda address: print(address.url, flush=True))


def serve_bare() -> None:
    """Be a FastAPI application with one route, and print where it answers."""
    import socket

    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/bare")
    async def bare() -> dict[str, bool]:
        return {"ok": True}

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # as the node's, without delay
    listening.bind(("127.0.0.1", 0))
    listening.listen(512)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, access_log=False, log_config=None, ws="none", lifespan="off")).run([listening])


async def ask(port: int, paths: list[str], seconds: float, taken: list[float]) -> None:
    """Be one client: ask for the paths in turn over one connection until the time is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    end, number = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        start = time.perf_counter()
        writer.write(f"GET {paths[number % len(paths)]} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        taken.append(time.perf_counter() - start)
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(head.decode())
        number += 1
    writer.close()


async def load(port: int, paths: list[str], seconds: float) -> list[float]:
    """Be all clients; return the seconds of each answer."""
    taken: list[float] = []
    parts = [paths[client::CLIENTS] or paths for client in range(CLIENTS)]
    await asyncio.gather(*(ask(port, part, seconds, taken) for part in parts))
    return taken


def run_load(url: str, kind: str, accounts: int, seconds: float) -> list[float]:
    """Let a process of its own be the clients; return the seconds of each answer."""
    words = [sys.executable, __file__, "--be", "clients", "--url", url, "--kind", kind]
    done = subprocess.run(
        [*words, "--accounts", str(accounts), "--seconds", str(seconds)], stdout=subprocess.PIPE, check=True
    )
    return list(json.loads(done.stdout))


def be_clients(arguments: argparse.Namespace) -> None:
    """Ask, and print the seconds of each answer as JSON."""
    keys = make_accounts(arguments.accounts)
    reads = [f"/api/v1/state/{account_key(key).hex()}" for key in keys[:5000]]
    paths = {"state": reads, "bare": ["/bare"]}[arguments.kind]
    port = int(arguments.url.rsplit(":", 1)[1])
    print(json.dumps(asyncio.run(load(port, paths, arguments.seconds))))


def start(*words: str) -> tuple[subprocess.Popen[str], str]:
    """Start one of the two servers; return the process and where it answers."""
    child = subprocess.Popen(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return child, (child.stdout.readline() if child.stdout else "").strip()


def measure(folder: Path, accounts: int, rounds: int, seconds: float) -> int:
    """Measure, print the report and return the exit status."""
    keys = make_accounts(accounts)
    genesis = found_ledger(folder, Founding("benchmark", dict.fromkeys(keys, 1000), 1, blocks=100_000), OPERATOR)
    node, node_url = start("--be", "node", "--folder", str(folder))
    bare, bare_url = start("--be", "bare")
    try:
        taken: dict[str, list[float]] = {"state": [], "bare": []}
        for url, kind in ((bare_url, "bare"), (node_url, "state")):  # warm
            run_load(url, kind, accounts, 1.0)
        for _ in range(rounds):
            for url, kind in ((bare_url, "bare"), (node_url, "state")):
                taken[kind] += run_load(url, kind, accounts, seconds)
        with NodeClient(node_url, genesis) as client:
            found = client.get_account(keys[0])
        if found.value is None or found.value.balance != 1000:
            raise SystemExit("the proven account is not the one that was founded")
    finally:
        for child in (node, bare):
            child.terminate()
            child.wait()
    return report(taken, accounts, rounds * seconds)


def report(taken: dict[str, list[float]], accounts: int, seconds: float) -> int:
    """Print the report and return the exit status."""
    cuts = {kind: statistics.quantiles(values, n=100) for kind, values in taken.items()}
    results = []
    for name, index, bar in (("p50", 49, BAR), ("p99", 98, None)):
        ours, baseline = 1000 * cuts["state"][index], 1000 * cuts["bare"][index]
        what = f"{name} of a proven state read over {accounts} accounts, {CLIENTS} clients, beside a bare route; ms"
        rates = {
            "perSecond": round(len(taken["state"]) / seconds),
            "barePerSecond": round(len(taken["bare"]) / seconds),
        }
        results.append(make_result(what, round(ours, 2), round(baseline, 2), ours / baseline, bar, **rates))
    return print_report("api", results)


def main(words: list[str]) -> int:
    """Run the benchmark, or be one of its processes; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--be", choices=["node", "bare", "clients"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--kind")
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args(words)
    if arguments.be == "node":
        serve_node(arguments.folder)
    elif arguments.be == "bare":
        serve_bare()
    elif arguments.be == "clients":
        be_clients(arguments)
    else:
        folder = Path(tempfile.mkdtemp(prefix="assay-api-"))
        try:
            return measure(folder / "node", arguments.accounts, arguments.rounds, arguments.seconds)
        finally:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
