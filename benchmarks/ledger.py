"""How many signed transfers a second the engine `solo` commits, durably and under a provable root.

A ledger of a million accounts in SQLite. Transfers between accounts drawn at random are signed beforehand; then two
threads submit them, as the threads of the HTTP door do, while the engine makes blocks: form, signature, nonce, balance,
state tree, results, seal, one durable database transaction a block. The baseline is the bare strict signature check of
the same transfers in one thread, before and after. At the end the database is opened again: its state must have the
root of the last header, and the points must be all there.

A lone transfer, on a ledger that makes blocks on demand, is timed from `submit` to its durable block, beside the fsync
of 4 KiB on the same disk: in turn appended to a new file, which counts, and to an open one, which is told as well. As
in the other load, an account sends three; the first of each, whose key is new to the node, is told apart as well.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from assay.client.builders import Payer, build_transfer
from assay.node.address import CHAIN
from assay.node.application import LedgerApplication
from assay.node.chain_store import ChainStore
from assay.node.core import NodeCore, NodeSettings, freeze_memory
from assay.node.founding import Founding, found_ledger
from assay.node.mempool import MempoolFull, MempoolLimits
from assay.protocol.blocks import Genesis, compute_chain_id
from assay.protocol.contracts.account_records import Account
from assay.protocol.contracts.accounts import account_key
from assay.protocol.encoding import decode
from assay.protocol.params import DEFAULT_PARAMETERS
from assay.protocol.signatures import get_public_key, verify_signature
from assay.protocol.transactions import SignedTransaction, Transaction, compute_transaction_id
from benchmarks.report import make_result, print_report

OPERATOR = b"o" * 32
POINTS = 1_000_000
TRANSFERS_EACH = 3
BLOCK = 8192
INTERVAL_MS = 500
THREADS = 2
BAR, GOAL = 4000, 8000


@dataclass
class Load:
    """A founded ledger and transfers for it."""

    folder: Path
    genesis: Genesis
    transfers: list[bytes]


def make_seed(number: int) -> bytes:
    """Return the seed of an account that signs."""
    return b"signer" + number.to_bytes(26, "big")


def prepare(folder: Path, accounts: int, transfers: int) -> Load:
    """Found a ledger of so many accounts and sign transfers between them: three of an account, or more if few."""
    rng = random.Random(7)  # noqa: S311 - a load, no secret
    signers = [get_public_key(make_seed(number)) for number in range(min(-(-transfers // TRANSFERS_EACH), accounts))]
    keys = signers + [rng.randbytes(32) for _ in range(accounts - len(signers))]
    parameters = msgspec.structs.replace(DEFAULT_PARAMETERS, max_block_transactions=BLOCK)
    founding = Founding("benchmark", dict.fromkeys(keys, POINTS), 1_700_000_000_000, parameters, 4096)
    genesis = found_ledger(folder, founding, OPERATOR)
    chain_id = compute_chain_id(genesis)
    signed = []
    for number in range(transfers):
        sender = number % len(signers)
        receiver = keys[rng.randrange(accounts)]
        while receiver == keys[sender]:
            receiver = keys[rng.randrange(accounts)]
        payer = Payer(make_seed(sender), chain_id, number // len(signers), 1)
        signed.append(build_transfer(payer, receiver, 1 + rng.randrange(5)).data)
    return Load(folder, genesis, signed)


def measure_signatures(load: Load, count: int) -> float:
    """Return how many of the transfers' signatures are checked a second, in one thread."""
    chain_id, cases = compute_chain_id(load.genesis), []
    for data in load.transfers[:count]:
        signed = decode(data, SignedTransaction)
        account = decode(signed.unsigned, Transaction).account
        cases.append((account, compute_transaction_id(chain_id, signed.unsigned), signed.signature))
    start = time.perf_counter()
    for account, identity, signature in cases:
        verify_signature(account, identity, signature)
    return len(cases) / (time.perf_counter() - start)


def submit_all(core: NodeCore, transfers: list[bytes]) -> None:
    """Submit transfers, waiting where no more may wait."""
    for data in transfers:
        while True:
            try:
                core.engine.submit(data)
                break
            except MempoolFull:
                time.sleep(0.002)


