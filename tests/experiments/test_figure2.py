"""Figure 2: the tiny mode runs, the line is a line, and the committed results are of this configuration."""

import json

import pytest

from experiments.figure2 import run as figure2


def test_the_tiny_mode_runs():
    """Five sizes with their times, and a line through them that rises."""
    found = figure2.run(figure2.read_config(tiny=True))
    assert [point["layers"] for point in found["points"]] == [5, 15, 25, 35, 45]
    assert found["lines"]["snapshot"]["microsecondsPerThousandWeights"] > 0
    assert all(point["modelSeconds"] > point["snapshotSeconds"] > 0 for point in found["points"])
    json.dumps(found)


def test_lines_are_fitted():
    """A line is found exactly, and what bends has a smaller R²."""
    slope, level, r2 = figure2.fit_line([1, 2, 3, 4], [3.0, 5.0, 7.0, 9.0])
    assert (slope, level, r2) == (pytest.approx(2), pytest.approx(1), pytest.approx(1))
    assert figure2.fit_line([1, 2, 3, 4], [1.0, 2.0, 4.0, 8.0])[2] < 0.95


def test_committed_results_are_of_this_configuration():
    """The results in the repository cover 5 to 200 layers by 5, up to the paper's 70,000 weights, and meet the bars."""
    found = json.loads(figure2.CONFIG.with_name("results.json").read_text())
    assert [point["layers"] for point in found["points"]] == list(range(5, 201, 5))
    assert 60_000 < found["points"][-1]["weights"] < 80_000
    assert found["met"]
    assert found["bars"] == figure2.read_config(tiny=False)["bars"]
