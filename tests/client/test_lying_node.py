"""A client and a node that lies: whatever is changed in an answer is found, by class."""

import json
from collections.abc import Callable

import httpx
import pytest

from assay.client.checking import (
    AnswerMalformed,
    ForkSeen,
    HeaderRefused,
    LightChain,
    TransactionMismatch,
    WentBack,
)
from assay.client.node_client import BlobRefuted
from assay.client.transport import AnswerRefused, NodeUnavailable, NodeUnreachable, RefusedByNode
from assay.errors import AssayError, UsageError, VerificationError
from assay.protocol.blocks import Header, compute_chain_id
from assay.protocol.contracts.account_records import Account, Transfer
from assay.protocol.encoding import decode, encode
from assay.protocol.ledger_proofs import StateProofRefuted
from assay.protocol.merkle import InclusionRefuted
from assay.protocol.seals.solo import seal_header
from assay.protocol.signatures import Signer, get_public_key
from tests.node.running import ALICE, BOB, OPERATOR, running_node

ALICE_KEY, BOB_KEY = get_public_key(ALICE), get_public_key(BOB)


class Liar(httpx.BaseTransport):
    """Passes requests on to the real node, and changes the JSON of its answers."""

    def __init__(self):
        self.inner = httpx.HTTPTransport()
        self.change: Callable | None = None
        self.seen = []

    def handle_request(self, request):
        response = self.inner.handle_request(request)
        body = response.read()
        if self.change is None:
            return httpx.Response(response.status_code, content=body)
        answer = json.loads(body)
        self.seen.append(answer)
        changed = self.change(answer)
        return httpx.Response(200, content=changed if isinstance(changed, bytes) else json.dumps(changed).encode())

    def close(self):
        self.inner.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node that stands still unless a test lets it make a block."""
    with running_node(tmp_path_factory.mktemp("liar") / "node", interval_ms=0) as running:
        yield running


@pytest.fixture
def story(node):
    """A liar, a client behind it, and a transfer that is committed and proven."""
    liar = Liar()
    with node.connect(inner=liar) as client:
        sent = client.send(ALICE, Transfer(BOB_KEY, 5))
        assert client.wait(sent.id).result.code == ""
        assert client.get_account(ALICE_KEY).value.nonce >= 1
        yield liar, client, sent


def change_hex(text, position=0):
    """Return hex with one digit changed."""
    return text[:position] + ("0" if text[position] != "0" else "1") + text[position + 1 :]


def put(answer, path, value):
    """Return an answer with a value somewhere inside changed: by a function, or to a constant."""
    place = answer
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value(place[path[-1]]) if callable(value) else value
    return answer


def poor(answer):
    """Say that the account has nothing."""
    return put(answer, ["value"], encode(Account(0, 0)).hex())


def reseal(seed):
    """Return a lie that replaces the state root and seals the header with a key."""

    def lie(answer):
        header = decode(bytes.fromhex(answer["sealed"]["header"]), Header)
        fields = {name: getattr(header, name) for name in Header.__struct_fields__}
        forged = Header(**{**fields, "state_root": b"f" * 32})
        answer["sealed"] |= {"header": encode(forged).hex(), "seal": seal_header(Signer(seed), forged).hex()}
        return answer

    return lie


STATE_LIES = {
    "another value": (poor, StateProofRefuted),
    "no value": (lambda answer: put(answer, ["value"], None), VerificationError),
    "a changed proof": (lambda answer: put(answer, ["proof"], lambda text: change_hex(text, -8)), VerificationError),
    "a proof that is none": (lambda answer: put(answer, ["proof"], "c0"), AnswerMalformed),
    "bytes that are no hex": (lambda answer: put(answer, ["proof"], "zz"), AnswerMalformed),
    "upper-case hex": (lambda answer: put(answer, ["proof"], str.upper), AnswerMalformed),
    "a value that is none": (lambda answer: put(answer, ["value"], "93010203"), VerificationError),
    "another header": (lambda answer: put(answer, ["sealed", "header"], "90"), AnswerMalformed),
    "a broken seal": (lambda answer: put(answer, ["sealed", "seal"], change_hex), HeaderRefused),
    "a stranger's seal": (reseal(b"stranger" * 4), HeaderRefused),
    "a field too few": (lambda answer: {"key": answer["key"]}, AnswerRefused),
    "a list": (lambda _: [], AnswerRefused),
    "no JSON": (lambda _: b"\xff\xfe", AnswerRefused),
    "deep JSON": (lambda _: b"[" * 200_000, AnswerRefused),
}


@pytest.mark.parametrize("name", sorted(STATE_LIES))
def test_lies_about_the_state_are_found(story, name):
    """Each change of a proven read is refused by its class, and the next honest answer is taken."""
    liar, client, _ = story
    lie, kind = STATE_LIES[name]
    client.chain._seen.clear()
    liar.change = lie
    with pytest.raises(kind):
        client.get_account(ALICE_KEY)
    liar.change = None
    client.chain._seen.clear()
    assert client.get_account(ALICE_KEY).value.nonce >= 1


def test_an_operator_that_rewrites_history_is_caught_with_evidence(story):
    """Two headers of one height, both sealed by the operator: refused, with both ids in the error."""
    liar, client, _ = story
    client.get_account(ALICE_KEY)
    liar.change = reseal(OPERATOR)
    with pytest.raises(ForkSeen) as caught:
        client.get_account(ALICE_KEY)
    assert caught.value.first != caught.value.second


def test_an_old_state_is_not_taken_for_the_present_one(story):
    """An honest answer from before, shown again after a later block, is refused."""
    liar, client, _ = story
    liar.change = lambda answer: answer
    client.get_account(ALICE_KEY)
    old = liar.seen[-1]
    liar.change = None
    client.wait(client.send(ALICE, Transfer(BOB_KEY, 1)).id)
    client.get_account(ALICE_KEY)
    liar.change = lambda _: old
    with pytest.raises(WentBack):
        client.get_account(ALICE_KEY)


def test_a_client_of_another_ledger_takes_nothing(node, tmp_path):
    """With another anchor no header of this node counts."""
    with running_node(tmp_path / "other", interval_ms=0) as other:
        assert compute_chain_id(other.genesis) != compute_chain_id(node.genesis)
        client = type(node.connect())(node.url, other.genesis)
        with client, pytest.raises(HeaderRefused):
            client.get_account(ALICE_KEY)


TRANSACTION_LIES = {
    "another result": (
        lambda answer: put(answer, ["result"], lambda text: change_hex(text, len(text) - 1)),
        (InclusionRefuted, AnswerMalformed),
    ),
    "another place": (lambda answer: put(answer, ["position"], 1), VerificationError),
    "a negative place": (lambda answer: put(answer, ["position"], -1), VerificationError),
    "a longer path": (lambda answer: put(answer, ["transaction_path"], ["00" * 32]), VerificationError),
    "a short hash": (lambda answer: put(answer, ["result_path"], ["00"]), AnswerMalformed),
    "another transaction": (
        lambda answer: put(answer, ["transaction"], lambda text: change_hex(text, len(text) - 1)),
        VerificationError,
    ),
}


@pytest.mark.parametrize("name", sorted(TRANSACTION_LIES))
def test_lies_about_a_transaction_are_found(story, name):
    """Result, place, path and transaction can't be changed without notice."""
    liar, client, sent = story
    lie, kinds = TRANSACTION_LIES[name]
    liar.change = lie
    with pytest.raises(kinds):
        client.get_transaction(sent.id)
    liar.change = None
    assert client.get_transaction(sent.id).result.code == ""


