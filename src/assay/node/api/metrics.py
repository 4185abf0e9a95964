"""What a node counts, in the text form of Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one node; each node has its own, so that several may live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own = self._registry
        self.height = Gauge("assay_height", "Height of the last block", registry=own)
        self.blocks = Counter("assay_blocks", "Blocks committed since the start", registry=own)
        self.transactions = Counter(
            "assay_transactions",
            "Transactions in committed blocks, by the code of their result",
            ["code"],
            registry=own,
        )
        self.block_seconds = Histogram(
            "assay_block_seconds", "Time to make and commit a block", registry=own, buckets=_BUCKETS
        )
        self.waiting = Gauge("assay_mempool_transactions", "Transactions that wait for a block", registry=own)
        self.refused = Counter("assay_refused", "Requests and transactions refused, by code", ["code"], registry=own)
        self.requests = Counter(
            "assay_requests", "Requests answered, by route and status", ["route", "status"], registry=own
        )
        self.streams = Gauge("assay_event_streams", "Open streams of events", registry=own)
        self.blob_bytes = Gauge("assay_blob_bytes", "Bytes that all holds on blobs declare", registry=own)

    def render(self) -> bytes:
        """Return all of them as text."""
        return generate_latest(self._registry)


_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
