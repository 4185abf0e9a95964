"""The chunks of packages from a node, as `verification.fetching` asks for them."""

from __future__ import annotations

from assay.client.node_client import BlobRefuted, NodeClient
from assay.client.transport import RefusedByNode
from assay.verification.fetching import ChunkWithheld

_NOT_FOUND = 404


class NodeBlobs:
    """Implements `BlobSource` over a client."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client

    def fetch(self, digest: bytes, length: int) -> bytes:
        """Return the chunk with this BLAKE3; whoever asks compares the length.

        Raises:
            ChunkWithheld: the node has none, or sent other bytes.
            NetworkError: no answer.
            RefusedByNode: it refuses for another reason.
        """
        del length
        try:
            return self._client.fetch_blob(digest)
        except BlobRefuted as error:
            raise ChunkWithheld(error.message, expected=error.expected, actual=error.actual) from None
        except RefusedByNode as error:
            if error.status != _NOT_FOUND:
                raise
            raise ChunkWithheld(error.message, expected=digest.hex(), next_step="ask again later") from None
