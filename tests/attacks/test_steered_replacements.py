"""Verifiers stay away so that friends are drawn in their place."""

from experiments.simulation.runs import pretend
from experiments.simulation.verifiers import Verifier, judge, list_judgements, open_world, submit, vote_lazily
from experiments.simulation.world import name_actors


def test_nobody_is_replaced():
    """Who stays away keeps its seat: its stake counts as assigned, and later rounds add seats and take none away."""
    absent = [Verifier(actor, commits=False) for actor in name_actors("absent", 4)]
    friends = [Verifier(actor, vote_lazily) for actor in name_actors("friend", 3)]
    escalated = 0
    for number in range(6):
        world, submitter, crew = open_world(9, [*absent, *friends], name=f"replacements {number}")
        run = pretend(world, submitter, false=(7,))
        assert submit(world, submitter, run) == ""
        verdict = judge(world, run, crew)
        assert verdict in {"rejected", "inconclusive"}
        last = next(each for each in list_judgements(world, run) if each.interval == 7)
        assert len({seat.account for seat in last.seats}) == len(last.seats)
        assert len(last.seats) in {5, 11, 16}
        escalated += len(last.seats) > 5
    assert escalated


def test_abstaining_moves_no_seat_either():
    """An abstention is free and counts against every side: it cannot shrink a sub-quorum to friends."""
    excused = [Verifier(actor, abstains="profile") for actor in name_actors("excused", 6)]
    friends = [Verifier(actor, vote_lazily) for actor in name_actors("friend", 3)]
    for number in range(6):
        world, submitter, crew = open_world(4, [*excused, *friends], name=f"abstaining {number}")
        run = pretend(world, submitter, false=(7,))
        assert submit(world, submitter, run) == ""
        assert judge(world, run, crew) != "accepted"
