"""Table II: the tiny mode runs, its parts are right, and the committed results are its own."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.verification.weight_analysis.analysis import analyse_states
from assay.verification.weight_analysis.thresholds import Threshold
from experiments.table2 import run as table2
from experiments.table2.data import KINDS, load_task
from experiments.table2.scenarios import SCENARIOS, make_cases
from experiments.table2.scoring import freeze_factor, judge, summarise
from experiments.table2.series import Variant, find, make_series, rank
from experiments.table2.training import train
from tests.verification.weight_analysis.examples import Opened

CONFIG = table2.read_config(tiny=False)
FAMILY = CONFIG["development"][0]


@pytest.fixture(scope="module")
def poisoned():
    """One small network with poison in a row."""
    cases = make_cases(FAMILY, {**CONFIG["settings"], "intervals": [24, 24]}, 1)
    case = next(case for case in cases if case.scenario == "consecutive")
    return make_series(case._replace(recipe=case.recipe._replace(hidden=(16,)), poisoned=(14, 15, 16)))


def test_the_tiny_mode_runs():
    """Every part of the experiment is there, the poison took, and the default is right more often than not."""
    found = table2.run(table2.read_config(tiny=True), workers=2)
    assert len(found["table"]) == 12
    assert found["default"]["precision"] > 0.6
    assert found["default"]["recall"] > 0.5
    part = found["parts"]["breast cancer, 1-2 layers"]
    assert part["successInPoisonedIntervals"] > 0.5 > part["successClean"]
    assert part["accuracyPoisoned"] > 0.8
    assert [line["strategy"] for line in found["attacker"]] == ["constant", "climbing", "always"]
    json.dumps(found)


def test_committed_results_are_of_this_configuration():
    """The results name every family, were not made by the tiny mode, and say truly whether they meet the bars."""
    found = json.loads(table2.CONFIG.with_name("results.json").read_text())
    default, bars = found["default"], CONFIG["bars"]
    assert found["bars"] == bars
    assert found["met"] == (default["f1"] >= bars["f1"] and default["falseFlags"] <= bars["falseFlags"])
    assert default["falseFlags"] <= bars["falseFlags"]
    names = [family["name"] for family in CONFIG["heldOut"]]
    assert [name for name in found["parts"] if name not in SCENARIOS] == names
    assert list(found["harder"]) == [family["name"] for family in CONFIG["harder"]]
    assert found["default"]["networks"] == len(names) * len(SCENARIOS) * CONFIG["models"]
    assert found["default"]["factor"] == Threshold().factor
    assert found["machine"]["cpu"]


def test_nothing_is_held_out_twice():
    """No data of the development are held out, and no seed is used twice."""
    seeds = [family["seed"] for part in ("development", "heldOut", "harder") for family in CONFIG[part]]
    assert len(set(seeds)) == len(seeds)
    assert not {family["data"] for family in CONFIG["development"]} & {family["data"] for family in CONFIG["heldOut"]}


@given(st.integers(0, 1000))
def test_scenarios_are_what_they_say(seed):
    """None, one, two to four with gaps or in a row; never in the first fifth; the same seed, the same cases."""
    cases = make_cases({**FAMILY, "seed": seed}, CONFIG["settings"], 1)
    assert cases == make_cases({**FAMILY, "seed": seed}, CONFIG["settings"], 1)
    assert [case.scenario for case in cases] == list(SCENARIOS)
    clean, single, scattered, consecutive = (case.poisoned for case in cases)
    assert (clean, len(single)) == ((), 1)
    assert 2 <= len(scattered) <= 4
    assert min(np.diff(scattered)) >= 2
    assert 2 <= len(consecutive) <= 4
    assert set(np.diff(consecutive)) == {1}
    for case in cases:
        assert all(case.recipe.intervals / 5 <= number < case.recipe.intervals for number in case.poisoned)


@pytest.mark.parametrize("name", KINDS)
def test_tasks_are_scaled_and_apart(name):
    """Inputs lie in [0, 1], the target is a class, the patch lies inside, and no test sample is trained on."""
    task = load_task(name)
    assert task.train.min() >= 0
    assert task.train.max() <= 1
    assert 0 <= task.target < task.classes == len(set(task.train_labels.tolist()))
    assert max(task.patch) < task.train.shape[1]
    assert len(task.test) == len(task.test_labels) > 0


def test_training_is_repeatable_and_poison_is_local(poisoned):
    """The same recipe gives the same bits; before the first poisoned interval, the clean network has them too."""
    case = poisoned.case
    task = load_task(case.data)
    again = train(task, case.recipe, case.poisoned)
    clean = train(task, case.recipe, ())
    once_more = train(task, case.recipe, case.poisoned)
    for one, other in zip(again.states, once_more.states, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    for number in range(case.poisoned[0] + 1):
        assert all(np.array_equal(again.states[number][n], clean.states[number][n]) for n in clean.states[number])
    assert max(clean.success) < 0.2
    assert max(again.success) > 0.8


def test_the_detector_is_the_products(poisoned):
    """What the experiment flags is what `analyse_states` flags on the same states."""
    states = train(load_task(poisoned.case.data), poisoned.case.recipe, poisoned.case.poisoned).states
    steps = [24 * number for number in range(len(states))]
    for ways_back in (True, False):
        product = analyse_states("x", steps, lambda s: Opened(f"{s}", states[s // 24]), ways_back=ways_back)
        found = find(poisoned, Variant("absolute", "mad", ways_back), Threshold().factor)
        assert [number for number, flag in enumerate(found.flagged) if flag] == product.flagged
        assert poisoned.values["l2"] == [interval.measures.l2 for interval in product.intervals]


def test_figures_by_hand(poisoned):
    """Counts, precision, recall, F1 and false flags of one network; suspicion ranks the poisoned intervals first."""
    variant = Variant("absolute", "mad", ways_back=True)
    outcome = judge(poisoned, variant, 8.0)
    assert (outcome.hits, outcome.false_flags, outcome.misses, outcome.clean) == (3, 0, 0, 21)
    figures = summarise([outcome, outcome._replace(hits=1, misses=2, false_flags=1)], intervals=False)
    assert figures["precision"] == round(4 / 5, 4)
    assert figures["recall"] == round(4 / 6, 4)
    assert figures["f1"] == round(8 / 11, 4)
    assert figures["falseFlags"] == round(1 / 42, 4)
    assert figures["auprc"] == 1.0
    suspicions = rank(find(poisoned, variant, 8.0))
    assert min(suspicions[14:17]) > max(suspicions[:14] + suspicions[17:])


def test_the_frozen_factor_is_the_best_allowed(poisoned):
    """The best F1 within the allowed false flags wins; if nothing is allowed, the quietest."""
    variant = Variant("absolute", "mad", ways_back=True)
    factor, figures = freeze_factor([poisoned], variant, [0.1, 8.0, 90.0], 0.01)
    assert (factor, figures["f1"]) == (8.0, 1.0)
    assert freeze_factor([poisoned], variant, [0.05, 0.1], -1.0)[0] in {0.05, 0.1}
