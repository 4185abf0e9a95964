"""Trust that travels with the certificate: as a member of it, as a file beside it, as a file in the working folder."""

from assay.protocol.signatures import get_public_key
from assay.storage.trust_store import encode_trust
from tests.attacks.certificates import run_verify
from tests.certificate.cases import AUDITOR, STRANGER, make_certificate, make_model_file, rewrite

FOREIGN = {"Trusted audit office": get_public_key(STRANGER)}


def test_trust_inside_is_refused(tmp_path):
    """A trust member at any level of the statement is malformed (CRT-5)."""
    honest = make_certificate()
    assert run_verify(tmp_path, honest, make_model_file(), trusted=[AUDITOR]) == 0
    member = {name: key.hex() for name, key in FOREIGN.items()}
    for place in (lambda values: values, lambda values: values["predicate"], lambda values: values["subject"][0]):
        shipped = rewrite(honest, lambda values, place=place: place(values).update(trust=member), seeds=(STRANGER,))
        assert run_verify(tmp_path, shipped, make_model_file()) == 3


def test_trust_beside_is_not_read(tmp_path, monkeypatch):
    """A trust file beside the certificate and in the working folder changes nothing; named by the reader it counts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trust.json").write_bytes(encode_trust(FOREIGN))
    forged = make_certificate(seeds=(STRANGER,))
    assert run_verify(tmp_path, forged, make_model_file()) == 3
    assert run_verify(tmp_path, forged, make_model_file(), "--trust", "trust.json") == 0
