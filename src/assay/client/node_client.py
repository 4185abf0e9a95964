"""A client of one node that believes nothing without proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import ClassVar, Self, TypeVar

import httpx

from assay.client.answers import (
    AcceptedAnswer,
    BlockEvent,
    HeaderAnswer,
    HeadersAnswer,
    MissingAnswer,
    StateAnswer,
    StatusAnswer,
    TransactionAnswer,
    from_hex,
)
from assay.client.builders import BuiltTransaction, Payer, build_transaction
from assay.client.checking import Inclusion, LightChain, Proven
from assay.client.transport import RefusedByNode, Transport
from assay.errors import NetworkError, Refuted
from assay.protocol.blocks import Genesis, Header
from assay.protocol.contracts.account_records import Account
from assay.protocol.contracts.accounts import account_key
from assay.protocol.encoding import Record
from assay.protocol.hashing import compute_bulk_digest
from assay.protocol.signatures import get_public_key
from assay.protocol.transactions import Body

RecordT = TypeVar("RecordT", bound=Record)

_WAIT = 5.0


class NotCommitted(NetworkError):
    """A transaction is not in a block yet; it may still come."""

    code: ClassVar[str] = "client.not-committed"


class BlobRefuted(Refuted):
    """The node sent other bytes than those of the name."""

    code: ClassVar[str] = "client.blob"


class NodeClient:
    """Talks to one node and checks every answer against the genesis. Not shared between threads.

    Args:
        url: such as `http://127.0.0.1:7373`.
        genesis: the anchor, from a source that the caller trusts; never from the node.
        timeout: seconds for any one answer.
        inner: a transport of httpx, for tests.
    """

    def __init__(
        self, url: str, genesis: Genesis, *, timeout: float = 30.0, inner: httpx.BaseTransport | None = None
    ) -> None:
        self.chain = LightChain(genesis)
        self.transport = Transport(url, timeout=timeout, inner=inner)

    def get_status(self) -> StatusAnswer:
        """Return what the node says of itself, without proof."""
        return self.transport.get("/status", StatusAnswer)

    def get_header(self, height: int) -> tuple[Header, bytes]:
        """Return a checked header and its seal."""
        return self._open(self.transport.get(f"/headers/{height}", HeaderAnswer))

    def get_headers(self, first: int, limit: int = 1000) -> list[Header]:
        """Return checked headers from height `first` on, at most 1,000, each following the one before."""
        page = self.transport.get("/headers", HeadersAnswer, first=first, limit=limit)
        headers = [self._open(each)[0] for each in page.headers]
        if first == 1:
            self.chain.check_links(headers)
        return headers

    def _open(self, sealed: HeaderAnswer) -> tuple[Header, bytes]:
        seal = from_hex(sealed.seal)
        return self.chain.check_header(from_hex(sealed.header), seal), seal

    def get_state(self, key: bytes, kind: type[RecordT]) -> Proven[RecordT]:
        """Return the present value of a key of the ledger state, or the proof that there is none.

        Args:
            key: as the key functions of the contracts give it: u16 tag of the contract, then its own key.
            kind: the record's class.

        Raises:
            VerificationError: header, seal or proof do not hold, or the answer is older than an earlier one.
            NetworkError, RefusedByNode: no answer.
        """
        found = self.transport.get(f"/state/{key.hex()}", StateAnswer)
        header, seal = self._open(found.sealed)
        self.chain.check_present(header)
        value = None if found.value is None else from_hex(found.value)
        return self.chain.check_value(key, kind, value, from_hex(found.proof), header, seal)

    def get_account(self, account: bytes) -> Proven[Account]:
        """Return balance and next nonce of an account; raises as `get_state`."""
        return self.get_state(account_key(account), Account)

    def make_payer(self, seed: bytes, fee: int | None = None) -> Payer:
        """Return the payer for the next transaction of the account of a seed.

        Its nonce is that of the state: what waits already is not counted.
        """
        account = self.get_account(get_public_key(seed)).value
        least = self.chain.genesis.parameters.minimum_fee
        return Payer(seed, self.chain.chain_id, 0 if account is None else account.nonce, least if fee is None else fee)

    def send(self, seed: bytes, body: Body, fee: int | None = None) -> BuiltTransaction:
        """Build, sign and submit the account's next transaction; raises as `submit`."""
        built = build_transaction(self.make_payer(seed, fee), body)
        self.submit(built.data)
        return built

    def submit(self, data: bytes) -> bytes:
        """Hand a signed transaction to the node and return the id that the node gives it.

        Raises:
            RefusedByNode: with the code of the refusal.
            NetworkError: no answer; the transaction may have arrived.
        """
        return from_hex(self.transport.send("POST", "/transactions", data, AcceptedAnswer).id, 32)

    def get_transaction(self, identity: bytes, *, wait: float = 0.0) -> Inclusion | None:
        """Return a transaction with its result, proven to stand in a block, or None if the node does not show that.

        Args:
            identity: its id.
            wait: seconds that the node may wait for it, at most 20.
        """
        try:
            found = self.transport.get(f"/transactions/{identity.hex()}", TransactionAnswer, wait=wait)
        except RefusedByNode as error:
            if error.status == 404:
                return None
            raise
        if found.status != "committed" or found.sealed is None:
            return None
        header, _ = self._open(found.sealed)
        paths = (
            tuple(from_hex(each, 32) for each in found.transaction_path),
            tuple(from_hex(each, 32) for each in found.result_path),
        )
        data, result = from_hex(found.transaction), from_hex(found.result)
        return self.chain.check_inclusion(identity, found.position, data, paths, result, found.message, header)

    def wait(self, identity: bytes, seconds: float = 60.0) -> Inclusion:
        """Return a transaction once it is proven to stand in a block.

        Raises:
            NotCommitted: not within this time.
            VerificationError: a proof does not hold.
        """
        end = time.monotonic() + seconds
        while True:
            left = max(end - time.monotonic(), 0)
            found = None
            with suppress(NetworkError):  # the node may be starting again
                found = self.get_transaction(identity, wait=min(left, _WAIT))
            if found is not None:
                return found
            if time.monotonic() >= end:
                raise NotCommitted(
                    "the transaction is in no block yet", actual=identity.hex(), next_step="ask again later"
                )
            time.sleep(0.05)

    def iterate_blocks(self, after: int) -> Iterator[BlockEvent]:
        """Yield an event for each block above a height, as they come; ends when the connection does.

        Raises:
            NetworkError: the connection broke, or what comes is no event; go on with the height of the last one.
        """
        with self.transport.stream_lines("/events", after=after) as lines:
            for line in lines:
                if line.startswith(b"data: "):
                    yield self.transport.decode(line[6:], BlockEvent)

    def upload(
        self,
        submission: bytes,
        bundle: bytes,
        read: Callable[[bytes], bytes],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Upload whatever the node still wants of a submission's bundle; called again it resumes.

        Args:
            submission: its id.
            bundle: the encoded bundle that the submission commits to.
            read: returns the bytes of an object by its BLAKE3.
            progress: told how many bytes of how many are there.
        """
        missing = self.transport.send("PUT", f"/blobs/bundles/{submission.hex()}", bundle, MissingAnswer).missing
        total, done = sum(each.size for each in missing), 0
        for each in missing:
            self.transport.send("PUT", f"/blobs/{each.digest}", read(from_hex(each.digest, 32)), dict)
            done += each.size
            if progress is not None:
                progress(done, total)

    def list_missing(self, submission: bytes) -> list[tuple[bytes, int]]:
        """Return digest and length of what the node still wants of a submission's bundle."""
        found = self.transport.get(f"/blobs/bundles/{submission.hex()}/missing", MissingAnswer)
        return [(from_hex(each.digest, 32), each.size) for each in found.missing]

    def fetch_bundle(self, submission: bytes, digest: bytes) -> bytes:
        """Return the encoded bundle of a submission, checked against the digest that the ledger state names."""
        return _check_blob(self.transport.get_bytes(f"/blobs/bundles/{submission.hex()}"), digest)

    def fetch_blob(self, digest: bytes) -> bytes:
        """Return the bytes of an object, checked.

        Raises:
            BlobRefuted: the node sent others.
            RefusedByNode: it has none.
        """
        return _check_blob(self.transport.get_bytes(f"/blobs/{digest.hex()}"), digest)

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def _check_blob(data: bytes, digest: bytes) -> bytes:
    actual = compute_bulk_digest(data)
    if actual != digest:
        raise BlobRefuted("the node sent other bytes", expected=digest.hex(), actual=actual.hex())
    return data
