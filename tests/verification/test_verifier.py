"""Verifiers on a ledger in memory: honest, lying, lazy and silent ones, and what becomes of honest and false runs."""

import msgspec
import pytest

from assay.demonstration.dishonest import LazyJudge
from assay.errors import NetworkError
from assay.protocol.contracts.submission_bodies import AbstainVotes, CommitVotes, RevealVotes
from assay.protocol.contracts.submission_records import ACCEPTED, FINAL, FLAGGED, INCONCLUSIVE, REJECTED
from assay.protocol.evidence.votes import DIFFERS, MATCHES, compute_vote_commitment
from assay.training.pytorch.backend import TorchBackend
from assay.training.recorded import RecordedRun
from assay.verification.forgery import forge, interpolate
from assay.verification.verifier.judging import PROFILE, Finding
from assay.verification.verifier.ledger import read_payments, read_view
from tests.verification import blobs, runs
from tests.verification.simulated import TERMS, FastJudge, Fuse, Killed, Simulation

LAST = runs.INTERVALS - 1


class Liar(FastJudge):
    """Calls everything that matches false, always with the same root, and accepts everything that is false."""

    def judge(self, run, numbers, key):
        """Turn every finding round."""
        honest = super().judge(run, numbers, key)
        accepted = LazyJudge().judge(run, numbers, key)
        return {n: self._lie(f) if f.outcome == MATCHES else accepted[n] for n, f in honest.items()}

    def _lie(self, finding):
        return Finding(DIFFERS, bytes([66]) * 32, finding.leaves, finding.work_digest, finding.known_answer, 2)


class Unable:
    """A machine that gets other known answers."""

    def close(self):
        """Nothing is kept."""

    def judge(self, run, numbers, key):
        """Abstain."""
        return dict.fromkeys(numbers, Finding(-1, abstention=PROFILE))


@pytest.fixture
def make(tmp_path):
    """Return what makes a ledger with seven verifiers."""

    def build(**options):
        simulation = Simulation(tmp_path, **options)
        simulation.blobs = blobs.MemoryBlobs()
        return simulation

    return build


@pytest.fixture(scope="module")
def forged(honest, tmp_path_factory):
    """A run that pretends to have trained in its last interval."""
    path = tmp_path_factory.mktemp("forged") / "run"
    run = RecordedRun(honest)
    first, last = run.get_interval(LAST)
    skipped = frozenset(range(first + 1, last + 1))
    forge(honest, path, TorchBackend(run.start.aliases), edit=interpolate(first, last, 1.01), skip=skipped)
    return path


def test_an_honest_run_is_accepted(honest, make):
    """Attested, drawn, recomputed, committed, revealed, final: everybody who worked is paid, nobody loses."""
    simulation = make()
    package = simulation.submit(honest)
    before = simulation.get_balances()
    status = simulation.run(package.context)
    assert (status.verdict, status.reason, status.round) == (ACCEPTED, "matched", 0)
    assert not [text for _, text in simulation.said if "failed" in text]
    payments = read_payments(simulation.verifiers[0].ledger, package.context).payments
    assert {payment.kind for payment in payments} == {"reward", "bond-returned", "escrow-returned"}
    assert all(now >= then - 20 for now, then in zip(simulation.get_balances(), before, strict=True))
    simulation.verifiers[0].look()
    assert not list((simulation.folder / "verifier0" / "copies").iterdir())  # what is over is removed


def test_a_false_last_interval_is_rejected(forged, make):
    """The last interval is always in the sample; all honest verifiers find the same other root."""
    simulation = make()
    status = simulation.run(simulation.submit(forged).context)
    assert (status.verdict, status.reason) == (REJECTED, "differs")


@pytest.mark.parametrize("bad", [LazyJudge(), Liar()])
def test_a_minority_changes_nothing(honest, forged, make, bad):
    """Two of seven lie or are lazy: the honest run is accepted, the false one rejected, and no honest one loses."""
    simulation = make(judges={0: bad, 1: bad}, private_intervals=0)
    first = simulation.submit(honest)
    second = simulation.submit(forged, 1, msgspec.structs.replace(TERMS, attempt=2))  # of the same plan
    assert simulation.run(first.context).verdict == ACCEPTED
    assert simulation.run(second.context).verdict == REJECTED
    for package in (first, second):
        lost = [
            p for p in read_payments(simulation.verifiers[3].ledger, package.context).payments if "absence" in p.kind
        ]
        assert lost == []


def test_silent_verifiers_are_waited_for_and_pay(honest, make):
    """Two of seven never say anything: the rest decides after the deadline."""
    simulation = make(silent=(5, 6), commit_blocks=40)
    package = simulation.submit(honest)
    status = simulation.run(package.context)
    assert status.verdict == ACCEPTED
    kinds = {payment.kind for payment in read_payments(simulation.verifiers[0].ledger, package.context).payments}
    assert "reward" in kinds


def test_a_machine_that_cannot_judge_abstains_and_pays_nothing(honest, make):
    """WRK-8: other known answers mean no vote for or against; abstaining costs nothing."""
    simulation = make(judges={0: Unable(), 1: Unable()})
    package = simulation.submit(honest)
    assert simulation.run(package.context).verdict == ACCEPTED
    sent = simulation.verifiers[0].ledger.sent
    assert not [body for body in sent if isinstance(body, CommitVotes)]
    accounts = {simulation.actors[number].account for number in (0, 1)}
    payments = read_payments(simulation.verifiers[2].ledger, package.context).payments
    assert not [payment for payment in payments if payment.account in accounts]
    assert all(body.reason == PROFILE for body in sent if isinstance(body, AbstainVotes))


