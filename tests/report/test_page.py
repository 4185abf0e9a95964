"""The page as bytes: one file, the same each time, with a policy of its own, and no byte of a run unescaped."""

import re

from assay.report.contents import gather
from assay.report.page import render_page, show
from tests.attacks import runs


def test_the_page_needs_nothing_else(page_file):
    """No address of another host, no element that loads anything, one style and one script that the policy names."""
    page = page_file.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|<img|<iframe|<object|@import|url\(", page.split('id="raw"')[0])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src &#39;none&#39;")
    assert policy.count("sha256-") == 2
    assert page.count("<script>") == page.count("<style>") == 1
    assert " style=" not in page
    assert " onclick=" not in page


def test_the_same_run_gives_the_same_bytes(honest, certificate, page_file):
    """A report has no clock and no chance in it."""
    again = render_page(gather(honest, certificate, runs.TRUSTING))
    assert again == page_file.read_text(encoding="utf-8")


def test_both_boxes_have_one_size_and_stand_side_by_side(page_file):
    """The box of what is not proven is styled as the one of what is."""
    page = page_file.read_text(encoding="utf-8")
    assert '<div class="box proven"><h2>Proven</h2>' in page
    assert '<div class="box not-proven"><h2>Not proven</h2>' in page


def test_characters_that_steer_are_shown_as_escapes():
    """Controls and marks that turn the text round are written out; letters of any script stay."""
    assert show("Prüfstelle 检验\nnext") == "Prüfstelle 检验\nnext"
    assert show("\x1b[2J\u202egnp") == "\\x1b[2J\\u202egnp"
    assert show(3) == 3
