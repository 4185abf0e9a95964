"""A ledger behind a node, as a verifier needs it: `verification.verifier.ledger.Ledger` over `NodeClient`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from assay.client.builders import build_transaction
from assay.client.node_blobs import NodeBlobs
from assay.client.node_client import NodeClient
from assay.client.transport import RefusedByNode
from assay.protocol.blocks import Genesis, compute_chain_id
from assay.protocol.encoding import RecordT
from assay.protocol.params import Parameters
from assay.protocol.transactions import Body

_INCLUSION = 60.0
_PAUSE = 0.1


class NodeLedger:
    """One verifier's door to a ledger. Every thread has a client of its own, so that all of them may use it.

    Args:
        url: of the node.
        genesis: the anchor.
        seed: of the verifier's key, 32 bytes.
        connect: makes a client; None: `NodeClient`.
    """

    def __init__(
        self,
        url: str,
        genesis: Genesis,
        seed: bytes,
        *,
        connect: Callable[[], NodeClient] | None = None,
    ) -> None:
        self._genesis = genesis
        self._seed = seed
        self._connect = connect or (lambda: NodeClient(url, genesis))
        self._local = threading.local()
        self._clients: list[NodeClient] = []

    @property
    def client(self) -> NodeClient:
        """The client of this thread."""
        if not hasattr(self._local, "client"):
            self._local.client = self._connect()
            self._clients.append(self._local.client)
        client: NodeClient = self._local.client
        return client

    @property
    def chain_id(self) -> bytes:
        """Id of the genesis, 32 bytes."""
        return compute_chain_id(self._genesis)

    @property
    def parameters(self) -> Parameters:
        """Of the genesis."""
        return self._genesis.parameters

    def get_height(self) -> int:
        """Return the height of the newest checked header."""
        header, _ = self.client.get_header(self.client.get_status().height)
        return header.height

    def read(self, key: bytes, kind: type[RecordT]) -> RecordT | None:
        """Return a proven record of the ledger state, or None: it is proven to be absent."""
        return self.client.get_state(key, kind).value

    def fetch(self, digest: bytes, length: int) -> bytes:
        """Return the chunk with this BLAKE3; raises as `NodeBlobs.fetch`."""
        return NodeBlobs(self.client).fetch(digest, length)

    def send(self, body: Body) -> str:
        """Sign and send a transaction, and return empty or the code of its refusal once it stands in a block.

        Raises:
            NetworkError: no answer, or no block in time; what was sent may still come.
        """
        client = self.client
        try:
            built = build_transaction(client.make_payer(self._seed), body)
            client.submit(built.data)
        except RefusedByNode as error:
            return error.remote_code
        return client.wait(built.id, _INCLUSION).result.code

    def wait(self, seconds: float) -> None:
        """Return after some seconds."""
        time.sleep(max(seconds, _PAUSE))

    def close(self) -> None:
        """Close the connections of all threads; what they ask then fails."""
        for client in self._clients:
            client.close()
