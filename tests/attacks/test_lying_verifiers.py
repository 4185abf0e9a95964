"""Verifiers lie together: a minority, the majority of a sub-quorum, the majority of all stake, exactly a third."""

import pytest

from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import (
    Verifier,
    judge,
    list_judgements,
    open_world,
    submit,
    vote_chaotically,
    vote_lazily,
)
from experiments.simulation.world import make_actor, name_actors
from tests.ledgers import get_payments, get_stake


def judge_with(liars, honest, false, name, vote=vote_chaotically, **terms):
    """Return ledger, run, crew and verdict of a run judged by liars and honest verifiers."""
    world, submitter, crew = open_world(honest, [Verifier(a, vote) for a in name_actors("liar", liars)], name=name)
    run = pretend(world, submitter, false=false)
    assert submit(world, submitter, run, **terms) == ""
    return world, run, crew, judge(world, run, crew)


@pytest.mark.parametrize("vote", [vote_lazily, vote_chaotically])
@pytest.mark.parametrize("false", [(), (7,)])
def test_a_lying_minority_decides_nothing(vote, false):
    """Three liars of ten never get four seats of five: no verdict is wrong, in ten ledgers each."""
    for number in range(10):
        verdict = judge_with(3, 7, false, f"minority {number}", vote)[3]
        assert verdict in {"rejected" if false else "accepted", "inconclusive"}


def test_a_lying_majority_of_a_sub_quorum_wins():
    """Not stopped: four liars of five decide an interval; how often follows from stake and q, and a larger q helps."""
    wrong = 0
    for number in range(40):
        verdict = judge_with(6, 8, (7,), f"majority of five {number}", vote_lazily)[3]
        wrong += verdict == "accepted"
    assert wrong > 0
    for number in range(40):
        verdict = judge_with(6, 8, (7,), f"majority of five {number}", vote_lazily, sub_quorum=11)[3]
        assert verdict != "accepted"


def test_a_lying_majority_of_all_stake_wins_and_nobody_is_slashed():
    """Not stopped under `pinned`: two thirds of all stake can say anything; the others lose their reward alone."""
    for false, wrong, vote in (((7,), "accepted", vote_lazily), ((), "rejected", vote_chaotically)):
        world, run, crew, verdict = judge_with(12, 3, false, f"majority {wrong}", vote, sub_quorum=15)
        assert verdict == wrong
        for verifier in crew[:3]:
            assert get_stake(world, verifier.actor) == 10_000
            kinds = {kind for account, kind in get_payments(world, run) if account == verifier.actor.account}
            assert kinds <= {"reward"}


def test_a_tie_is_no_verdict():
    """Half against half ends inconclusive after three rounds; bond and unspent escrow return, no stake is lost."""
    world, run, crew, verdict = judge_with(6, 6, (), "tie", sub_quorum=12)
    assert verdict == "inconclusive"
    status = world.get_status(run.submission)
    assert (status.reason, status.round) == ("no-agreement", 2)
    assert all(each.finding == "" for each in list_judgements(world, run))
    assert all(get_stake(world, verifier.actor) == 10_000 for verifier in crew)
    assert get_payments(world, run)[world.actors[0].account, "bond-returned"] == 100_000


def test_exactly_two_thirds_decide():
    """Eight of twelve equal stakes are enough, seven are not."""
    assert judge_with(4, 8, (), "two thirds", sub_quorum=12)[3] == "accepted"
    assert judge_with(5, 7, (), "less than two thirds", sub_quorum=12)[3] == "inconclusive"


def test_a_false_accusation_costs_its_reward():
    """One verifier calls true intervals false: an honest run stays accepted, and the accuser is paid for nothing."""
    world, run, crew, verdict = judge_with(1, 9, (), "accusation", sample=8)
    assert verdict == "accepted"
    accuser = make_actor("liar 0")
    assert accuser.account == crew[-1].actor.account
    assert (accuser.account, "reward") not in get_payments(world, run)
    assert get_payments(world, run)[world.actors[0].account, "bond-returned"] == 100_000
