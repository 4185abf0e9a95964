from xml.etree import ElementTree as ET

import msgspec

from assay.training.compare.growth import MAX_POINTS, _thin, measure_growth
from assay.training.compare.picture import render_growth
from assay.training.compare.runs import compare_runs, compare_sides
from assay.training.compare.side import open_sides
from benchmarks import differing as planted

SVG = "{http://www.w3.org/2000/svg}"


def measure(base, path, **changes):
    """Record a run and return (comparison, growth) with the base."""
    planted.record(path, **changes)
    a, b = open_sides(base, path)
    return compare_sides(a, b), measure_growth(a, b)


def test_growth_begins_where_the_runs_begin_to_differ(base, tmp_path):
    """A rate that changes at step 8: losses are equal up to step 8 and apart after it, weights from step 8 on."""
    _, growth = measure(base, tmp_path / "other", rate=lambda step: 0.1 if step < 8 else 0.05)
    assert growth.steps == list(range(1, 13))
    assert growth.losses[:8] == [0.0] * 8
    assert all(distance > 0 for distance in growth.losses[8:])
    assert growth.states == [4, 8, 12]
    assert growth.weights[0] == 0.0
    assert 0 < growth.weights[1] < growth.weights[2] < 1


def test_equal_runs_are_drawn_as_equal(base, tmp_path):
    """Nothing grows; the picture says so and is one well-formed file without scripts."""
    found, growth = measure(base, tmp_path / "other")
    picture = render_growth(found, growth)
    root = ET.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    assert "equal at every step" in picture
    assert "<script" not in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_the_picture_shows_title_lines_and_the_first_step(base, tmp_path):
    """Two lines, the answer as the title, a mark at the first step that differs; hostile paths cannot break it."""
    found, growth = measure(base, tmp_path / "other", rate=0.3)
    hostile = msgspec.structs.replace(found, a=msgspec.structs.replace(found.a, path="<b>&\x1b[0m"))
    root = ET.fromstring(render_growth(hostile, growth))
    lines = list(root.iter(f"{SVG}polyline"))
    assert [line.get("class") for line in lines] == ["l", "w"]
    assert len(lines[0].get("points").split()) == 12
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert any(text.startswith("scalars: the optimizer's numbers differ at step 1") for text in texts)
    assert "first step that differs: 1" in texts
    assert any("<b>&\\x1b[0m" in text for text in texts)


def test_long_runs_are_thinned_to_their_peaks():
    """Of many points those with the largest distance stay."""
    import numpy as np

    steps = np.arange(1, 100_001)
    distances = np.zeros(100_000)
    distances[70_123] = 5.0
    kept, values = _thin(steps, distances)
    assert len(kept) == MAX_POINTS
    assert values.max() == 5.0
    assert 70_124 in kept


def test_other_models_have_no_distance_of_weights(base, tmp_path):
    """Weights of other shapes are not compared."""
    _, growth = measure(base, tmp_path / "other", width=17)
    assert growth.weights == []
    assert compare_runs(base, tmp_path / "other").findings[0].kind == "start"
