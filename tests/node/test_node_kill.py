"""A node is killed at random moments; what it answered as committed is there, and the next one goes on."""

import random
import signal
import threading

import pytest

from assay.client.builders import Payer, build_transfer
from assay.client.node_client import NodeClient
from assay.errors import AssayError
from assay.node.address import CHAIN, read_address
from assay.node.chain_store import ChainStore
from assay.protocol.blocks import compute_chain_id
from assay.protocol.signatures import get_public_key
from tests.node.running import ALICE, BOB, NodeProcess, found_node

TO = get_public_key(BOB)


def pay_until_killed(url, genesis, nonce, promised):
    """Send transfers one after the other, noting each that was proven to be committed, until the node is gone."""
    with NodeClient(url, genesis, timeout=5) as client:
        while True:
            built = build_transfer(Payer(ALICE, compute_chain_id(genesis), nonce, 1), TO, 1)
            try:
                client.submit(built.data)
                found = None
                while found is None:
                    found = client.get_transaction(built.id, wait=2)
                root = client.get_header(found.height)[0].state_root
            except AssayError:
                return
            promised[nonce] = (built.id, found.height, root)
            nonce += 1


@pytest.mark.torture
def test_a_killed_node_loses_nothing_that_it_answered(tmp_path, rounds):
    """In every round: all transfers that were proven stand in the same blocks, points are conserved, the root holds."""
    folder = tmp_path / "node"
    genesis = found_node(folder, blocks=200_000)
    promised, nonce = {}, 0
    for seed in range(rounds(10, 100)):
        node = NodeProcess(folder, genesis)
        known = dict(promised)
        with node.connect() as client:
            account = client.get_account(get_public_key(ALICE)).value
            assert account.nonce >= nonce
            assert client.get_account(TO).value.balance == 1_000_000 + account.nonce
            for identity, height, root in random.Random(seed).sample(sorted(known.values()), min(5, len(known))):
                assert client.get_transaction(identity).height == height
                assert client.get_header(height)[0].state_root == root
        nonce = account.nonce
        payer = threading.Thread(target=pay_until_killed, args=(node.url, genesis, nonce, promised))
        payer.start()
        wanted = len(promised) + random.Random(seed).randrange(1, 5)
        while len(promised) < wanted and payer.is_alive():
            payer.join(0.001)
        threading.Event().wait(random.Random(seed).random() * 0.02)
        assert node.end() == -signal.SIGKILL
        payer.join()
        nonce = max(promised, default=-1) + 1
    assert len(promised) >= rounds(10, 100)
    assert read_address(folder) is None


def test_a_node_that_is_asked_to_end_ends_in_order(tmp_path):
    """SIGTERM: exit code 0, the address is gone, the lock is free, and every proven transfer is there."""
    folder = tmp_path / "node"
    genesis = found_node(folder)
    node = NodeProcess(folder, genesis)
    assert read_address(folder).url == node.url
    with node.connect() as client:
        built = build_transfer(Payer(ALICE, compute_chain_id(genesis), 0, 1), TO, 1)
        client.submit(built.data)
        height = client.wait(built.id).height
    assert node.end(signal.SIGTERM) == 0
    assert read_address(folder) is None
    store = ChainStore(folder / CHAIN)
    assert store.load_header().height >= height
    store.close()
