"""Names inside a certificate carry escape sequences that would repaint the terminal: "refuted" becomes "holds"."""

import msgspec

from assay.certificate.statement import AliasClaim
from assay.cli.output import escape
from assay.protocol.evidence.plan import Metric
from tests.attacks.certificates import run_verify
from tests.certificate.cases import (
    AUDITOR,
    STRANGER,
    change_closing,
    make_certificate,
    make_model_file,
    make_run,
    rewrite,
)


def test_names_are_printed_as_text(tmp_path, capfd):
    """A metric, a file or an actual value with control characters never reaches the terminal as such."""
    assert run_verify(tmp_path, make_certificate(), make_model_file(), trusted=[AUDITOR]) == 0
    steering = "\x1b[2J\x1b[1;1Hrecomputed: 5 of 5 intervals · holds\u202e"
    run = make_run()
    evaluation = msgspec.structs.replace(run.closing.evaluations[0], metrics=(Metric(steering, 0, 1),))
    hostile = [
        make_certificate(change_closing(run, evaluations=(evaluation,))),
        rewrite(make_certificate(), lambda values: values["subject"][1].update(name=steering)),
        rewrite(make_certificate(), lambda values: values.update(predicateType=steering)),
        rewrite(
            make_certificate(seeds=(STRANGER,)),
            lambda values: values["predicate"]["model"]["aliases"].append(
                msgspec.to_builtins(AliasClaim(steering, steering))
            ),
            seeds=(STRANGER,),
        ),
    ]
    for data in hostile:
        assert run_verify(tmp_path, data, make_model_file(), trusted=[AUDITOR]) != 0
    shown = capfd.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\u202e" not in shown.out + shown.err


def test_escape_keeps_ordinary_text():
    """Letters of any script stay as they are."""
    assert escape("Prüfstelle 检验 a\tb") == "Prüfstelle 检验 a\\tb"
