"""One honest run and its certificate, recorded once for all tests of this folder, and one browser."""

import pytest

from assay.report.contents import gather
from assay.report.page import render_page
from tests.attacks import runs
from tests.report.browser import open_browser


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """The folder of a finished run of 40 steps in 10 intervals, with a measured metric and a logged line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("recorder")))
        path = tmp_path_factory.mktemp("runs") / "flowers"
        runs.record(path)
    return path


@pytest.fixture(scope="session")
def certificate(honest, tmp_path_factory):
    """The certificate of an audit of all intervals."""
    file = tmp_path_factory.mktemp("certificates") / "flowers.assay.json"
    file.write_bytes(runs.make_certificate(runs.audit(honest)))
    return file


@pytest.fixture(scope="session")
def page_file(honest, certificate, tmp_path_factory):
    """The report of the honest run, as a file."""
    file = tmp_path_factory.mktemp("pages") / "flowers.html"
    file.write_text(render_page(gather(honest, certificate, runs.TRUSTING)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser():
    """A headless browser; closed after each file, because its event loop is in the way of others."""
    with open_browser() as found:
        yield found
