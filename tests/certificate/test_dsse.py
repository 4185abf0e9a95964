"""The envelope, against securesystemslib and against itself."""

import pytest
from securesystemslib.dsse import Envelope as OracleEnvelope

from assay.certificate.dsse import (
    MAX_BYTES,
    PAYLOAD_TYPE,
    compute_pae,
    decode_base64,
    decode_hex,
    decode_json,
    encode_json,
    open_envelope,
)
from assay.certificate.rejections import MalformedCertificate
from assay.certificate.statement import Statement
from tests.certificate.cases import make_certificate


@pytest.mark.parametrize("payload", [b"", b"hello world", bytes(range(256)) * 40])
@pytest.mark.parametrize("kind", [PAYLOAD_TYPE, "http://example.com/HelloWorld", "ü"])
def test_pae_is_that_of_the_oracle(kind, payload):
    """The bytes that are signed are those of securesystemslib, for any type and payload (CRT-3)."""
    assert compute_pae(kind, payload) == OracleEnvelope(payload, kind, {}).pae()


def test_pae_of_the_dsse_specification():
    """The example of the DSSE protocol gives its bytes (CRT-3)."""
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert compute_pae("http://example.com/HelloWorld", b"hello world") == expected


def test_oracle_reads_our_envelope():
    """The oracle finds the payload and the signatures that we find."""
    import json

    data = make_certificate()
    payload, signatures = open_envelope(data)
    theirs = OracleEnvelope.from_dict(json.loads(data))
    assert theirs.payload == payload
    assert {key.hex() for key in signatures} == set(theirs.signatures)


@pytest.mark.parametrize("text", ["A", "QQ", "QR==", "QQ==\n", "Q Q=", "QQ=", "_w==", "QQ==QQ=="])
def test_base64_has_one_form(text):
    """Missing padding, unused bits, white space and other alphabets are refused (CRT-2)."""
    with pytest.raises(MalformedCertificate):
        decode_base64(text)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "AB" * 32, "ü" * 64, "00" * 32 + "\n"])
def test_hex_has_one_form(text):
    """A key is 64 lower-case digits and nothing else (CRT-2)."""
    with pytest.raises(MalformedCertificate):
        decode_hex(text, "key")


def test_size_is_bounded():
    """More than 8 MiB are refused before anything is decoded (CRT-1)."""
    with pytest.raises(MalformedCertificate, match="too large"):
        open_envelope(b" " * (MAX_BYTES + 1))


def test_depth_is_bounded():
    """A million brackets are a rejection, not a crash (CRT-1)."""
    with pytest.raises(MalformedCertificate):
        open_envelope(b"[" * 1_000_000)
    with pytest.raises(MalformedCertificate):
        decode_json(b'{"predicate":' * 10_000, Statement)


def test_integers_beyond_binary64_have_no_form():
    """An integer beyond 2**53 - 1 is never written (CRT-2)."""
    encode_json({"n": 2**53 - 1})
    with pytest.raises(MalformedCertificate):
        encode_json({"n": 2**53})
