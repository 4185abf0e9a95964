"""A submitter shows its blobs until they are attested, and then withholds those of the sampled intervals."""

import pytest

from assay.errors import NetworkError
from assay.protocol.contracts.stake_records import Stake
from assay.protocol.contracts.stakes import stake_key
from assay.protocol.contracts.submission_bodies import AbstainVotes, AttestAvailability
from assay.protocol.contracts.submission_keys import draw_key
from assay.protocol.evidence.draw import Draw
from assay.protocol.evidence.votes import compute_secret_commitment
from assay.verification.fetching import ChunkWithheld
from assay.verification.verifier.ledger import read_payments
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import (
    Verifier,
    carry_on,
    judge,
    open_world,
    submit,
    vote_honestly,
    vote_withheld,
)
from experiments.simulation.world import name_actors
from tests.attacks.judged import make_ledger
from tests.ledgers import get_payments


def submit_and_withhold(refused, name="withheld"):
    """Return ledger, run and crew where verifiers cannot fetch the given intervals after the draw."""

    def fetch_and_vote(run, voter, interval):
        return vote_withheld(run, voter, interval) if interval in refused else vote_honestly(run, voter, interval)

    crew = [Verifier(actor, fetch_and_vote) for actor in name_actors("verifier", 9)]
    world, submitter, crew = open_world(0, crew, name=name)
    run = pretend(world, submitter)
    assert submit(world, submitter, run) == ""
    return world, submitter, run, crew


def test_what_is_withheld_after_the_draw_rejects_and_costs_the_bond():
    """Everything was retrievable before the draw; a sampled interval that is not any more is as bad as a false one."""
    world, submitter, run, crew = submit_and_withhold({7})
    assert judge(world, run, crew) == "rejected"
    assert world.get_status(run.submission).reason == "withheld"
    assert get_payments(world, run)[submitter.account, "bond-lost"] == 100_000


def test_without_attestation_there_is_no_draw():
    """The sample is drawn only when more than half of the stake said that it could fetch everything."""
    world, _, run, crew = submit_and_withhold(set())
    for verifier in crew[:4]:
        verifier.attest(world, run)
    world.make_block()
    assert world.get_status(run.submission).phase == "availability"
    assert world.read(draw_key(run.submission), Draw) is None
    for verifier in crew[4:]:
        verifier.attest(world, run)
    world.make_block()
    carry_on(world, run, crew)
    assert world.read(draw_key(run.submission), Draw) is not None


def test_half_of_the_stake_can_lie_about_availability():
    """Not stopped: verifiers who attest what they never fetched settle the draw; the votes show it afterwards."""
    crew = [Verifier(actor, vote_withheld) for actor in name_actors("gullible", 9)]
    world, submitter, crew = open_world(0, crew)
    run = pretend(world, submitter)
    assert submit(world, submitter, run) == ""
    assert judge(world, run, crew) == "rejected"
    assert world.get_status(run.submission).attested == 90_000


def attest_blindly(simulation, package):
    """Let every verifier say that it fetched everything, which none of them did; the draw is settled."""
    for number, actor in enumerate(simulation.actors):
        secret = simulation.start(number).journal.make_secret(package.context)
        commitment = compute_secret_commitment(simulation.world.chain_id, package.context, actor.account, secret)
        simulation.world.send(actor, AttestAvailability(package.context, commitment))
    simulation.world.make_block()
    assert simulation.get_status(package.context).attested == 70_000


def alter(data):
    """Return a chunk with one bit changed."""
    return bytes([data[0] ^ 1]) + data[1:]


WAYS = {
    "one chunk missing": lambda chunks, last: chunks.pop(last),
    "one chunk truncated": lambda chunks, last: chunks.update({last: chunks[last][:-1]}),
    "one chunk altered": lambda chunks, last: chunks.update({last: alter(chunks[last])}),
    "everything, the list of chunks too": lambda chunks, last: chunks.clear(),
}


@pytest.mark.parametrize("way", WAYS)
def test_verifiers_who_cannot_fetch_a_drawn_run_say_so(honest, tmp_path, way):
    """Real verifiers: they ask until the last quarter of their time, then vote "withheld"; the bond is burned.

    None of them needs a byte of the package to commit and to open such a vote, and none of them loses stake.
    """
    simulation = make_ledger(tmp_path)
    simulation.blobs.missing = ChunkWithheld
    package = simulation.submit(honest)
    attest_blindly(simulation, package)
    WAYS[way](simulation.blobs.chunks, package.bundle.entries[-1].digest)
    status = simulation.run(package.context)
    assert (status.verdict, status.reason, status.round) == ("rejected", "withheld", 0)
    payments = read_payments(simulation.verifiers[0].ledger, package.context).payments
    assert {each.kind for each in payments} == {"reward", "bond-lost", "escrow-returned"}
    stakes = [simulation.world.expect(stake_key(actor.account), Stake).bonded for actor in simulation.actors]
    assert stakes == [10_000] * len(simulation.actors)


def test_a_chunk_that_comes_back_in_time_harms_nobody(honest, tmp_path):
    """A verifier asks again before it says anything: a chunk that is missing for a while costs nobody anything."""
    simulation = make_ledger(tmp_path)
    simulation.blobs.missing = ChunkWithheld
    package = simulation.submit(honest)
    attest_blindly(simulation, package)
    kept = dict(simulation.blobs.chunks)
    simulation.blobs.chunks.clear()
    while simulation.get_status(package.context).phase != "commit":
        simulation.world.make_block()
    for verifier in simulation.verifiers.values():
        verifier.look()
    simulation.blobs.chunks |= kept
    assert simulation.run(package.context).verdict == "accepted"


def test_a_verifier_whose_own_network_fails_accuses_nobody(honest, tmp_path):
    """Whoever reaches nobody abstains in the end, which costs nothing; it does not say that blobs are withheld."""
    simulation = make_ledger(tmp_path)
    package = simulation.submit(honest)
    attest_blindly(simulation, package)
    simulation.blobs.chunks.clear()
    simulation.blobs.missing = NetworkError
    status = simulation.run(package.context)
    assert (status.verdict, status.reason) == ("inconclusive", "no-agreement")
    sent = simulation.verifiers[0].ledger.sent
    assert {body.reason for body in sent if isinstance(body, AbstainVotes)} == {"resources"}
    payments = read_payments(simulation.verifiers[0].ledger, package.context).payments
    assert {each.kind for each in payments} == {"bond-returned", "escrow-returned"}
