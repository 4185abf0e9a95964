"""The HTTP door under bad input: typed problems, bounded work, and a node that goes on."""

import json
import socket

import httpx
import pytest

from assay.client.builders import Payer, build_transfer
from assay.node.api.limits import Limits
from assay.protocol.blocks import compute_chain_id
from assay.protocol.signatures import get_public_key
from tests.node.running import ALICE, BOB, running_node

BINARY = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node with small limits."""
    limits = Limits(
        body_bytes=70_000, blob_bytes=200_000, requests_per_second=0, body_seconds=0.3, head_seconds=0.3, idle_seconds=1
    )
    with running_node(tmp_path_factory.mktemp("http") / "node", limits=limits) as running:
        yield running


@pytest.fixture
def http(node):
    """A bare HTTP client of the node's API."""
    with httpx.Client(base_url=f"{node.url}/api/v1", timeout=20) as client:
        yield client


def expect_problem(response, status, code):
    """Check that a response is a problem of RFC 9457 with this status and code."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:assay:error:{problem['code']}"
    assert problem["code"] == code
    return problem


def test_refused_transactions_are_problems_with_the_code_of_the_ledger(node, http):
    """Garbage, oversized, wrongly signed, poor, cheap, used and distant transactions: each its own code, none waits."""
    payer = Payer(ALICE, compute_chain_id(node.genesis), 0, 1)
    to = get_public_key(BOB)
    good = build_transfer(payer, to, 1).data
    altered = good[:-1] + bytes([good[-1] ^ 1])
    other_chain = build_transfer(Payer(ALICE, b"x" * 32, 0, 1), to, 1).data
    poor = build_transfer(Payer(b"p" * 32, payer.chain_id, 0, 1), to, 1).data
    cheap = build_transfer(Payer(ALICE, payer.chain_id, 0, 0), to, 1).data
    distant = build_transfer(Payer(ALICE, payer.chain_id, 99, 1), to, 1).data
    for data, code in (
        (b"", "transaction.malformed"),
        (b"\x92\xc4\x00\xc4\x00", "transaction.malformed"),
        (bytes(66_000), "transaction.too-large"),
        (good + b"\x00", "transaction.malformed"),
        (altered, "transaction.signature"),
        (other_chain, "transaction.signature"),
        (poor, "account.unaffordable"),
        (cheap, "account.fee"),
        (distant, "mempool.nonce"),
    ):
        expect_problem(http.post("/transactions", content=data, headers=BINARY), 400, code)
    assert http.post("/transactions", content=good, headers=BINARY).status_code == 202
    with node.connect() as client:
        client.wait(build_transfer(payer, to, 1).id)
    expect_problem(http.post("/transactions", content=good, headers=BINARY), 400, "account.nonce")


def test_bodies_are_bounded_announced_or_not(http):
    """A body above the limit is refused by its announcement, and in the midst where it is sent in chunks."""
    expect_problem(http.post("/transactions", content=bytes(70_001), headers=BINARY), 413, "api.body")

    def endless():
        for _ in range(1000):
            yield bytes(10_000)

    try:
        response = http.post("/transactions", content=endless(), headers=BINARY)
    except httpx.TransportError:  # the node may close before we have sent all
        return
    expect_problem(response, 413, "api.body")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "api.http-404"),
        ("/headers/0", 422, "api.invalid"),
        ("/headers/-1", 422, "api.invalid"),
        ("/headers/99999999999999999999999", 422, "api.invalid"),
        ("/headers/abc", 422, "api.invalid"),
        ("/headers/900000", 404, "api.not-found"),
        ("/blocks/900000", 404, "api.not-found"),
        ("/state/zz", 422, "api.invalid"),
        ("/state/2a", 422, "api.invalid"),
        ("/state/" + "00" * 161, 422, "api.invalid"),
        ("/transactions/" + "ab" * 32, 404, "api.not-found"),
        ("/transactions/" + "AB" * 32, 422, "api.invalid"),
        ("/transactions/" + "ab" * 32 + "?wait=nan", 422, "api.invalid"),
        ("/transactions/" + "ab" * 32 + "?wait=1e9", 422, "api.invalid"),
        ("/events?after=-1", 422, "api.invalid"),
        ("/blobs/" + "ab" * 32, 404, "blobs.not-declared"),
        ("/blobs/../../../etc/passwd", 404, "api.http-404"),
        ("/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "api.http-404"),
        ("/blobs/bundles/" + "ab" * 32, 404, "bundles.submission-unknown"),
        ("/blobs/bundles/" + "ab" * 32 + "/missing", 404, "blobs.hold-missing"),
    ],
)
def test_odd_addresses_are_problems(http, path, status, code):
    """Unknown, malformed and out-of-range addresses have their codes; none is a failure of the node."""
    expect_problem(http.get(path), status, code)


def test_methods_and_media_types_are_strict(http):
    """A wrong method and a body announced as JSON, or as nothing, are refused."""
    expect_problem(http.delete("/status"), 405, "api.http-405")
    for headers in ({"content-type": "application/json"}, {}):
        expect_problem(http.post("/transactions", content=b"{}", headers=headers), 415, "api.media-type")


def send_raw(node, data):
    """Send bytes over a bare connection; return the answer until the node closes."""
    host, port = node.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(65_536):
                answer += part
        except ConnectionError:
            return answer
        return answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET /api/v1/status HTTP/9.9\r\n\r\n",
        b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\nconnection: close\r\n\r\n",
        b"POST /api/v1/transactions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\n" + b"a: " + b"b" * 100_000 + b"\r\n\r\n",
        b"POST /api/v1/transactions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    ],
    ids=["zeros", "version", "negative length", "two lengths", "long header", "bad chunk", "TLS"],
)
def test_broken_http_is_refused_or_closed(node, http, data):
    """What is no HTTP/1.1 ends its own connection and nothing else."""
    answer = send_raw(node, data)
    assert answer == b"" or answer.split(b" ")[1] in {b"400", b"413", b"431", b"505"}
    assert http.get("/status").status_code == 200


def test_slow_heads_and_bodies_lose_their_connection(node, http):
    """A connection that says nothing, half a head or half a body is closed or answered 408 after its time."""
    assert send_raw(node, b"") == b""
    assert send_raw(node, b"GET /api/v1/status HTT") == b""
    first = b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\n\r\n"
    kept = send_raw(node, first + b"GET /api/v1/sta")
    assert kept.startswith(b"HTTP/1.1 200")
    head = b"POST /api/v1/transactions HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n"
    slow = send_raw(node, head + b"content-length: 50\r\n\r\nhalf")
    assert slow.startswith(b"HTTP/1.1 408")
    assert http.get("/status").status_code == 200


def test_events_come_in_order_and_can_be_resumed(http, node):
    """The stream gives every block once, from any height on, by parameter or by Last-Event-ID."""

    def read(count, **request):
        heights = []
        with http.stream("GET", "/events", **request) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith("data: "):
                    heights.append(json.loads(line[6:])["height"])
                if len(heights) == count:
                    return heights
        return heights

    assert read(3, params={"after": 0}) == [1, 2, 3]
    assert read(2, headers={"last-event-id": "5"}) == [6, 7]
    assert len(read(2, headers={"last-event-id": "; DROP TABLE"})) == 2
    with node.connect() as client:
        events = client.iterate_blocks(1)
        assert [next(events).height for _ in range(4)] == [2, 3, 4, 5]
        events.close()


def test_status_metrics_and_openapi(http, node):
    """The node's own words: status, Prometheus text with the height, and a description of every route."""
    status = http.get("/status").json()
    assert status["chain_id"] == compute_chain_id(node.genesis).hex()
    assert "operator" in status["engine"]["fault_model"]
    on_another_chain = build_transfer(Payer(ALICE, b"x" * 32, 0, 1), get_public_key(BOB), 1).data
    expect_problem(http.post("/transactions", content=on_another_chain, headers=BINARY), 400, "transaction.signature")
    metrics = http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    lines = dict(line.rsplit(" ", 1) for line in metrics.text.splitlines() if not line.startswith("#"))
    assert float(lines["assay_height"]) >= status["height"] - 1
    assert 'assay_refused_total{code="transaction.signature"}' in lines
    described = http.get("/openapi.json").json()
    assert {"/api/v1/status", "/api/v1/transactions", "/api/v1/state/{key}", "/api/v1/blobs/{digest}"} <= set(
        described["paths"]
    )
    assert http.get("/genesis").content.startswith(b"\x96")


def test_rate_and_concurrency_are_bounded(tmp_path):
    """More requests than the rate are 429, more streams than allowed 503, and both say when to come again."""
    limits = Limits(requests_per_second=1, burst=5, streams=1)
    with running_node(tmp_path / "node", limits=limits) as node, httpx.Client(base_url=f"{node.url}/api/v1") as client:
        with client.stream("GET", "/events") as first:
            assert first.status_code == 200
            refused = client.get("/events")
            expect_problem(refused, 503, "api.concurrency")
            assert refused.headers["retry-after"] == "1"
        codes = [client.get("/status").status_code for _ in range(8)]
        assert set(codes) == {200, 429}
