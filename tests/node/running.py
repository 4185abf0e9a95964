"""A real node for tests: real SQLite, a real server on the loopback, in a thread of this process or in another one."""

import os
import signal
import subprocess
import sys
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
from assay.node.service import LOG
from assay.protocol.blocks import Genesis
from assay.protocol.params import DEFAULT_PARAMETERS
from assay.protocol.signatures import get_public_key

OPERATOR = b"o" * 32
ROOT = Path(__file__).parents[2]
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


class NodeProcess:
    """A node in a process of its own, on a folder with a founded ledger, without a bound on the rate of requests.

    `port`: 0: any free one; a node that takes the place of a killed one is given its port.
    """

    def __init__(self, folder, genesis, *, interval_ms=3, port=0):
        self.folder, self.genesis = folder, genesis
        code = (
            "import sys; from pathlib import Path; from assay.node.api.limits import Limits;"
            "from assay.node.core import NodeSettings; from assay.node.service import run_service;"
            "path, interval, port = Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4]);"
            "limits = Limits(requests_per_second=0);"
            "settings = NodeSettings(path, interval_ms=interval, port=port, limits=limits);"
            "run_service(settings, bytes.fromhex(sys.argv[2]), lambda address: print(address.url, flush=True))"
        )
        with (folder / LOG).open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-c", code, str(folder), OPERATOR.hex(), str(interval_ms), str(port)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            )
        self.url = self.child.stdout.readline().strip()

    @property
    def port(self):
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def connect(self, **settings):
        """Return a client that is anchored in the node's genesis."""
        return NodeClient(self.url, self.genesis, **settings)

    def end(self, number=signal.SIGKILL):
        """Send a signal and wait for the end; return the exit code."""
        self.child.send_signal(number)
        code = self.child.wait()
        self.child.stdout.close()
        return code


__all__ = [
    "ALICE",
    "BOB",
    "CAROL",
    "FUNDS",
    "GENESIS",
    "OPERATOR",
    "NodeProcess",
    "RunningNode",
    "found_node",
    "running_node",
]
