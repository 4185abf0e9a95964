"""A reader draws every round again: the sample, what was flagged, what was accused, and the larger sub-quorums."""

import msgspec
import pytest

from assay.certificate.ledger_check import Anchor, check_ledger
from assay.certificate.rejections import LedgerUnproven
from assay.client.certifying import collect_evidence
from assay.protocol.contracts import deadlines
from assay.protocol.contracts.submission_records import ACCUSED, FLAGGED, UNIFORM
from assay.protocol.evidence import draw as drawing
from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import Verifier, judge, open_world, submit, vote_chaotically
from experiments.simulation.world import name_actors
from tests.attacks.judged import WorldClient

ISSUER = bytes(32)


def judge_in_three_rounds():
    """Return the evidence of a submission with all rounds, with flagged and accused intervals, and its anchor."""
    liars = [Verifier(actor, vote_chaotically) for actor in name_actors("liar", 5)]
    quiet = [Verifier(actor, abstains="resources") for actor in name_actors("quiet", 4)]
    flagging = [Verifier(actor, flags=(1, 2)) for actor in name_actors("flagging", 3)]
    world, submitter, crew = open_world(5, [*liars, *quiet, *flagging], quorum=15, private_intervals=2)
    run = pretend(world, submitter, intervals=16)
    assert submit(world, submitter, run, sample=3) == ""
    judge(world, run, crew)
    assert world.get_status(run.submission).round == 2
    claim = collect_evidence(WorldClient(world), run.submission, ISSUER)
    return claim, {world.chain_id: Anchor("ours", world.genesis)}


@pytest.fixture(scope="module")
def evidence():
    """Honest evidence."""
    return judge_in_three_rounds()


def test_all_rounds_are_drawn_again(evidence):
    """CRT-34: seats of every origin and round follow from the beacons of their heights."""
    claim, anchors = evidence
    facts = check_ledger(claim, anchors)
    assert {each.origin for each in facts.judgements} >= {UNIFORM, FLAGGED, ACCUSED}
    assert max(each.round for each in facts.judgements) == 2
    assert len(claim.drawn) == 4
    assert len({len(each.seats) for each in facts.judgements}) > 1


def test_headers_of_other_heights_are_refused(evidence):
    """CRT-34: one header for each draw, of its height, in their order."""
    claim, anchors = evidence
    places = claim.drawn
    for drawn in (places[:3], places[::-1], [*places[:3], places[2]], [*places, places[0]], [], [*places[:3], 10_000]):
        with pytest.raises(LedgerUnproven):
            check_ledger(msgspec.structs.replace(claim, drawn=drawn), anchors)


def seat_friends(draw, beacon, interval, voting_round, sub_quorum, seated, eligible):
    """Give the seats of later rounds to the last ones of the list, whatever the beacon is."""
    taken = {seat.account for seat in seated}
    wanted = drawing.count_seats(sub_quorum, voting_round, len(eligible)) - len(seated)
    return tuple(seat for seat in reversed(eligible) if seat.account not in taken)[:wanted]


def test_a_ledger_that_seats_friends_in_later_rounds_is_seen(monkeypatch):
    """CRT-34: an operator whose node breaks the rule of escalation proves a state that no reader believes."""
    monkeypatch.setattr(deadlines, "draw_further", seat_friends)
    claim, anchors = judge_in_three_rounds()
    with pytest.raises(LedgerUnproven, match="sub-quorum"):
        check_ledger(claim, anchors)


def test_a_ledger_that_chooses_who_judges_flags_is_seen(monkeypatch):
    """CRT-34, DRW-6: a flagged interval is judged by whom the end of the flags draws."""
    honest = deadlines.draw_sub_quorum

    def choose(draw, beacon, interval, voting_round, seats, count):
        if interval in {1, 2}:
            beacon = bytes(32)
        return honest(draw, beacon, interval, voting_round, seats, count)

    monkeypatch.setattr(deadlines, "draw_sub_quorum", choose)
    claim, anchors = judge_in_three_rounds()
    with pytest.raises(LedgerUnproven, match="sub-quorum"):
        check_ledger(claim, anchors)
