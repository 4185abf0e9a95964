"""The picture: self-contained, escaped, and every interval in it."""

import re
from xml.etree import ElementTree as ET

import pytest

from assay.verification.weight_analysis.analysis import analyse_states
from assay.verification.weight_analysis.picture import MOST_LAYERS, draw_html, draw_svg
from tests.verification.weight_analysis.examples import Opened, open_states, walk

SVG = "{http://www.w3.org/2000/svg}"
CHANGES = [4.0 if number == 9 else 0.0 if number == 14 else 1.0 for number in range(20)]


def analyse(subject="runs/test", opener=None):
    """Return an analysis with one interval of too much and one of no change."""
    states = walk(CHANGES)
    return analyse_states(subject, range(21), opener or open_states(states))


def test_every_interval_is_a_point():
    """One point for each interval, in the class of what was found, with its figures as a title."""
    found = analyse()
    assert found.flagged == [9, 14]
    tree = ET.fromstring(draw_svg(found))
    points = tree.findall(f"{SVG}circle")
    assert [point.get("class") for point in points] == [
        "unjudged" if i < 3 else "flagged" if i in {9, 14} else "plain" for i in range(20)
    ]
    title = points[9].find(f"{SVG}title").text
    assert title.startswith("steps 9 to 10: ")
    assert title.endswith("flagged: more than expected")
    assert "flagged: less than expected" in points[14].find(f"{SVG}title").text
    assert found.caveat in [text.text for text in tree.iter(f"{SVG}text")]


@pytest.mark.parametrize("draw", [draw_svg, draw_html])
def test_nothing_is_fetched_and_nothing_runs(draw):
    """No address but the namespace, no script, no link; styles for the dark and for print are inside."""
    text = draw(analyse())
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|href|@import|url\(|\bon\w+=", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_names_cannot_break_out():
    """Names of runs and layers that look like markup are shown as text."""
    states = walk(CHANGES)
    hostile = '0/</title><script>alert("x")</script>.weight'
    found = analyse('runs/"><script>&', open_states(states, hostile))
    for text in (draw_svg(found), draw_html(found)):
        assert "<script" not in text
    ET.fromstring(draw_svg(found))


def test_many_layers_are_cut():
    """Of many layers, those that stand out most are drawn, and the rest is counted."""
    states = walk(CHANGES)

    def opener(number):
        return Opened("state", {f"0/layers.{i}.weight": states[number][i * 8 : i * 8 + 8] for i in range(50)})

    tree = ET.fromstring(draw_svg(analyse(opener=opener)))
    texts = [text.text for text in tree.iter(f"{SVG}text")]
    assert sum(text.startswith("0/layers.") for text in texts) == MOST_LAYERS
    assert f"and {50 - MOST_LAYERS} more layers that stand out less" in texts
