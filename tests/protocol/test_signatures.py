import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.protocol import signatures
from assay.protocol.signatures import SignatureRefuted, get_public_key, sign, verify_signature
from tools import edwards, signature_vectors

CASES = json.loads(signature_vectors.PATH.read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("with_cofactor", [None, True], ids=["as the library is", "as if it took the cofactor"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_vectors(case, with_cofactor, monkeypatch):
    """HSH-9: proper signatures hold; altered, unreduced, small-order and cofactor-only ones do not."""
    if with_cofactor is not None:
        monkeypatch.setattr(signatures, "_ignores_small_parts", lambda: with_cofactor)
    arguments = [bytes.fromhex(case[name]) for name in ("key", "message", "signature")]
    if case["holds"]:
        verify_signature(*arguments)
    else:
        with pytest.raises(SignatureRefuted) as refusal:
            verify_signature(*arguments)
        assert refusal.value.code == "signature.refuted"


def test_a_library_that_takes_the_cofactor_is_found_out(monkeypatch):
    """HSH-9: what such a library lets through is then refused for its R."""
    case = next(case for case in CASES if case["name"].startswith("R = rB + 4 T"))
    key, message, signature = (bytes.fromhex(case[name]) for name in ("key", "message", "signature"))
    monkeypatch.setattr(signatures, "VerifyKey", _CarelessKey)
    signatures._ignores_small_parts.cache_clear()
    try:
        assert signatures._ignores_small_parts()
        with pytest.raises(SignatureRefuted):
            verify_signature(key, message, signature)
    finally:
        signatures._ignores_small_parts.cache_clear()


class _CarelessKey:
    """Lets everything through."""

    def __init__(self, key: bytes) -> None:
        del key

    def verify(self, message: bytes, signature: bytes) -> None:
        """Find nothing wrong."""


def test_first_vector_is_that_of_the_rfc():
    """HSH-9: key and signature of RFC 8032, section 7.1, test 1."""
    case = CASES[0]
    assert case["key"] == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert case["signature"] == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_edge_cases_satisfy_the_equations_that_they_name():
    """HSH-9: what is refused as small-order or cofactor-only would pass a reader without the strict rule."""
    mixed = [case for case in CASES if "T" in case["name"] and "equation" in case["name"]]
    assert len(mixed) == 12
    for case in mixed:
        key, message, signature = (bytes.fromhex(case[name]) for name in ("key", "message", "signature"))
        points = []
        for encoding in (key, signature[:32]):
            number = int.from_bytes(encoding, "little")
            points.append(edwards.find_point(number & (1 << 255) - 1, number >> 255))
        left = edwards.multiply(int.from_bytes(signature[32:], "little"), edwards.BASE)
        challenge = edwards.compute_challenge(signature[:32], key, message)
        right = edwards.add(points[1], edwards.multiply(challenge, points[0]))
        assert edwards.multiply(8, left) == edwards.multiply(8, right)
        assert (left == right) == ("only" not in case["name"])


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_own_signatures_hold(seed, message):
    """HSH-9: what we sign holds under our key and under no other message."""
    signature = sign(seed, message)
    verify_signature(get_public_key(seed), message, signature)
    with pytest.raises(SignatureRefuted):
        verify_signature(get_public_key(seed), message + b"\0", signature)


@given(st.binary(max_size=70), st.binary(max_size=10), st.binary(max_size=70))
def test_arbitrary_bytes_are_refused(key, message, signature):
    """HSH-9: keys and signatures of any length and content give the one typed refusal."""
    with pytest.raises(SignatureRefuted):
        verify_signature(key, message, signature)
