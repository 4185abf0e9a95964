"""A node over real HTTP with verifiers in threads, on which runs are submitted and judged."""

import threading
import time
from contextlib import closing, contextmanager

import msgspec

from assay.client import submitting
from assay.client.submissions import read_submission
from assay.client.verifier_ledger import NodeLedger
from assay.protocol.contracts.stake_records import DepositStake
from assay.protocol.contracts.submission_records import FINAL
from assay.protocol.params import DEFAULT_PARAMETERS
from assay.protocol.signatures import get_public_key
from assay.verification.verifier.starting import Limits, open_verifier
from tests.node.running import ALICE, running_node
from tests.verification.simulated import FastJudge

LOCK = threading.Lock()
SEEDS = [bytes([number]) * 32 for number in range(1, 6)]
LIMITS = Limits(0, 600.0, 1 << 30)
STAKES = msgspec.structs.replace(DEFAULT_PARAMETERS.stakes, unbonding_blocks=100_000)
# A phase ends as soon as everybody has acted. Its deadline is far away: a busy machine must not make anybody late.
RULES = msgspec.structs.replace(
    DEFAULT_PARAMETERS.submissions,
    min_sub_quorum=3,
    quorum=5,
    flag_blocks=4,
    window_blocks=4,
    draw_delay=2,
    availability_blocks=10_000,
    commit_blocks=10_000,
    reveal_blocks=10_000,
)


class OneAtATime(FastJudge):
    """Recomputes in this process, one verifier after the other."""

    def judge(self, run, numbers, key):
        """Wait for the turn."""
        with LOCK:
            return super().judge(run, numbers, key)


class Gated(OneAtATime):
    """Recomputes nothing before `gate` is set: until then nothing that it was asked about is over."""

    def __init__(self):
        self.gate = threading.Event()

    def judge(self, run, numbers, key):
        """Wait for the gate."""
        self.gate.wait()
        return super().judge(run, numbers, key)

    def close(self):
        """Let the thread that waits go."""
        self.gate.set()


def describe_ledger(blocks, **rules):
    """Return what a ledger for such a network is founded with; it ends after `blocks`. `rules`: of submissions."""
    balances = {get_public_key(seed): 10_000_000 for seed in (ALICE, *SEEDS)}
    return {
        "balances": balances,
        "submissions": msgspec.structs.replace(RULES, **rules),
        "stakes": STAKES,
        "blocks": blocks,
    }


@contextmanager
def running_network(folder, judges=None, absent=(), blocks=50_000):
    """Give a node, and verifiers that work until the block ends; the absent ones have stake and no thread.

    `blocks`: after which the ledger ends; there are fifty in a second.
    """
    founded = describe_ledger(blocks)
    parameters = {name: founded.pop(name) for name in ("submissions", "stakes")}
    with running_node(folder / "node", parameters=parameters, **founded) as node:
        deposit_stakes(node)
        with verifying(node, folder, judges, absent):
            yield node


def deposit_stakes(node):
    """Put 10,000 points of every verifier at stake, and wait until submissions count them."""
    with node.connect() as client:
        sent = [client.send(seed, DepositStake(10_000)) for seed in SEEDS]
        heights = [client.wait(each.id).height for each in sent]
        while client.get_status().height < max(heights) + 2 * STAKES.snapshot_period:
            time.sleep(0.05)


@contextmanager
def verifying(node, folder, judges=None, absent=()):
    """Let verifiers in threads work until the block ends; what one of them raised is raised at the end."""
    stop, threads, raised = threading.Event(), [], []

    def verify(number, seed):
        ledger, judge = NodeLedger(node.url, node.genesis, seed), (judges or {}).get(number) or OneAtATime()
        home = folder / f"verifier{number}"
        try:
            with closing(ledger), open_verifier(ledger, seed, home, LIMITS, judge=judge, flags=False) as verifier:
                verifier.run(stop.is_set, pause=0.05)
        except BaseException as error:  # noqa: BLE001 - told to the test below
            raised.append(error)

    for number, seed in enumerate(SEEDS):
        if number not in absent:
            threads.append(threading.Thread(target=verify, args=(number, seed), daemon=True))
            threads[-1].start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
    if raised:
        raise raised[0]


def submit(node, path, **offer):
    """Submit a run as Alice; return its id."""
    with node.connect() as client:
        quoted = submitting.quote(client, path, ALICE, submitting.Offer(sample=3, sub_quorum=3, **offer))
        inclusion = submitting.submit(client, quoted)
        if inclusion.result.code:
            raise AssertionError(inclusion.result.code)
        return quoted.package.context


def await_facts(client, identity, is_wanted, seconds=600):
    """Return the facts of a submission as soon as its status is as wanted; `seconds` is when to give up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        facts = read_submission(client, identity)
        if is_wanted(facts.status):
            return facts
        time.sleep(0.01)
    raise AssertionError(f"not as wanted: {facts.status}")


def await_final(node, identity):
    """Return the facts of a submission once its verdict is final."""
    with node.connect() as client:
        return await_facts(client, identity, lambda status: status.phase == FINAL)
