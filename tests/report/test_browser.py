"""The report in a real browser: light, dark, on a phone, on paper, and without scripts."""

import pytest

from assay.report.contents import gather
from assay.report.page import render_page
from tests.attacks import runs
from tests.report.browser import visit

SETTINGS = {
    "light": {"viewport": {"width": 1100, "height": 900}},
    "dark": {"viewport": {"width": 1100, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True},
    "without scripts": {"viewport": {"width": 1100, "height": 900}, "java_script_enabled": False},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_shown_whole_and_asks_for_nothing(browser, page_file, name):
    """The sentence, both boxes and both charts are visible; no complaint, no request, nothing wider than the screen."""
    with visit(browser, page_file, **SETTINGS[name]) as (page, seen):
        assert page.locator("h1").inner_text().startswith("recomputed 10 of 10 intervals were recomputed by auditor")
        for element in (".box.proven", ".box.not-proven", "svg.strip", ".with-axis svg.tall", "pre.command"):
            box = page.locator(element).first.bounding_box()
            assert box["width"] > 100, element
            assert box["height"] > 20, element
            assert box["x"] + box["width"] <= SETTINGS[name]["viewport"]["width"], element
        assert page.locator("svg.strip .cell.matches").count() == 10
        assert seen == []


def test_both_boxes_are_equally_large(browser, page_file):
    """What is not proven takes as much room as what is."""
    with visit(browser, page_file, **SETTINGS["light"]) as (page, _):
        sizes = [page.locator(box).bounding_box() for box in (".box.proven", ".box.not-proven")]
        assert sizes[0]["width"] == pytest.approx(sizes[1]["width"], abs=1)
        assert sizes[0]["height"] == pytest.approx(sizes[1]["height"], abs=1)


def test_the_dark_is_dark(browser, page_file):
    """The page follows the reader's colour scheme, and text stands out from paper in both."""
    found = {}
    for name in ("light", "dark"):
        with visit(browser, page_file, **SETTINGS[name]) as (page, _):
            style = "getComputedStyle(document.body)"
            found[name] = [page.evaluate(f"{style}.{what}") for what in ("backgroundColor", "color")]
    brightness = {name: [sum(map(int, text[4:-1].split(","))) for text in pair] for name, pair in found.items()}
    assert brightness["light"][0] - brightness["light"][1] > 500
    assert brightness["dark"][1] - brightness["dark"][0] > 500


def test_pointing_tells_the_words_of_a_column(browser, page_file):
    """Hovering over an interval, or reaching it by keyboard, shows its words below the chart."""
    with visit(browser, page_file, **SETTINGS["light"]) as (page, seen):
        page.locator("svg.strip .column").nth(4).hover()
        told = page.locator("figure:has(svg.strip) .told")
        assert told.inner_text().startswith("interval 4, steps 17 to 20 · matches (all) · mean loss")
        page.locator("svg.strip .column").nth(5).focus()
        assert told.inner_text().startswith("interval 5, ")
        assert seen == []


def test_it_prints(browser, page_file, tmp_path):
    """On paper everything is there in dark ink, without buttons."""
    with visit(browser, page_file, **SETTINGS["dark"]) as (page, _):
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator(".copy").first.is_visible()
        assert page.locator(".box.not-proven").is_visible()
        page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_the_command_can_be_copied(browser, page_file):
    """The button copies the command, or says how to."""
    with visit(browser, page_file, **SETTINGS["light"]) as (page, seen):
        page.locator(".copy").click()
        page.wait_for_function("document.querySelector('.copy').textContent !== 'copy'")
        assert "assay verify" in page.locator("pre.command").inner_text()
        assert seen == []


@pytest.fixture(scope="module")
def weighed(tmp_path_factory):
    """The report of a run with 20 stored states, enough to judge how the weights changed."""
    path = tmp_path_factory.mktemp("weighed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("home")))
        runs.record(path, checkpoint_every=2)
    file = path.with_suffix(".html")
    file.write_text(render_page(gather(path, None, runs.TRUSTING)), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", SETTINGS)
def test_changes_of_the_weights_stand_above_the_findings(browser, weighed, name):
    """One bar between two stored states, inside the frame, exactly over its interval; pointing tells four measures."""
    with visit(browser, weighed, **SETTINGS[name]) as (page, seen):
        assert page.locator(".bar").count() == 19
        assert page.locator("polyline.threshold").count() == 1
        frame = page.locator("figure:has(svg.strip) svg.tall").bounding_box()
        bar, cell = page.locator(".bar").nth(3).bounding_box(), page.locator(".cell").nth(4).bounding_box()
        assert bar["x"] == pytest.approx(cell["x"], abs=1)
        assert frame["y"] - 1 <= bar["y"] <= bar["y"] + bar["height"] <= frame["y"] + frame["height"] + 1
        words = page.locator("figure:has(svg.strip) svg.tall .column").nth(3).get_attribute("aria-label")
        assert words.startswith("steps 9 to 10 · ")
        assert all(f"{measure} " in words for measure in ("absolute", "l2", "percent", "cosine", "mean loss"))
        assert seen == []
