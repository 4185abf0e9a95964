"""Every single bit of the certificate and of the model's header is flipped, and 10,000 random bits of its data.

Which exit is right is decided here by other means than the verifier's: the standard library and the place of the bit.
"""

import base64
import binascii
import io
import random

from assay.certificate.consistency import check_subjects
from assay.certificate.dsse import open_envelope
from assay.certificate.model_file import TensorSpec, write_model
from assay.certificate.rejections import AnotherModel
from assay.certificate.statement import decode_statement
from assay.certificate.verify import _verify_model
from tests.attacks.certificates import get_code
from tests.certificate.cases import TRUSTING, make_certificate, make_lean_certificate, make_model_file

CERTIFICATE, LEAN, MODEL = make_certificate(), make_lean_certificate(), make_model_file()


def find_region(member):
    """Return where the value of a member of the envelope begins and ends."""
    start = LEAN.index(b'"' + member + b'":"') + len(member) + 4
    return start, LEAN.index(b'"', start)


def is_base64(text):
    """Return whether text is base64 in its one form."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)) == text
    except binascii.Error:
        return False


def test_every_bit_of_the_certificate():
    """In payload or signature, where still base64: the auditor did not sign that, 1. Anywhere else: malformed, 3."""
    assert get_code(LEAN, TRUSTING) == 0
    regions = [find_region(b"payload"), find_region(b"sig")]
    seen = {1: 0, 3: 0}
    for place in range(len(LEAN)):
        region = next(((start, end) for start, end in regions if start <= place < end), None)
        for bit in range(8):
            changed = bytearray(LEAN)
            changed[place] ^= 1 << bit
            expected = 1 if region and is_base64(bytes(changed[region[0] : region[1]])) else 3
            assert get_code(bytes(changed), TRUSTING) == expected, (place, bit)
            seen[expected] += 1
    assert min(seen.values()) > 10_000


def test_every_bit_of_the_model_header():
    """The digest differs, whatever the header says then: refuted, 1 (CRT-24)."""
    length = 8 + int.from_bytes(MODEL[:8], "little")
    statement = decode_statement(open_envelope(CERTIFICATE)[0])
    aliases = check_subjects(statement)
    assert _verify_model(statement, aliases, io.BytesIO(MODEL)).name == "model.safetensors"
    for place in range(length):
        for bit in range(8):
            changed = bytearray(MODEL)
            changed[place] ^= 1 << bit
            try:
                _verify_model(statement, aliases, io.BytesIO(changed))
            except AnotherModel:
                continue
            raise AssertionError((place, bit))
    flipped = bytes([MODEL[0] ^ 1]) + MODEL[1:]
    assert get_code(CERTIFICATE, TRUSTING, io.BytesIO(flipped)) == 1


def test_ten_thousand_bits_of_the_data():
    """10,000 random bits of 8 KiB of weights: refuted each time (CRT-24)."""
    from hashlib import sha256

    from assay.certificate.statement import ModelFile

    generator = random.Random(20)
    parts = []
    weights = generator.randbytes(8192)
    write_model(lambda part: parts.append(bytes(part)), [TensorSpec("w", "f32", (2048,))], lambda name: weights)
    model = b"".join(parts)
    claimed = ModelFile("w.safetensors", sha256(model).hexdigest(), str(len(model)))
    statement = decode_statement(open_envelope(CERTIFICATE)[0])
    statement.predicate.model.files[:] = [claimed]
    aliases = check_subjects(decode_statement(open_envelope(CERTIFICATE)[0]))
    for _ in range(10_000):
        changed = bytearray(model)
        place = generator.randrange(len(model) - len(weights), len(model))
        changed[place] ^= 1 << generator.randrange(8)
        try:
            _verify_model(statement, aliases, io.BytesIO(changed))
        except AnotherModel:
            continue
        raise AssertionError(place)
