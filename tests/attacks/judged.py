"""A run that was judged on a ledger in memory, and its certificate: what the stories about ledgers share."""

from dataclasses import dataclass

from assay.certificate.ledger_check import Anchor, check_ledger
from assay.client.certifying import collect_evidence
from assay.client.checking import Proven
from assay.protocol.encoding import decode
from assay.protocol.signatures import get_public_key
from assay.training.recorded import RecordedRun
from assay.verification.certify_ledger import certify_verdict
from tests.verification import blobs
from tests.verification.simulated import Simulation

ISSUER = b"i" * 32


@dataclass
class Chain:
    """What a client knows of its ledger."""

    chain_id: bytes
    genesis: object


class WorldClient:
    """Answers like a client of a node, from a ledger in memory."""

    def __init__(self, world):
        self.world = world
        self.chain = Chain(world.chain_id, world.genesis)

    def get_state(self, key, kind):
        """Return a value with its proof."""
        answer = self.world.application.query(key, prove=True)
        header, seal = self.get_header(answer.height)
        value = None if answer.value is None else decode(answer.value, kind)
        return Proven(value, answer.height, header, seal, answer.proof)

    def get_header(self, height):
        """Return a header and its seal."""
        block = self.world.engine.blocks[height - 1]
        return block.header, block.seal


def make_ledger(folder, judges=None, **parameters):
    """Return a ledger with seven verifiers."""
    simulation = Simulation(folder, judges=judges, **parameters)
    simulation.blobs = blobs.MemoryBlobs()
    return simulation


def certify(simulation, package, folder):
    """Return the certificate of a submission, as anybody would write it."""
    client = WorldClient(simulation.world)
    claim = collect_evidence(client, package.context, get_public_key(ISSUER))
    facts = check_ledger(claim, {simulation.world.chain_id: Anchor("any", simulation.world.genesis)})
    copy = blobs.fetch(package, folder, simulation.blobs)
    run = RecordedRun(copy)
    try:
        return certify_verdict(run, claim, facts, ISSUER)
    finally:
        run.close()


def trust(simulation, name="ours"):
    """Return the anchors of somebody who trusts this ledger."""
    return {simulation.world.chain_id: Anchor(name, simulation.world.genesis)}
