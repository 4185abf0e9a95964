"""A node that is killed with SIGKILL in every phase of a submission, while five verifiers judge it over HTTP."""

import random
import time
from contextlib import closing

import pytest

from assay.client import submitting
from assay.client.builders import build_transaction
from assay.client.submissions import read_details, read_submission
from assay.node.address import CHAIN
from assay.node.chain_store import ChainStore
from assay.protocol.contracts.accounts import SUPPLY_KEY, account_key
from assay.protocol.contracts.stake_records import Stake
from assay.protocol.contracts.stakes import stake_key
from assay.protocol.contracts.submission_keys import status_key
from assay.protocol.contracts.submission_records import (
    AVAILABILITY,
    COMMIT,
    DRAW,
    FINAL,
    FLAGS,
    REVEAL,
    WINDOW,
    SubmissionStatus,
)
from assay.protocol.encoding import decode, encode
from assay.protocol.signatures import get_public_key
from experiments.simulation.world import verify_conserved
from tests.client.network import SEEDS, await_facts, deposit_stakes, describe_ledger, verifying
from tests.node.running import ALICE, OPERATOR, NodeProcess, found_node
from tests.verification import runs

PHASES = (AVAILABILITY, DRAW, FLAGS, COMMIT, REVEAL, WINDOW, FINAL)
INTERVAL_MS = 50
OFFER = submitting.Offer(sample=3, sub_quorum=3)
ACCOUNTS = [get_public_key(seed) for seed in (ALICE, OPERATOR, *SEEDS)]


class MortalNode:
    """A node that is killed, looked at while it is dead, and started again at the same address.

    One client lives through all of it: it remembers every header that it was shown, and raises `ForkSeen` or `WentBack`
    as soon as the node has forgotten or changed one. So do those of the verifiers.
    """

    def __init__(self, folder):
        self.folder = folder
        self.genesis = found_node(folder, **describe_ledger(200_000, availability_blocks=600))
        self.process = NodeProcess(folder, self.genesis, interval_ms=INTERVAL_MS)
        self.url, self.connect = self.process.url, self.process.connect
        self.client = self.connect()
        self.identities = []
        self.killed_in = []

    def kill(self, interval_ms=INTERVAL_MS):
        """Kill it, check what is on the disk, start it again."""
        port = self.process.port
        self.process.end()
        with ChainStore(self.folder / CHAIN) as store:
            header = store.load_header()
            keys = [SUPPLY_KEY, *(account_key(each) for each in ACCOUNTS), *(stake_key(each) for each in ACCOUNTS)]
            keys += [status_key(each) for each in self.identities]
            held = {key: value for key in keys if (value := store.get(key)) is not None}
        assert header.height >= self.client.chain.height
        verify_conserved(held)
        status = held.get(status_key(self.identities[-1]))
        self.killed_in.append("" if status is None else decode(status, SubmissionStatus).phase)
        self.process = NodeProcess(self.folder, self.genesis, interval_ms=interval_ms, port=port)
        assert self.client.get_header(header.height)[0] == header

    def await_status(self, is_wanted):
        """Return the status of the newest submission as soon as it is as wanted."""
        return await_facts(self.client, self.identities[-1], is_wanted).status

    def close(self):
        """End it for good."""
        self.client.close()
        self.process.end()


def commit(node, path, rng, *, kill):
    """Commit to a run, perhaps with a kill after the node has taken the transaction; return the package."""
    quoted = submitting.quote(node.client, path, ALICE, OFFER)
    node.identities.append(quoted.package.context)
    built = build_transaction(quoted.payer, quoted.package.body)
    node.client.submit(built.data)
    if kill:
        time.sleep(rng.uniform(0, 2 * INTERVAL_MS / 1000))
        node.kill()
        if node.client.get_transaction(built.id) is None:  # taken, but never said to be in a block
            node.client.submit(built.data)
    assert not node.client.wait(built.id).result.code
    return quoted.package


def upload(node, package, rng):
    """Upload a package with a kill before one of its objects; what was taken before is still there."""
    names = {entry.digest: entry.name for entry in package.bundle.entries}
    wanted, asked, before = set(), [], []

    def list_missing():
        return {digest for digest, _ in node.client.list_missing(package.context)}

    def read(digest):
        if not asked:
            wanted.update(list_missing())
            before.append(rng.randrange(len(wanted)))
        if len(asked) == before[0]:
            node.kill()
            assert list_missing() == wanted - set(asked)
        asked.append(digest)
        return package.read_chunk(names[digest])

    node.client.upload(package.context, encode(package.bundle), read)
    assert set(asked) == wanted
    assert not list_missing()


def check_judged(node, identity):
    """Check that the run was accepted, that every vote that was asked for was opened, and that nobody lost a point."""
    details = read_details(node.client, identity)
    assert (details.facts.status.verdict, details.facts.status.reason) == ("accepted", "matched")
    for judged in details.judgements:
        assert len(judged.votes) == len(judged.judgement.seats)
        assert all(record.vote is not None for record in judged.votes)
    assert all(private.secret for private in details.private)
    kinds = {payment.kind for payment in details.payments}
    assert kinds == {"bond-returned", "escrow-returned", "reward"}
    for seed in SEEDS:
        assert node.client.get_state(stake_key(get_public_key(seed)), Stake).value.bonded == 10_000


@pytest.mark.torture
def test_kills_of_the_node_cost_nobody_anything(tmp_path, rounds):
    """Killed after the commitment, in the upload, in each phase, and before a lapse: nothing that it said is lost."""
    rng = random.Random(5)
    runs.record_apart(tmp_path / "run", ASSAY_HOME=str(tmp_path / "recorder"))
    with closing(MortalNode(tmp_path / "node")) as node:
        deposit_stakes(node)
        with verifying(node, tmp_path):
            for _ in range(rounds(1, 10)):
                package = commit(node, tmp_path / "run", rng, kill=True)
                upload(node, package, rng)
                for later in (PHASES[place:] for place in range(len(PHASES))):
                    node.await_status(lambda status, later=later: status.phase in later)
                    time.sleep(rng.uniform(0, INTERVAL_MS / 1000))
                    node.kill()
                check_judged(node, package.context)
            lapse(node, tmp_path / "run", rng, rounds(2, 10))
    assert len(node.killed_in) == rounds(11, 100)
    assert len(set(node.killed_in)) > rounds(3, 6), node.killed_in


def lapse(node, path, rng, kills):
    """Let a submission lapse whose data never come, on a faster node that is killed before and at the end."""
    package = commit(node, path, rng, kill=False)
    status = read_submission(node.client, package.context).status
    left = status.deadline - node.client.chain.height
    stops = sorted(rng.randrange(left) for _ in range(kills - 2))
    for stop in [0, *(status.deadline - left + each for each in stops), status.deadline - 1]:
        while node.client.get_status().height < stop:
            time.sleep(0.005)
        node.kill(interval_ms=3)
    status = node.await_status(lambda status: status.phase == FINAL)
    assert (status.verdict, status.reason, status.bond, status.escrow) == ("inconclusive", "unavailable", 0, 0)
    kinds = {payment.kind for payment in read_details(node.client, package.context).payments}
    assert kinds == {"bond-returned", "escrow-returned"}
