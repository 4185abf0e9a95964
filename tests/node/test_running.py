from assay.protocol.contracts.account_records import Transfer
from assay.protocol.signatures import get_public_key
from tests.node.running import ALICE, BOB, running_node


def test_a_transfer_goes_through_and_is_proven(tmp_path):
    """A client sends points through a real node; inclusion, result and both balances are checked by proofs."""
    bob = get_public_key(BOB)
    with running_node(tmp_path / "node") as node, node.connect() as client:
        before = client.get_account(bob).value
        sent = client.send(ALICE, Transfer(bob, 1234))
        inclusion = client.wait(sent.id)
        assert inclusion.result.code == ""
        assert client.get_account(bob).value.balance == before.balance + 1234
        assert client.get_account(get_public_key(b"x" * 32)).value is None
        height = client.get_status().height
    with running_node(tmp_path / "node") as node, node.connect() as client:
        assert client.get_status().height >= height
        assert client.get_transaction(sent.id).height == inclusion.height
