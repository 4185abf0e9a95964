"""Figure 3, cost and grinding: tiny modes, formulas, and committed results."""

import json
from fractions import Fraction
from math import comb

import pytest

from experiments.cost import run as cost
from experiments.figure3 import formula, models, paper_rule
from experiments.figure3 import run as figure3
from experiments.grinding import run as grinding


@pytest.mark.parametrize("experiment", [figure3, cost, grinding], ids=["figure3", "cost", "grinding"])
def test_tiny_modes_run(experiment):
    """The tiny mode goes through the real ledger or draw and meets its bars."""
    found = experiment.run(experiment.read_config(tiny=True))
    assert found["met"]
    json.dumps(found)


@pytest.mark.parametrize("experiment", [figure3, cost, grinding], ids=["figure3", "cost", "grinding"])
def test_committed_results_meet_the_bars(experiment):
    """The results in the repository are those of the full configuration and meet its bars."""
    found = json.loads(experiment.CONFIG.with_name("results.json").read_text())
    config = experiment.read_config(tiny=False)
    assert found["met"]
    if experiment is figure3:
        assert [(p["mode"], p["malicious"]) for p in found["points"]] == [
            (mode, level) for mode in ("ordered", "chaotic") for level in config["levels"]
        ]
        assert all(p["models"] == 200 and p["wrong"] == 0 for p in found["points"] if p["malicious"] <= 20)
    elif experiment is cost:
        assert [[p["intervals"], p["sample"], p["subQuorum"]] for p in found["lines"]] == config["grid"]
    else:
        assert found["trials"] == config["trials"]
        free = [p for p in found["lines"] if p["who"] == "operator" and p["tries"] == 100]
        assert free[0]["escapes"] > 0.99
        assert [p["escapes"] for p in free if p["privateIntervals"] == found["intervals"]] == [0.0, 0.0]


@pytest.mark.parametrize(("verifiers", "lying", "size"), [(10, 3, 3), (12, 4, 5), (20, 10, 8), (9, 9, 4), (9, 0, 4)])
def test_corrupt_chance_is_counted(verifiers, lying, size):
    """The chance is the share of all sub-quorums of which two thirds lie."""
    from itertools import combinations

    corrupt = sum(3 * sum(seat < lying for seat in seats) >= 2 * size for seats in combinations(range(verifiers), size))
    assert formula.compute_corrupt_chance(verifiers, lying, size) == Fraction(corrupt, comb(verifiers, size))


def test_sizes_are_the_smallest_that_suffice():
    """The chosen size is within the limit and no smaller allowed one is; where none suffices it is everybody."""
    size = formula.choose_size(50, 15, 1e-4, 5)
    assert formula.compute_corrupt_chance(50, 15, size) <= 1e-4
    assert all(formula.compute_corrupt_chance(50, 15, smaller) > 1e-4 for smaller in range(5, size))
    assert formula.choose_size(20, 15, 1e-4, 5) == 20


@pytest.mark.parametrize(("trials", "chance"), [(1, 0.5), (200, 0.0067), (2000, 0.79), (50, 0.0), (50, 1.0), (0, 0.3)])
def test_limits_hold_ninety_nine_percent(trials, chance):
    """The interval leaves at most half a percent on either side, by exact arithmetic."""
    low, high = formula.find_limits(trials, chance)
    p = Fraction(chance)
    below = sum(comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(low))
    above = sum(comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(high + 1, trials + 1))
    assert below <= Fraction(5001, 10**6)
    assert above <= Fraction(5001, 10**6)


def test_models_are_those_of_the_paper():
    """Half clean, a quarter scattered, a quarter in a row; flags where recall and false flags put them."""
    made = models.make_models(400, 12, 1.0, 0.0, 3)
    assert sum(not model.false for model in made) == 200
    assert all(model.flagged == model.false for model in made)
    rows = [model for model in made if model.number % 4 == 3]
    assert all(model.false[-1] - model.false[0] == len(model.false) - 1 for model in rows)
    assert made == models.make_models(400, 12, 1.0, 0.0, 3)


def test_the_papers_rule_by_hand():
    """Without liars it is right; with liars alone, ordered ones accept everything and chaotic ones reverse it."""
    made = models.make_models(400, 12, 1.0, 0.5, 4)
    assert paper_rule.judge_models(made, "ordered", 0.0, 3, 0) == 1.0
    assert paper_rule.judge_models(made, "ordered", 1.0, 3, 0) == 0.5
    clean = [model for model in made if not model.false]
    assert paper_rule.judge_models(clean, "chaotic", 1.0, 3, 0) < 0.02
