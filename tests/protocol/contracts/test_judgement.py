from hypothesis import given
from hypothesis import strategies as st

from assay.protocol.contracts.judgement import is_decisive, judge
from assay.protocol.contracts.submission_records import ACCEPTED, REJECTED, UNDECIDED, Answer
from assay.protocol.evidence.draw import Seat
from assay.protocol.evidence.votes import DIFFERS, MALFORMED, MATCHES, WITHHELD
from experiments.simulation.runs import PretendedRun
from experiments.simulation.verifiers import make_vote

RUN = PretendedRun("run", 4, frozenset(), bytes(32), bytes(32))
CLAIM = RUN.get_claim(1)[1]
OTHER, THIRD = bytes([1] * 32), bytes([2] * 32)

VOTES = {
    "for": make_vote(RUN, "x", 1, MATCHES, CLAIM),
    "other": make_vote(RUN, "x", 1, DIFFERS, OTHER),
    "third": make_vote(RUN, "x", 1, DIFFERS, THIRD),
    "withheld": make_vote(RUN, "x", 1, WITHHELD, bytes(32)),
    "malformed": make_vote(RUN, "x", 1, MALFORMED, bytes(32)),
    "none": None,
}


def count(*said, stakes=None):
    """Return the finding about votes of equal stake, or of given stakes."""
    seats = [Seat(bytes([i]) * 32, 1 if stakes is None else stakes[i]) for i in range(len(said))]
    return judge(seats, [VOTES[word] for word in said])


def test_two_thirds_accept():
    """SUB-25: four of six accept, three of five do not."""
    assert count("for", "for", "for", "for", "none", "other") == (
        ACCEPTED,
        4,
        1,
        Answer(MATCHES, CLAIM, VOTES["for"].leaves.root),
    )
    assert count("for", "for", "for", "other", "none")[0] == UNDECIDED


def test_two_thirds_for_one_other_answer_reject():
    """SUB-26: they must agree on one root; two roots with two thirds between them decide nothing."""
    finding, for_claim, against, answer = count("other", "other", "for")
    assert (finding, for_claim, against) == (REJECTED, 1, 2)
    assert answer.end_root == OTHER
    assert count("other", "other", "third", "third", "for", "for")[0] == UNDECIDED
    assert count("withheld", "withheld", "for")[0] == REJECTED
    assert count("withheld", "malformed", "for")[0] == UNDECIDED


def test_votes_agree_in_their_leaves_too():
    """SUB-24: the same end root by other leaves is another answer."""
    seats = [Seat(bytes([i]) * 32, 1) for i in range(3)]
    other = make_vote(RUN, "x", 1, MATCHES, CLAIM).__class__
    votes = [VOTES["for"], VOTES["for"], VOTES["for"]]
    assert judge(seats, votes)[0] == ACCEPTED
    apart = [
        other(**{**{name: getattr(vote, name) for name in vote.__struct_fields__}, "leaves": VOTES[word].leaves})
        for vote, word in zip(votes, ("for", "other", "third"), strict=True)
    ]
    assert judge(seats, apart)[:2] == (UNDECIDED, 1)


def test_absent_stake_counts_as_assigned():
    """SUB-25: it is the assigned stake that decides, not that of those who came."""
    assert count("for", "for", "none", "none")[0] == UNDECIDED
    assert count("none", "none")[0] == UNDECIDED
    assert judge([], [])[0] == UNDECIDED


def test_stake_is_counted_not_heads():
    """SUB-25: one verifier with two thirds of the stake decides alone, with one point less it does not."""
    assert count("for", "other", "other", stakes=[4, 1, 1])[0] == ACCEPTED
    assert count("for", "other", "other", stakes=[3, 1, 1])[0] == UNDECIDED
    assert is_decisive(2, 3)
    assert not is_decisive(1999, 3000)
    assert not is_decisive(0, 0)


@given(st.lists(st.tuples(st.sampled_from(sorted(VOTES)), st.integers(1, 2**40)), min_size=1, max_size=12))
def test_at_most_one_answer_decides(votes):
    """SUB-25, SUB-26: the finding is the one that a plain count of each answer gives."""
    seats = [Seat(bytes([i]) * 32, stake) for i, (_, stake) in enumerate(votes)]
    finding, for_claim, against, answer = judge(seats, [VOTES[word] for word, _ in votes])
    total = sum(stake for _, stake in votes)
    sums = {word: sum(stake for said, stake in votes if said == word) for word in VOTES if word != "none"}
    winners = [word for word, stake in sums.items() if 3 * stake >= 2 * total]
    assert len(winners) <= 1
    assert finding == (UNDECIDED if not winners else ACCEPTED if winners == ["for"] else REJECTED)
    assert (answer is None) == (not winners)
    assert for_claim == sums["for"]
    assert against == max(stake for word, stake in sums.items() if word != "for")
