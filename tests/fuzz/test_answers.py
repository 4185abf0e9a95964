"""Mutated answers of a node give typed refusals, or the truth, and nothing else.

The number of inputs is ASSAY_FUZZ_INPUTS; 10**5 where it is not set, 10**7 in the torture run.
"""

import json
import random

import pytest

from assay.client.answers import BlockEvent
from assay.client.transport import Transport
from assay.errors import AssayError
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.signatures import get_public_key
from tests.fuzz.mutations import get_input_count, mutate_bytes
from tests.node.running import ALICE, BOB, running_node

SEED = 20261126


class Replay(Transport):
    """Gives bytes that it was told instead of what the node says; keeps what the node said last."""

    body = None
    last = b""

    def _send(self, method, path, **request):
        if self.body is not None:
            return self.body
        self.last = super()._send(method, path, **request)
        return self.last


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A client, and for each kind of question: how it is asked, the honest answer's bytes, and the truth."""
    with running_node(tmp_path_factory.mktemp("fuzz") / "node", interval_ms=0) as node:
        client = node.connect()
        client.transport.close()
        client.transport = Replay(node.url)
        sent = client.send(ALICE, Transfer(get_public_key(BOB), 5))
        client.wait(sent.id)
        asked = {
            "present": lambda: client.get_account(get_public_key(ALICE)).value,
            "absent": lambda: client.get_account(bytes(32)).value,
            "transaction": lambda: (found := client.get_transaction(sent.id)) and (found.height, found.result),
            "header": lambda: client.get_header(1)[0],
            "headers": lambda: client.get_headers(1, 2),
        }
        cases = {}
        for name, ask in asked.items():
            truth = ask()
            cases[name] = (ask, client.transport.last, truth)
        yield client, cases
        client.close()


def find_wrong(name, found, truth):
    """Return whether an answer that was taken is not the truth; fewer headers or no inclusion claim nothing false."""
    if name == "headers":
        return found != truth[: len(found)]
    return found != truth and not (name == "transaction" and found is None)


@pytest.mark.torture
def test_mutated_answers_are_refused_or_true(honest):
    """Bit flips, cuts, insertions, splices: a typed error, or exactly what the honest answer says."""
    client, cases = honest
    chance, refused = random.Random(SEED), 0
    bodies = [body for _, body, _ in cases.values()]
    count = get_input_count()
    for number in range(count):
        name = chance.choice(list(cases))
        ask, body, truth = cases[name]
        client.transport.body = mutate_bytes(chance, body, chance.choice(bodies))
        client.chain._seen.clear()
        try:
            found = ask()
        except AssayError:
            refused += 1
        else:
            assert not find_wrong(name, found, truth), (number, client.transport.body)
    assert refused > count // 2


def test_mutated_events_are_refused_or_events(honest):
    """Frames of the stream of events decode to events or are refused."""
    client, _ = honest
    event = {"height": 5, "id": "ab" * 32, "transactions": ["cd" * 32], "notices": []}
    event["notices"].append({"kind": "phase", "submission": "", "detail": "draw", "account": "", "amount": 1})
    body, chance, refused = json.dumps(event).encode(), random.Random(SEED), 0
    for _ in range(min(get_input_count() // 10, 10**5)):
        try:
            found = client.transport.decode(bytes(mutate_bytes(chance, body, body)), BlockEvent)
        except AssayError:
            refused += 1
        else:
            assert isinstance(found.height, int)
    assert refused > 100
