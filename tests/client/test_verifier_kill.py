"""A verifier process that is killed with SIGKILL again and again, on a ledger over HTTP."""

import os
import random
import subprocess
import sys
import time

import pytest

from assay.client.submissions import read_details
from assay.protocol.signatures import get_public_key
from assay.storage.anchors import add_anchor
from tests.client.network import SEEDS, running_network, submit
from tests.verification import runs

PROCESS = """
import sys
from pathlib import Path
from assay.client.verifier_ledger import NodeLedger
from assay.storage.anchors import read_anchor
from assay.verification.verifier.starting import Limits, open_verifier
url, seed, folder = sys.argv[1], bytes.fromhex(sys.argv[2]), Path(sys.argv[3])
ledger = NodeLedger(url, read_anchor("test"), seed)
with open_verifier(ledger, seed, folder, Limits(0, 600.0, 1 << 30), flags=False) as verifier:
    verifier.run(lambda: False, pause=0.05)
"""


@pytest.mark.torture
def test_kills_at_any_moment_cost_nothing_but_time(tmp_path, rounds):
    """Killed after random times in every phase of submissions: no second answer, no broken reveal, and it is paid."""
    rng, account, kills, paid = random.Random(3), get_public_key(SEEDS[0]), 0, 0
    runs.record_apart(tmp_path / "run", ASSAY_HOME=str(tmp_path / "recorder"))
    with running_network(tmp_path, absent=(0,), blocks=rounds(50_000, 200_000)) as node:
        add_anchor("test", node.genesis)
        command = [sys.executable, "-c", PROCESS, node.url, SEEDS[0].hex(), str(tmp_path / "killed")]
        while kills < rounds(10, 100):
            identity, phase, longest = submit(node, tmp_path / "run"), "", 1.0
            while phase != "final":
                process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE)
                time.sleep(rng.uniform(0.3, longest))
                longest = min(longest * 1.7, 30.0)  # a slow machine gets there too
                process.kill()
                process.communicate()
                kills += 1
                with node.connect() as client:
                    details = read_details(client, identity)
                phase = details.facts.status.phase
            assert details.facts.status.verdict == "accepted"
            mine = [payment.kind for payment in details.payments if payment.account == account]
            assert not {"broken-reveal", "equivocation"}.intersection(mine)
            paid += "reward" in mine
    assert paid > 0
