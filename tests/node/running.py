"""A real node for tests: real SQLite, a real server on the loopback, in a thread of this process."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from assay.client.node_client import NodeClient
from assay.node.api.limits import Limits
from assay.node.core import NodeCore, NodeSettings
from assay.node.founding import GENESIS, Founding, found_ledger
from assay.node.server import NodeServer
from assay.protocol.blocks import Genesis
from assay.protocol.params import DEFAULT_PARAMETERS
from assay.protocol.signatures import get_public_key

OPERATOR = b"o" * 32
ALICE, BOB, CAROL = (name * 32 for name in (b"a", b"b", b"c"))
FUNDS = {get_public_key(seed): 1_000_000 for seed in (ALICE, BOB)}


def found_node(folder, *, balances=None, operator_seed=OPERATOR, blocks=4096, **changes):
    """Found a ledger in a folder, if there is none; `changes` go into the parameters. Return its genesis."""
    parameters = msgspec.structs.replace(DEFAULT_PARAMETERS, **changes)
    balances = FUNDS if balances is None else balances
    return found_ledger(Path(folder), Founding("test", balances, 1_700_000_000_000, parameters, blocks), operator_seed)


@dataclass
class RunningNode:
    """A node that answers."""

    url: str
    genesis: Genesis
    operator_seed: bytes
    core: NodeCore
    server: NodeServer
    folder: Path

    def connect(self, **settings):
        """Return a client that is anchored in the node's genesis."""
        return NodeClient(self.url, self.genesis, **settings)


@contextmanager
def running_node(
    folder,
    *,
    balances=None,
    operator_seed=OPERATOR,
    interval_ms=20,
    parameters=None,
    limits=None,
    blocks=4096,
    **settings,
):
    """Run a node on a folder, founding a ledger where there is none, until the block ends.

    `parameters`: changes to the default parameters; `limits`, `settings`: of the node.
    """
    genesis = found_node(folder, balances=balances, operator_seed=operator_seed, blocks=blocks, **(parameters or {}))
    limits = Limits(requests_per_second=0) if limits is None else limits
    core = NodeCore(
        NodeSettings(Path(folder), interval_ms=interval_ms, port=0, limits=limits, **settings), operator_seed
    )
    server = NodeServer(core)
    ready = threading.Event()
    failures = []

    def run():
        try:
            server.run(ready.set)
        except BaseException as error:  # noqa: BLE001 - told to the test below
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="node")
    thread.start()
    ready.wait()
    try:
        if failures:
            raise failures[0]
        yield RunningNode(server.url, genesis, operator_seed, core, server, Path(folder))
    finally:
        server.stop()
        thread.join()
    if failures:
        raise failures[0]


__all__ = ["ALICE", "BOB", "CAROL", "FUNDS", "GENESIS", "OPERATOR", "RunningNode", "found_node", "running_node"]
