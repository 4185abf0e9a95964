"""A node over real HTTP with verifiers in threads, on which runs are submitted and judged."""

import threading
import time
from contextlib import closing, contextmanager

import msgspec

from assay.client import submitting
from assay.client.submissions import read_submission
from assay.client.verifier_ledger import NodeLedger
from assay.protocol.contracts.stake_records import DepositStake
from assay.protocol.params import DEFAULT_PARAMETERS
from assay.protocol.signatures import get_public_key
from assay.verification.verifier.starting import Limits, open_verifier
from tests.node.running import ALICE, running_node
from tests.verification.simulated import FastJudge

LOCK = threading.Lock()
SEEDS = [bytes([number]) * 32 for number in range(1, 6)]
LIMITS = Limits(0, 600.0, 1 << 30)
STAKES = msgspec.structs.replace(DEFAULT_PARAMETERS.stakes, unbonding_blocks=40_000)
RULES = msgspec.structs.replace(
    DEFAULT_PARAMETERS.submissions, min_sub_quorum=3, quorum=5, flag_blocks=4, window_blocks=4, draw_delay=2
)


class OneAtATime(FastJudge):
    """Recomputes in this process, one verifier after the other."""

    def judge(self, run, numbers, key):
        """Wait for the turn."""
        with LOCK:
            return super().judge(run, numbers, key)


@contextmanager
def running_network(folder, judges=None, absent=(), blocks=20_000):
    """Give a node, and verifiers that work until the block ends; the absent ones have stake and no thread.

    `blocks`: after which the ledger ends; there are fifty in a second.
    """
    balances = {get_public_key(seed): 10_000_000 for seed in (ALICE, *SEEDS)}
    settings = {"balances": balances, "parameters": {"submissions": RULES, "stakes": STAKES}, "blocks": blocks}
    with running_node(folder / "node", **settings) as node:
        with node.connect() as client:
            sent = [client.send(seed, DepositStake(10_000)) for seed in SEEDS]
            heights = [client.wait(each.id).height for each in sent]
            while client.get_status().height < max(heights) + 2 * STAKES.snapshot_period:
                time.sleep(0.05)
        stop, threads = threading.Event(), []
        for number, seed in enumerate(SEEDS):
            if number in absent:
                continue
            judge = (judges or {}).get(number) or OneAtATime()
            arguments = (node, seed, folder / f"verifier{number}", judge, stop)
            threads.append(threading.Thread(target=_verify, args=arguments, daemon=True))
            threads[-1].start()
        try:
            yield node
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=60)


def _verify(node, seed, folder, judge, stop):
    ledger = NodeLedger(node.url, node.genesis, seed)
    with closing(ledger), open_verifier(ledger, seed, folder, LIMITS, judge=judge, flags=False) as verifier:
        verifier.run(stop.is_set, pause=0.05)


def submit(node, path, **offer):
    """Submit a run as Alice; return its id."""
    with node.connect() as client:
        quoted = submitting.quote(client, path, ALICE, submitting.Offer(sample=3, sub_quorum=3, **offer))
        inclusion = submitting.submit(client, quoted)
        if inclusion.result.code:
            raise AssertionError(inclusion.result.code)
        return quoted.package.context


def await_final(node, identity, seconds=120):
    """Return the facts of a submission once its verdict is final."""
    end = time.monotonic() + seconds
    with node.connect() as client:
        while time.monotonic() < end:
            facts = read_submission(client, identity)
            if facts.status.phase == "final":
                return facts
            time.sleep(0.1)
    raise AssertionError(f"not final: {facts.status}")
