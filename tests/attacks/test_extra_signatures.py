"""Signatures are added to an honest certificate, taken away, repeated or reordered."""

import json

from assay.certificate.dsse import PAYLOAD_TYPE, compute_pae, encode_json, open_envelope, seal_envelope
from assay.protocol.signatures import get_public_key, sign
from tests.attacks.certificates import get_code
from tests.certificate.cases import AUDITOR, STRANGER, TRUSTING, make_certificate, make_policy

HONEST = make_certificate()
PAYLOAD, SIGNATURES = open_envelope(HONEST)
MESSAGE = compute_pae(PAYLOAD_TYPE, PAYLOAD)
BOTH = make_policy(AUDITOR, STRANGER)


def add(seed, signature):
    """Return the honest envelope with one signature more."""
    return seal_envelope(PAYLOAD, {**SIGNATURES, get_public_key(seed): signature})


def test_a_valid_signature_of_a_stranger_is_refused():
    """Nobody can add a name to a statement that does not name it: malformed, 3 (CRT-8)."""
    assert get_code(HONEST, TRUSTING) == 0
    added = add(STRANGER, sign(STRANGER, MESSAGE))
    assert get_code(added, TRUSTING) == 3
    assert get_code(added, BOTH) == 3


def test_a_false_signature_of_a_stranger_is_no_refutation():
    """A false signature under an unknown key: 3. Under a trusted one it is what the table calls refuted: 1 (CRT-25)."""
    added = add(STRANGER, bytes(64))
    assert get_code(added, TRUSTING) == 3
    assert get_code(added, BOTH) == 1


def test_no_signature_can_be_taken_away():
    """Of two named checkers one is cut off: malformed, 3 (CRT-8)."""
    data = make_certificate(seeds=(AUDITOR, STRANGER))
    assert get_code(data, TRUSTING) == 0
    payload, signatures = open_envelope(data)
    key = get_public_key(AUDITOR)
    assert get_code(seal_envelope(payload, {key: signatures[key]}), TRUSTING) == 3
    assert get_code(seal_envelope(payload, {}), TRUSTING) == 3


def test_signatures_have_one_order_and_no_repetition():
    """Another order, or one signature twice: malformed, 3 (CRT-4)."""
    values = json.loads(make_certificate(seeds=(AUDITOR, STRANGER)))
    ordered = values["signatures"]
    assert get_code(encode_json(values), TRUSTING) == 0
    for signatures in (ordered[::-1], [ordered[0], *ordered]):
        values["signatures"] = signatures
        assert get_code(encode_json(values), TRUSTING) == 3


def test_a_signature_over_the_bare_payload_is_none():
    """A signature over the payload without its type, or with another, does not hold (CRT-3)."""
    for message in (PAYLOAD, compute_pae("text/plain", PAYLOAD)):
        data = seal_envelope(PAYLOAD, {get_public_key(AUDITOR): sign(AUDITOR, message)})
        assert get_code(data, TRUSTING) == 1
        assert get_code(data, make_policy(STRANGER)) == 3