def test_nobody_who_can_judge_leaves_it_open(honest, make):
    """If all abstain in three rounds the verdict is inconclusive, and nobody is punished."""
    simulation = make(judges=dict.fromkeys(range(7), Unable()))
    status = simulation.run(simulation.submit(honest).context)
    assert (status.verdict, status.reason) == (INCONCLUSIVE, "no-agreement")


def test_withheld_blobs_end_a_submission(honest, make):
    """One chunk that nobody can fetch: nobody attests, nothing is drawn, and the bond returns."""
    simulation = make(availability_blocks=20)
    package = simulation.submit(honest)
    simulation.blobs.chunks.pop(package.bundle.entries[-1].digest)
    simulation.blobs.missing = NetworkError
    status = simulation.run(package.context)
    assert (status.verdict, status.reason) == (INCONCLUSIVE, "unavailable")
    assert "bond-returned" in {p.kind for p in read_payments(simulation.verifiers[0].ledger, package.context).payments}


def test_blobs_withheld_after_the_draw_change_nothing(honest, make):
    """Whoever attested has a copy: taking everything away after the draw does not save a submitter, nor harm one."""
    simulation = make()
    package = simulation.submit(honest)
    for number in range(7):
        simulation.start(number)
    while not simulation.get_status(package.context).draw:
        for verifier in simulation.verifiers.values():
            verifier.look()
        simulation.world.make_block()
    attested = [n for n in range(7) if (simulation.folder / f"verifier{n}" / "copies" / package.context.hex()).exists()]
    simulation.blobs.chunks.clear()
    assert simulation.run(package.context).verdict == ACCEPTED
    assert len(attested) >= 4


def test_flags_of_the_analysis_are_judged(forged, make):
    """What a drawn verifier flags is judged besides the sample, and never replaces it."""
    simulation = make(analyst=lambda _run, _view: [1, 2, LAST])
    package = simulation.submit(forged)
    simulation.run(package.context)
    view = read_view(simulation.verifiers[0].ledger, package.context, simulation.actors[0].account)
    assert {j.interval for j in view.judgements if j.origin == FLAGGED} <= {1, 2}
    assert set(view.draw.sample) <= {j.interval for j in view.judgements}
    assert LAST in view.draw.sample


def look_until_killed(simulation, number, fuse):
    """Start a verifier, let it look twice or die of the fuse, and leave only what is on the disk."""
    verifier = simulation.start(number)
    verifier.ledger.fuse = fuse
    keep = verifier.journal.keep_vote

    def keep_or_die(question, vote):
        if fuse.burn():
            raise Killed
        keep(question, vote)
        if fuse.burn():
            raise Killed

    verifier.journal.keep_vote = keep_or_die
    is_dead = False
    try:
        for _ in range(2):
            verifier.look()
    except Killed:
        is_dead = True
    simulation.stop(number)
    return is_dead, verifier.ledger.sent


def live_through_kills(simulation, submission, first, period):
    """Kill verifier 0 at one step after the other until the submission is final; return deaths and what it sent."""
    deaths, sent = 0, []
    for at in range(first, first + 400):
        is_dead, bodies = look_until_killed(simulation, 0, Fuse(at % period + 1))
        deaths += is_dead
        sent += bodies
        for other in simulation.verifiers.values():
            other.look()
        simulation.world.make_block()
        if simulation.get_status(submission).phase == FINAL:
            return deaths, sent
    raise AssertionError("never final")


def collect_commitments(bodies):
    """Return the different commitments that were sent, by round and interval."""
    answers = {}
    for body in bodies:
        for entry in body.commitments if isinstance(body, CommitVotes) else ():
            answers.setdefault((body.round, entry.interval), set()).add(entry.commitment)
    return answers


def test_a_kill_at_any_step_makes_no_second_vote_and_loses_no_reveal(honest, make, rounds):
    """Killed before and after every transaction and every write, and started again: one answer, opened in time."""
    simulation = make(silent=(0,), private_intervals=2)
    account, total = simulation.actors[0].account, 0
    for number in range(1, 7):
        simulation.start(number)
    for turn in range(rounds(10, 100)):
        package = simulation.submit(honest, turn, msgspec.structs.replace(TERMS, attempt=turn + 1))
        deaths, sent = live_through_kills(simulation, package.context, turn, 5 + turn % 4)
        total += deaths
        assert simulation.get_status(package.context).verdict == ACCEPTED
        answers = collect_commitments(sent)
        assert all(len(found) == 1 for found in answers.values())
        payments = read_payments(simulation.verifiers[1].ledger, package.context).payments
        assert {payment.kind for payment in payments if payment.account == account} <= {"reward"}
        for vote in [vote for body in sent if isinstance(body, RevealVotes) for vote in body.votes]:
            found = compute_vote_commitment(simulation.world.chain_id, package.context, 0, account, vote)
            assert answers[0, vote.interval] == {found}
    assert total >= 2 * rounds(10, 100)
