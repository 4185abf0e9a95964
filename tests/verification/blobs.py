"""Submitted runs in memory: what the tests of packages and verifiers share."""

from hashlib import sha256

from assay.protocol.hashing import compute_bulk_digest
from assay.training.recorded import RecordedRun
from assay.verification.fetching import Fetcher
from assay.verification.package import Terms, build_package

SUBMITTER = sha256(b"submitter of the tests of verification").digest()
CHAIN = sha256(b"a ledger").digest()
PLENTY = 1 << 30


class Missing(OSError):
    """A chunk that nobody has."""


class MemoryBlobs:
    """Chunks by digest; `answers` replaces what is given for a digest."""

    def __init__(self, package=None):
        self.chunks = dict(package.iterate_chunks()) if package is not None else {}
        self.asked = []
        self.missing = Missing

    def fetch(self, digest, length):
        """Return a chunk, checked by nobody."""
        self.asked.append((digest, length))
        if digest not in self.chunks:
            raise self.missing(digest.hex())
        return self.chunks[digest]


TERMS = Terms(sample=3, sub_quorum=3, measure=0, threshold_ppm=0, bond=1000, reward=1, retention=1000, attempt=1)


def make_package(path, nonce=0, chain_id=CHAIN, seed=SUBMITTER, terms=TERMS):
    """Return a run as it is submitted."""
    return build_package(RecordedRun(path), seed=seed, chain_id=chain_id, nonce=nonce, terms=terms)


def fetch(package, target, blobs=None, **options):
    """Write a package into a folder again, from its blobs."""
    Fetcher(blobs or MemoryBlobs(package), package.body, package.context, max_bytes=PLENTY).write(target, **options)
    return target


def name(data):
    """Return the digest by which a chunk is asked for."""
    return compute_bulk_digest(data)
