"""One step in one interval is edited: only whoever recomputes that interval sees it, and the certificate says so."""

from fractions import Fraction
from hashlib import sha256

import numpy as np
import pytest

from assay.certificate.policy import TrustPolicy
from assay.certificate.rejections import IntervalDiffers, PolicyNotMet
from assay.protocol.evidence.chances import compute_miss_chance
from assay.protocol.evidence.selection import select_intervals
from tests.attacks.runs import TRUSTING, audit, find_differing, forge_run, verify

FALSE, TOTAL, SAMPLE = 4, 10, 4


@pytest.fixture(scope="module")
def forged(honest, tmp_path_factory):
    """A run in which one weight was changed by hand after step 18."""

    def edit(step, state):
        if step == 18:
            data = state.tensors[0, "0/3.weight"]
            np.ndarray((len(data) // 4,), np.float32, data)[0] += np.float32(0.25)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("recorder")))
        return forge_run(honest, tmp_path_factory.mktemp("runs") / "forged", edit=edit)


def test_a_full_replay_finds_exactly_that_interval(forged, honest_audit):
    """All ten intervals are recomputed: number 4 differs."""
    assert find_differing(honest_audit) == []
    found = audit(forged)
    assert find_differing(found) == [FALSE]
    with pytest.raises(IntervalDiffers) as refusal:
        verify(found)
    assert refusal.value.actual == [FALSE]


def test_a_sample_that_misses_it_says_what_it_could_not_see(forged):
    """A sample without number 4 finds nothing; its certificate states the chance of that, and claims no more."""
    draws = (sha256(bytes([i])).digest() for i in range(256))
    randomness = next(draw for draw in draws if FALSE not in select_intervals(draw, TOTAL, SAMPLE))
    found = audit(forged, sample=SAMPLE, randomness=randomness)
    assert find_differing(found) == []
    findings = verify(found)
    assert (findings.sampled, findings.intervals) == (SAMPLE, TOTAL)
    assert Fraction(findings.miss_one) == compute_miss_chance(TOTAL, SAMPLE, 1) == Fraction(2, 3)
    assert "6 of 10 intervals were not recomputed: nothing is claimed about them." in findings.not_proven
    assert any("probability 0.666667 (2/3) of missing it" in claim for claim in findings.proven)


def test_a_reader_who_wants_more_than_a_sample_asks_for_it(forged):
    """A policy of all intervals refuses the certificate of a sample: nothing is proven."""
    draws = (sha256(bytes([i])).digest() for i in range(256))
    randomness = next(draw for draw in draws if FALSE not in select_intervals(draw, TOTAL, SAMPLE))
    found = audit(forged, sample=SAMPLE, randomness=randomness)
    with pytest.raises(PolicyNotMet):
        verify(found, TrustPolicy(TRUSTING.keys, minimal_share=Fraction(1)))


def test_the_rate_of_misses_is_the_stated_one():
    """Over 4,000 draws the false interval is missed as often as the certificate says, within five deviations."""
    rounds = 4000
    missed = sum(
        FALSE not in select_intervals(sha256(i.to_bytes(4, "little")).digest(), TOTAL, SAMPLE) for i in range(rounds)
    )
    chance = float(compute_miss_chance(TOTAL, SAMPLE, 1))
    assert abs(missed / rounds - chance) < 5 * (chance * (1 - chance) / rounds) ** 0.5
