"""A submitter founds a ledger, plays every role on it, or rewrites the history of one that it operates."""

import pytest

from assay.protocol.blocks import WrongParent, get_position, get_start, verify_header
from assay.protocol.contracts.account_records import Transfer
from assay.protocol.contracts.submission_keys import status_key
from assay.protocol.ledger_proofs import StateProofRefuted, verify_state_proof
from assay.protocol.seals.solo import WrongSeal, verify_seal
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import Verifier, judge, open_world, submit, vote_lazily
from experiments.simulation.world import make_actor, name_actors
from tests.ledgers import open_ledger


def test_sock_puppets_accept_anything_on_their_own_ledger():
    """Not stopped on that ledger: it accepts a false run. Its chain id is another one, which no reader trusts."""
    puppets = [Verifier(actor, vote_lazily) for actor in name_actors("puppet", 9)]
    own, submitter, crew = open_world(0, puppets, name="own ledger")
    run = pretend(own, submitter, false=(7,))
    assert submit(own, submitter, run) == ""
    assert judge(own, run, crew) == "accepted"
    trusted, _, _ = open_world(5, name="trusted ledger")
    assert own.chain_id != trusted.chain_id
    header = own.engine.blocks[0].header
    with pytest.raises(WrongParent):
        verify_header(get_start(trusted.genesis), header)


def test_a_foreign_operator_cannot_seal():
    """A block that another key sealed is refused under the genesis that a reader trusts."""
    world, _, _, _ = open_ledger()
    block = world.engine.blocks[-1]
    verify_seal(world.genesis, block.header, block.seal)
    from assay.protocol.seals.solo import seal_header
    from assay.protocol.signatures import Signer

    with pytest.raises(WrongSeal):
        verify_seal(world.genesis, block.header, seal_header(Signer(make_actor("somebody").seed), block.header))


def test_a_status_of_another_height_is_refused():
    """A proof belongs to one header: the accepted status of the end does not hold under an earlier root."""
    world, _, crew, run = open_ledger("window")
    early = world.engine.blocks[-1].header.state_root
    assert judge(world, run, crew) == "accepted"
    key = status_key(run.submission)
    answer = world.application.query(key, prove=True)
    contract = int.from_bytes(key[:2], "little")
    verify_state_proof(world.engine.blocks[-1].header.state_root, contract, key[2:], answer.value, answer.proof)
    with pytest.raises(StateProofRefuted):
        verify_state_proof(early, contract, key[2:], answer.value, answer.proof)


def test_a_solo_operator_can_rewrite_its_history():
    """Not stopped under `solo`: with the operator's key two histories can be sealed, and both hold by themselves."""
    stories = []
    for amount in (1, 2):
        world, submitter, crew = open_world(5, name="rewritten")
        world.do(submitter, Transfer(crew[0].actor.account, amount))
        stories.append(world)
    one, other = stories
    assert one.chain_id == other.chain_id
    for world in stories:
        position = get_start(world.genesis)
        for block in world.engine.blocks:
            verify_header(position, block.header)
            verify_seal(world.genesis, block.header, block.seal)
            position = get_position(block.header)
    assert one.engine.blocks[-1].header != other.engine.blocks[-1].header
