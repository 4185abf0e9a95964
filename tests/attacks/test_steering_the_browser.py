"""Names in a run carry markup, scripts and marks that turn text round: the report shows them as text and runs nothing.

The attacker hopes that whoever opens the report of a foreign run executes a script, or reads "holds" over a refutation.
"""

import pytest
from torch import nn

from assay.certificate.policy import TrustPolicy
from assay.protocol.signatures import get_public_key
from assay.report.contents import gather
from assay.report.page import render_page
from tests.attacks import runs
from tests.report.browser import open_browser, visit

SCRIPT = "<script>alert(1)</script>"
PICTURE = "<img src=x onerror=alert(2)>"
QUOTE = '"><svg onload=alert(3)>'
TURNED = "\u202etub sdloh\u202c"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose folder, tensors and logged lines have hostile names, audited by an honest key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("recorder")))
        path = tmp_path_factory.mktemp("runs") / "<b onmouseover=alert(4)>ok"
        net = nn.Sequential()
        net.add_module(SCRIPT.replace(".", "_"), nn.Linear(4, 8))
        net.add_module(PICTURE.replace(".", "_") + TURNED, nn.BatchNorm1d(8))
        net.add_module("out", nn.Linear(8, 3))
        runs.record(path, net=net)
    (path / "audit" / "x.assay.json").write_bytes(runs.make_certificate(runs.audit(path)))
    return path


def test_hostile_names_are_text(hostile, tmp_path):
    """No dialog opens, no element of theirs exists, and their letters are there to be read."""
    trusting = TrustPolicy({get_public_key(runs.AUDITOR): QUOTE})
    report = gather(hostile, None, trusting)
    assert (report.level, report.outcome) == ("recomputed", "holds")
    page_text = render_page(report)
    assert TURNED[0] not in page_text
    file = tmp_path / "hostile.html"
    file.write_text(page_text, encoding="utf-8")
    with open_browser() as browser, visit(browser, file) as (page, seen):
        assert page.locator("script").count() == 1
        assert page.locator("img, b[onmouseover], svg[onload]").count() == 0
        shown = page.locator("body").inner_text()
        assert PICTURE in shown
        assert "\\u202etub sdloh" in shown
        assert "<b onmouseover=alert(4)>ok" in shown
        page.locator("header").hover()
        assert seen == []


def test_a_script_that_got_in_would_not_run(hostile, tmp_path):
    """The page's own policy names the one script that may run: a foreign one, once pasted in, is refused."""
    page_text = render_page(gather(hostile, None, runs.TRUSTING))
    file = tmp_path / "tampered.html"
    file.write_text(page_text.replace("</main>", f"{SCRIPT}{PICTURE}</main>"), encoding="utf-8")
    with open_browser() as browser, visit(browser, file) as (page, seen):
        assert page.locator("script").count() == 2
        assert not [line for line in seen if line.startswith("dialog")]
        assert any("Content Security Policy" in line for line in seen)