def test_another_proven_transaction_is_not_the_one_asked_for(story):
    """An honest answer about another transaction is refused, though all its proofs hold."""
    liar, client, sent = story
    other = client.send(ALICE, Transfer(BOB_KEY, 2))
    client.wait(other.id)
    liar.change = lambda answer: answer
    client.get_transaction(other.id)
    answer = liar.seen[-1]
    liar.change = lambda _: answer
    with pytest.raises(TransactionMismatch):
        client.get_transaction(sent.id)


def test_problems_unreachable_nodes_and_other_blobs_are_typed(node):
    """A refusal keeps the node's code; no node, a failing node, endless answers and other bytes have their classes."""
    replies = {}

    class Fixed(httpx.BaseTransport):
        def handle_request(self, request):
            return replies["next"]

    client = node.connect(inner=Fixed())
    problem = {"code": "account.nonce", "detail": "used", "expected": "3", "actual": "1", "nextStep": "sign again"}
    replies["next"] = httpx.Response(400, json=problem)
    with pytest.raises(RefusedByNode) as caught:
        client.submit(b"x")
    assert (caught.value.remote_code, caught.value.status) == ("account.nonce", 400)
    assert (caught.value.expected, caught.value.next_step) == ("3", "sign again")
    replies["next"] = httpx.Response(302, headers={"location": "http://127.0.0.1:1/"})
    with pytest.raises(RefusedByNode):
        client.get_status()
    client.transport._sleep = lambda _: None
    replies["next"] = httpx.Response(500, content=b"<html>")
    with pytest.raises(NodeUnavailable):
        client.get_status()
    replies["next"] = httpx.Response(200, content=b"other bytes")
    with pytest.raises(BlobRefuted):
        client.fetch_blob(bytes(32))
    replies["next"] = httpx.Response(200, content=bytes(50 * 1024 * 1024))
    with pytest.raises(AnswerRefused):
        client.fetch_blob(bytes(32))
    nobody = type(client)("http://127.0.0.1:1", node.genesis)
    with nobody, pytest.raises(NodeUnreachable):
        nobody.get_status()
    with pytest.raises(UsageError):
        type(client)("file:///etc/passwd", node.genesis)


def test_headers_must_follow_from_the_genesis(story, node):
    """All headers from the first on are linked and checked; one left out is found."""
    _, client, _ = story
    client.wait(client.send(ALICE, Transfer(BOB_KEY, 3)).id)
    headers = client.get_headers(1)
    assert [header.height for header in headers] == list(range(1, len(headers) + 1))
    assert len(headers) >= 3
    with pytest.raises(AssayError):
        LightChain(node.genesis).check_links([headers[0], headers[2]])
