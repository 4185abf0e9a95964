"""`assay demo verify` over files like those that ship."""

import pytest

from assay.cli import demo
from assay.cli.__main__ import main
from assay.errors import Refuted
from assay.protocol.signatures import get_public_key
from tests.certificate.cases import AUDITOR, make_certificate, make_model_file


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of demonstration files, in place of the one in the package."""
    (tmp_path / demo.CERTIFICATE).write_bytes(make_certificate())
    (tmp_path / demo.MODEL).write_bytes(make_model_file())
    (tmp_path / demo.KEY).write_text(get_public_key(AUDITOR).hex() + "\n")
    monkeypatch.setattr(demo, "DATA", tmp_path)
    return tmp_path


def test_the_demonstration_holds(shipped, home, capsys):
    """It holds, with a key that is trusted for this once: the trust store stays empty."""
    assert main(["demo", "verify"]) == 0
    assert "demo key, trusted for this command only" in capsys.readouterr().out
    assert not (home / "trust.json").exists()


def test_one_bit_refutes_it(shipped, capsys):
    """`--tamper` flips a bit of a copy: refuted, 1; the shipped files stay as they are."""
    before = (shipped / demo.MODEL).read_bytes()
    assert main(["demo", "verify", "--tamper"]) == 1
    assert "this is not the certified model file" in capsys.readouterr().err
    assert (shipped / demo.MODEL).read_bytes() == before
    with pytest.raises(Refuted):
        demo.verify_demo(shipped, tamper=True, as_json=True)


def test_a_missing_demonstration_is_said(shipped):
    """Without its files: 3, never 1."""
    (shipped / demo.CERTIFICATE).unlink()
    assert main(["demo", "verify", "--tamper"]) == 3
