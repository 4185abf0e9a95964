"""The report and the commands of an observed run: observed is all that they say."""

import json

import pytest
import torch
from torch import nn

import assay
from assay.cli.__main__ import main
from assay.report.observed import NoCertificate, gather_observed
from assay.report.page import render_page


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The folder of an observed run of 6 steps, with a loss logged after each."""
    path = tmp_path_factory.mktemp("seen") / "loop"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("home")))
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        run = assay.start(path)
        assay.observe(run, net, optimizer, every=3)
        for step in range(6):
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            run.log(loss=1 / (step + 1))
        run.finish()
    return path


def test_the_report_says_observed_and_no_more(seen):
    """The level, the sentence, no check, no metric, no chance; what is not known stands under not proven."""
    report = gather_observed(seen, None)
    assert (report.level, report.outcome, report.checks, report.metrics) == ("observed", "unchecked", [], [])
    assert report.finding == "6 steps were watched, finished (completed); nobody can recompute them."
    assert any("any digests" in sentence for sentence in report.not_proven)
    assert "declared" in report.losses_note
    page = render_page(report)
    assert '<span class="level">observed</span>' in page
    assert "Nothing can be recomputed" in page


def test_no_certificate_is_about_it(seen, tmp_path):
    """One that is given is refused."""
    with pytest.raises(NoCertificate):
        gather_observed(seen, tmp_path / "x.assay.json")


def test_the_commands_know_the_level(seen, tmp_path, capsys):
    """Show, verify, list and report say observed first; audit and export say why they cannot."""
    for verb in ("show", "verify"):
        assert main(["run", verb, str(seen)]) == 0
        assert capsys.readouterr().out.startswith("observed: 6 steps, 2 state roots, finished (completed)")
    assert main(["run", "show", str(seen), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["level"] == "observed"
    assert main(["run", "list", str(seen.parent)]) == 0
    assert "observed" in capsys.readouterr().out
    assert main(["run", "report", str(seen), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.startswith("observed: 6 steps were watched")
    for verb in ("audit", "export"):
        assert main(["run", verb, str(seen)]) == 2
        assert "was only observed" in capsys.readouterr().err
