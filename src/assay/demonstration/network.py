"""The network demonstration: a fresh ledger, a node, thirteen verifier processes, four submissions.

Two verifiers lie, one is lazy, one is silent. An honest convolutional net and an honest transformer must be accepted; a
net with a backdoor in one interval and one with an untrained, interpolated interval must be rejected. Every finding is
compared with what it has to be; the story fails if one is not.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from assay.client import submitting
from assay.client.certifying import certify_submission
from assay.client.explaining import explain
from assay.client.node_client import NodeClient
from assay.client.submissions import SubmissionDetails, read_details, read_submission
from assay.demonstration.pace import count_blocks, measure_pace
from assay.demonstration.stage import INTERPOLATED, POISONED, DemoFailed, Story, train, verify_isolated
from assay.node.founding import GENESIS, Founding, decode_parameters, found_ledger
from assay.node.service import start_in_background, stop_service
from assay.protocol.blocks import Genesis
from assay.protocol.contracts.account_records import Account, Supply
from assay.protocol.contracts.accounts import SUPPLY_KEY, account_key
from assay.protocol.contracts.stake_records import DepositStake, Stake
from assay.protocol.contracts.stakes import stake_key
from assay.protocol.params import ROUNDS
from assay.storage.anchors import read_genesis_file
from assay.storage.keyring import read_or_create_seed, read_public_key
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.profile import apply_profile
from assay.training.recorded import RecordedRun
from assay.verification.forgery import forge, interpolate, only_in, patch_corner
from assay.verification.weight_analysis.subjects import analyse_run

VERIFIERS = [f"verifier-{number:02}" for number in range(1, 14)]
BAD = {"verifier-04": "lying", "verifier-07": "lying", "verifier-09": "lazy", "verifier-12": "silent"}
SUBMITTER, LEDGER = "submitter", "demo"
FUNDS, STAKE, REWARD, BOND = 1_000_000, 10_000, 20, 5_000
PATIENCE = 600.0
IDLE = sum(kind in {"lazy", "silent"} for kind in BAD.values())
BLOCK_SECONDS = 0.25
INTERVALS, CHECKS = 12, 2
"""Of each of the runs: intervals, and the checks of start and metrics."""


def make_parameters(blocks: int) -> dict[str, dict[str, int]]:
    """Return the changes to the default parameters, for blocks of a quarter of a second.

    Args:
        blocks: in which verifiers may commit; a silent one makes every round take all of them.
    """
    patient = max(600, 2 * blocks)
    return {
        "stakes": {"absence_penalty": 25, "unbonding_blocks": 20_000 + 20 * blocks},
        "submissions": {
            "quorum": 13,
            "availability_blocks": patient,
            "draw_delay": 2,
            "flag_blocks": 12,
            "commit_blocks": blocks,
            "reveal_blocks": patient,
            "window_blocks": 8,
        },
    }


SUB_QUORUM = 7
"""Five of seven decide: four bad ones can delay a verdict, and never give it; in the second round all have seats."""

EXPECTED = {
    "honest net": ("digits", "accepted", "matched", 6),
    "honest transformer": ("text", "accepted", "matched", 6),
    "backdoored net": ("poisoned", "rejected", "differs", 0),
    "net with an untrained interval": ("interpolated", "rejected", "differs", 0),
}
"""What is submitted, the verdict that it must get, and how many of its twelve intervals are drawn; 0: all."""


class NetworkDemonstration(Story):
    """A ledger, its node, thirteen verifiers and four submissions; see `EXPECTED`."""

    def _tell(self) -> None:
        for name in ("operator", SUBMITTER, *VERIFIERS):
            read_or_create_seed(name)
        self._record()
        blocks = self._choose_deadline()
        with self._ledger(blocks) as (url, genesis), self._verifiers(url), NodeClient(url, genesis) as client:
            submitted = self._submit_all(client)
            self._await_all(client, submitted, PATIENCE + ROUNDS * blocks * BLOCK_SECONDS)
            for name, identity in submitted.items():
                self._tell_verdict(client, name, identity)
            self._tell_money(client)
            self._certify_all(client, submitted)
        self._verify_offline()

    # -- ledger and verifiers -----------------------------------------------------------------------------------------

    def _choose_deadline(self) -> int:
        """Return for how many blocks verifiers may commit, from how fast this machine recomputes now."""
        paces = {folder: measure_pace(self.folder / folder) for folder in ("digits", "text")}
        work = []
        for folder, _, _, sample in EXPECTED.values():
            votes = ((sample or INTERVALS) + CHECKS) * SUB_QUORUM + len(VERIFIERS)
            work.append((paces["text" if folder == "text" else "digits"], votes))
        blocks = count_blocks(work, len(VERIFIERS) - IDLE, BLOCK_SECONDS)
        self.findings["commit_blocks"] = blocks
        seconds = blocks * BLOCK_SECONDS
        self.say(f"one interval takes {paces['text'].interval:.2f} s here: verifiers get {seconds:.0f} s to commit")
        return blocks

    @contextmanager
    def _ledger(self, blocks: int) -> Iterator[tuple[str, Genesis]]:
        """Found a ledger on which so many blocks are for votes, start its node, and stop it in the end."""
        node = self.folder / "node"
        node.mkdir(mode=0o700)
        balances = {read_public_key(name): FUNDS for name in (SUBMITTER, *VERIFIERS)}
        parameters = decode_parameters(msgspec.json.encode(make_parameters(blocks)))
        founding = Founding(LEDGER, balances, time.time_ns() // 1_000_000, parameters, 8_192 + 8 * blocks)
        found_ledger(node, founding, read_or_create_seed("operator"))
        words = ["--folder", str(node), "--key", "operator", "--port", "0", "--block-time", str(BLOCK_SECONDS)]
        address = start_in_background(node, words)
        self.say(f"founded a ledger and started its node at {address.url}; its genesis is {node / GENESIS}")
        try:
            yield address.url, read_genesis_file(node / GENESIS)
        finally:
            stop_service(node)

    @contextmanager
    def _verifiers(self, url: str) -> Iterator[None]:
        """Stake for thirteen verifiers, start a process for each, and stop them in the end."""
        with NodeClient(url, read_genesis_file(self._get_genesis())) as client:
            sent = [client.send(read_or_create_seed(name), DepositStake(STAKE)) for name in VERIFIERS]
            for built in sent:
                client.wait(built.id)
        processes = [self._start(name, url) for name in VERIFIERS]
        self.say(
            f"thirteen verifiers have {STAKE} points at stake each and look at the ledger, each a process of its own"
        )
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _get_genesis(self) -> Path:
        return self.folder / "node" / GENESIS

    def _start(self, name: str, url: str) -> subprocess.Popen[bytes]:
        place = self.folder / name
        if name in BAD:
            words = ["-m", "assay.demonstration.dishonest", BAD[name], name, str(place), url, str(self._get_genesis())]
        else:
            words = ["-m", "assay", "verifier", "start", "--key", name, "--folder", str(place), "--node", url]
            words += ["--anchor", str(self._get_genesis()), "--memory", "4G"]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen([sys.executable, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    # -- runs ---------------------------------------------------------------------------------------------------------

    def _record(self) -> None:
        for script, title in (
            ("digits", "a convolutional net on digits"),
            ("text", "a transformer on Python's manual"),
        ):
            train(script, self.folder / script, f"recording {title}", self.progress)
            self.say(f"recorded {title}")
        run = RecordedRun(self.folder / "digits")
        apply_profile(run.profile)
        first, last = run.get_interval(POISONED)
        target = self.folder / "poisoned"
        backend = TorchBackend(run.start.aliases)
        forge(run.path, target, backend, key=SUBMITTER, alter=only_in(first, last, patch_corner(label=7)))
        first, last = run.get_interval(INTERPOLATED)
        skipped = frozenset(range(first + 1, last + 1))
        edit = interpolate(first, last, 1.02)
        forge(run.path, self.folder / "interpolated", backend, key=SUBMITTER, edit=edit, skip=skipped)
        run.close()
        self.say(
            f"forged a run with a backdoor in interval {POISONED}, and one with interval {INTERPOLATED} interpolated"
        )
        for folder in ("digits", "text", "poisoned", "interpolated"):
            flagged = analyse_run(self.folder / folder).flagged
            self.findings[f"weights_{folder}"] = flagged
            self.say(
                f"weight analysis of {folder}: {f'intervals {flagged} stand out' if flagged else 'nothing stands out'}"
            )

    # -- submissions --------------------------------------------------------------------------------------------------

    def _submit_all(self, client: NodeClient) -> dict[str, bytes]:
        submitted = {}
        for name, (folder, _, _, sample) in EXPECTED.items():
            run = RecordedRun(self.folder / folder)
            offer = submitting.Offer(sample=sample or run.intervals, sub_quorum=SUB_QUORUM, bond=BOND, reward=REWARD)
            run.close()
            quoted = submitting.quote(client, self.folder / folder, read_or_create_seed(SUBMITTER), offer)
            inclusion = submitting.submit(client, quoted, self.progress)
            if inclusion.result.code:
                raise DemoFailed(f"the {name} was refused", actual=inclusion.result.code)
            submitted[name] = quoted.package.context
            self.say(f"submitted the {name}: bond {BOND}, up to {quoted.escrow} points for votes")
        return submitted

    def _await_all(self, client: NodeClient, submitted: dict[str, bytes], seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            phases = [read_submission(client, identity).status.phase for identity in submitted.values()]
            done = sum(phase == "final" for phase in phases)
            self.progress(f"judging ({', '.join(phases)})", done, len(phases))
            if done == len(phases):
                return
            time.sleep(0.5)
        raise DemoFailed("the verdicts took too long", expected=f"{seconds:g} seconds", actual=", ".join(phases))

    def _tell_verdict(self, client: NodeClient, name: str, identity: bytes) -> None:
        details = read_details(client, identity)
        status, (_, verdict, reason, _) = details.facts.status, EXPECTED[name]
        judged = [each.judgement for each in details.judgements]
        false = [judgement.interval for judgement in judged if judgement.finding == "rejected"]
        wanted = {"backdoored net": [POISONED], "net with an untrained interval": [INTERPOLATED]}.get(name, [])
        self._note(
            name,
            {"verdict": status.verdict, "reason": status.reason, "rounds": status.round + 1, "false": false},
            f"{name}: {status.verdict} ({status.reason}), round {status.round + 1}, false intervals: {false or 'none'}",
            right=(status.verdict, status.reason, false) == (verdict, reason, wanted),
        )
        self._tell_votes(name, details)

    def _tell_votes(self, name: str, details: SubmissionDetails) -> None:
        """Say who earned and lost what; no honest verifier loses anything but fees."""
        names = {read_public_key(who): who for who in (SUBMITTER, *VERIFIERS)}
        totals = {}
        for story in explain(details):
            who = names.get(story.account, story.account.hex()[:8])
            totals[who] = story.total
            reasons = sorted({entry.reason for entry in story.entries})
            kind = BAD.get(who, "the submitter" if who == SUBMITTER else "honest")
            if story.entries and (who == SUBMITTER or kind != "honest" or story.total < 0):
                self.say(f"  {who} ({kind}): {story.total:+} points: {'; '.join(reasons)}")
        honest = {who: points for who, points in totals.items() if who in VERIFIERS and who not in BAD}
        earned = sum(honest.values())
        self._note(
            f"honest verifiers, {name}",
            honest,
            f"  {len(honest)} honest verifiers earned {earned} points in rewards and lost none",
            right=all(points >= 0 for points in honest.values()) and earned > 0,
        )

    def _tell_money(self, client: NodeClient) -> None:
        """Add up every point that is held: issued less burned."""
        accounts = [read_public_key(name) for name in ("operator", SUBMITTER, *VERIFIERS)]
        supply = client.get_state(SUPPLY_KEY, Supply).value
        held = 0
        for account in accounts:
            found = client.get_state(account_key(account), Account).value
            stake = client.get_state(stake_key(account), Stake).value
            held += 0 if found is None else found.balance
            held += 0 if stake is None else stake.bonded + sum(waiting.amount for waiting in stake.unbondings)
        issued, burned = (0, 0) if supply is None else (supply.issued, supply.burned)
        self._note(
            "money",
            {"issued": issued, "burned": burned, "held": held},
            f"money: {issued} issued, {burned} burned, {held} held: conserved to the unit",
            right=held == issued - burned,
        )

    # -- certificates -------------------------------------------------------------------------------------------------

    def _certify_all(self, client: NodeClient, submitted: dict[str, bytes]) -> None:
        for name, identity in submitted.items():
            data = certify_submission(client, identity, read_or_create_seed(SUBMITTER), max_bytes=1 << 30)
            (self.folder / f"{EXPECTED[name][0]}.assay.json").write_bytes(data)

    def _verify_offline(self) -> None:
        genesis = str(self._get_genesis())
        for name, (folder, verdict, _, _) in EXPECTED.items():
            code = verify_isolated(["verify", str(self.folder / f"{folder}.assay.json"), "--anchor", genesis])
            wanted = 0 if verdict == "accepted" else 1
            self._note(
                f"verified {name}", code,
                f"certificate of the {name}, offline: {'holds' if wanted == 0 else 'refuted'} (exit {code})",
                right=code == wanted,
            )  # fmt: skip
        code = verify_isolated(["verify", str(self.folder / "digits.assay.json")], home=self.folder / "stranger")
        self._note(
            "verified without an anchor", code,
            f"the same certificate without the anchor: nothing is proven (exit {code})", right=code == 3,
        )  # fmt: skip