def measure_transfers(load: Load, core: NodeCore) -> tuple[float, list[int]]:
    """Return transfers committed a second, from the first submission to the last durable block, and the block sizes."""
    news = threading.Event()
    core.listen(news.set, news.set)
    first = core.get_height() + 1
    start = time.perf_counter()
    threads = [
        threading.Thread(target=submit_all, args=(core, load.transfers[part::THREADS])) for part in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while len(core.pool) and not core.is_halted:
        news.wait(1)
        news.clear()
    seconds = time.perf_counter() - start
    sizes = [core.engine.get_block(height).header.transactions.size for height in range(first, core.get_height() + 1)]
    if sum(sizes) != len(load.transfers):
        raise SystemExit(f"{sum(sizes)} of {len(load.transfers)} transfers were committed")
    return len(load.transfers) / seconds, sizes


def check_outcome(load: Load) -> None:
    """Open the database again: the state has the root of the last header, and no point was made or lost."""
    store = ChainStore(load.folder / CHAIN)
    try:
        application = LedgerApplication(store)  # compares the root over all values with the last header
        accounts = [each.account for each in load.genesis.balances] + [load.genesis.engine.operator]
        values = [application.query(account_key(account)).value for account in accounts]
        total = sum(decode(value, Account).balance for value in values if value is not None)
        if total != POINTS * len(load.genesis.balances):
            raise SystemExit(f"{total} points, expected {POINTS * len(load.genesis.balances)}")
    finally:
        store.close()


def time_append(file: BinaryIO) -> float:
    """Return the seconds of appending 4 KiB to a file and syncing it."""
    start = time.perf_counter()
    file.write(bytes(4096))
    os.fsync(file.fileno())
    return time.perf_counter() - start


@dataclass
class Lone:
    """Seconds, in turn: transfers to their durable blocks, those that are an account's first, fsyncs of both kinds."""

    transfers: list[float]
    firsts: list[float]
    syncs: list[float]
    open_syncs: list[float]


def measure_lone(folder: Path, count: int = 900) -> Lone:
    """Time lone transfers on a small ledger that makes blocks on demand, an fsync before each."""
    load = prepare(folder, 1000, count)
    core = open_core(load.folder)
    committed = threading.Event()
    core.listen(committed.set, committed.set)
    core.start()
    lone: list[float] = []
    syncs: list[float] = []
    open_syncs: list[float] = []
    with (folder / "appended").open("wb", buffering=0) as file:
        for number, data in enumerate(load.transfers):
            if number % 2:
                open_syncs.append(time_append(file))
            else:
                with (folder / "new").open("wb", buffering=0) as new:
                    syncs.append(time_append(new))
                (folder / "new").unlink()
            committed.clear()
            start = time.perf_counter()
            core.engine.submit(data)
            committed.wait()
            lone.append(time.perf_counter() - start)
    core.close()
    return Lone(lone, lone[: count // TRANSFERS_EACH], syncs, open_syncs)


def open_core(folder: Path, interval_ms: int = 0) -> NodeCore:
    """Return a node without its HTTP door; at interval 0 it makes blocks on demand."""
    settings = NodeSettings(folder, interval_ms=interval_ms, mempool=MempoolLimits(transactions=3 * BLOCK))
    return NodeCore(settings, OPERATOR)


def main(words: list[str]) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--transfers", type=int, default=60_000)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the databases lie (default: a temporary folder)"
    )
    arguments = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="assay-ledger-", dir=arguments.folder))
    try:
        return run(folder, arguments.accounts, arguments.transfers)
    finally:
        shutil.rmtree(folder)


def run(folder: Path, accounts: int, transfers: int) -> int:
    """Measure on a ledger in a folder, print the report and return the exit status."""
    (folder / "lone").mkdir()
    lone_before = measure_lone(folder / "lone" / "before")
    print(f"founding a ledger of {accounts} accounts, signing {transfers} transfers", flush=True)
    load = prepare(folder / "node", accounts, transfers)
    start = time.perf_counter()
    core = open_core(load.folder, INTERVAL_MS)
    freeze_memory()
    core.start()
    print(f"ledger state built in {time.perf_counter() - start:.1f} s", flush=True)
    before = measure_signatures(load, min(4000, transfers))
    rate, sizes = measure_transfers(load, core)
    after = measure_signatures(load, min(4000, transfers))
    core.close()
    check_outcome(load)
    bare = statistics.median([before, after])
    lone_after = measure_lone(folder / "lone" / "after")
    lone, first, sync, open_sync = (
        statistics.median(getattr(lone_before, kind) + getattr(lone_after, kind))
        for kind in ("transfers", "firsts", "syncs", "open_syncs")
    )
    blocks = {
        "blocks": len(sizes),
        "medianBlock": statistics.median(sizes),
        "largestBlock": max(sizes),
        "intervalMs": INTERVAL_MS,
    }
    results = [
        make_result(
            f"signed transfers a second over {accounts} accounts, durable blocks, provable root",
            round(rate), None, rate, BAR, at_least=True, digits=0, goal=GOAL, **blocks,
        ),
        make_result(
            "the same, beside the bare strict signature check in one thread",
            round(rate), round(bare), rate / bare, 0.3, at_least=True,
        ),
        make_result("lone transfer to durable block, beside one fsync; ms", lone * 1000, sync * 1000, lone / sync, 5),
        make_result(
            "the same, beside one fsync of an open file; ms", lone * 1000, open_sync * 1000, lone / open_sync, None
        ),
        make_result("the same, the first of its account; ms", first * 1000, sync * 1000, first / sync, None),
    ]  # fmt: skip
    return print_report("ledger", results, sqlite=sqlite3.sqlite_version)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
