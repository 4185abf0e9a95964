"""Seeded mutations of certificates and model files: only typed rejections, in bounded memory.

`ASSAY_FUZZ_INPUTS` sets the number of inputs in all (default 100,000), `ASSAY_FUZZ_SEED` another seed.
"""

import os
import random
import tracemalloc

import msgspec
import pytest
import rfc8785

from assay.certificate import consistency
from assay.certificate.dsse import encode_json, open_envelope
from assay.certificate.model_file import encode_header, scan_model
from assay.certificate.statement import decode_statement
from assay.certificate.verify import verify_certificate
from assay.errors import MalformedEvidence, Refuted, Unproven
from tests.certificate.cases import TRUSTING, make_lean_certificate, make_model_file, resign

INPUTS = int(os.environ.get("ASSAY_FUZZ_INPUTS", "100000"))
SEED = int(os.environ.get("ASSAY_FUZZ_SEED", "1"))
WORDS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"0", b"-1", b"1e9", b"9" * 40, b"\\u0000",
    b"18446744073709551615", b"\xff", b"\xed\xa0\x80", b"__metadata__", b'"shape":[', b'"data_offsets":[0,0]', b"AAAA",
    b"==", b" ",
]  # fmt: skip


def mutate(generator, data):
    """Return bytes with one to four changes: bits, words, cuts, copies, swaps, numbers."""
    changed = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(changed) + 1)
        match generator.randrange(7):
            case 0 if place < len(changed):
                changed[place] ^= 1 << generator.randrange(8)
            case 1:
                changed[place:place] = generator.choice(WORDS)
            case 2:
                del changed[place : place + generator.randint(1, 20)]
            case 3:
                other = generator.randrange(len(changed) + 1)
                changed[place:place] = changed[other : other + generator.randint(1, 40)]
            case 4 if place < len(changed):
                changed[place] = generator.randrange(256)
            case 5:
                changed[place : place + 8] = generator.randbytes(8)
            case _:
                changed[place : place + generator.randint(0, 3)] = str(generator.randint(-1, 2**65)).encode()
    return bytes(changed)


def run(count, stream, seed, attempt):
    """Attempt `count` mutations and return how many were accepted; anything but a typed rejection is raised."""
    generator = random.Random(f"{SEED} {stream}")
    accepted = 0
    for _ in range(count):
        data = mutate(generator, seed)
        try:
            attempt(data)
            accepted += data != seed
        except (MalformedEvidence, Refuted, Unproven):
            pass
    return accepted


def test_model_reader():
    """What is accepted (other data, another name) is a whole file in its one form, written back equal."""

    class Source:
        def __init__(self, data):
            self.data, self.place = data, 0

        def read(self, count):
            part = self.data[self.place : self.place + count]
            self.place += len(part)
            return part

    model = make_model_file()
    length = 8 + int.from_bytes(model[:8], "little")

    def attempt(data):
        scanned = scan_model(Source(data))
        header = encode_header([tensor.spec for tensor in scanned.tensors])
        start = len(header).to_bytes(8, "little") + header
        assert data.startswith(start)
        assert scanned.size == len(data) == len(start) + sum(tensor.nbytes for tensor in scanned.tensors)
        assert scanned.size == len(data)
        assert len(data) - sum(tensor.nbytes for tensor in scanned.tensors) == 8 + int.from_bytes(data[:8], "little")

    run(INPUTS * 2 // 5, "model", model, attempt)
    run(INPUTS // 10, "model header", model[:length], lambda data: attempt(data + model[length:]))


def test_certificate_reader():
    """No mutation of a signed certificate is accepted."""
    honest = make_lean_certificate()
    assert run(INPUTS // 4, "certificate", honest, lambda data: verify_certificate(data, None, TRUSTING)) == 0


def test_statement_reader():
    """Mutations of the statement, as a careless signer might sign them: read in its one form or refused."""
    payload, _ = open_envelope(make_lean_certificate())

    def attempt(data):
        statement = decode_statement(data)
        assert encode_json(statement) == data
        consistency.check_subjects(statement)
        plan, closing, _ = consistency.check_documents(statement.predicate)
        consistency.check_roots(statement.predicate, plan, closing)

    run(INPUTS // 5, "statement", payload, attempt)


def test_statement_signed_by_a_careless_auditor():
    """Mutations that are signed: nothing but typed rejections in all steps."""
    payload, _ = open_envelope(make_lean_certificate())
    run(INPUTS // 20, "signed", payload, lambda data: verify_certificate(resign(data), None, TRUSTING))


TEXTS = ["", "0", "1", "-1", "01", "1e3", "18446744073709551616", "0/1", "1/0", "2/4", "matches", "differs", "x" * 600]


def change_member(generator, item, borrowed):
    """Return decoded JSON with one member, somewhere in it, changed, dropped, doubled, exchanged or borrowed."""
    if isinstance(item, dict) and item:
        name = generator.choice(sorted(item))
        match generator.randrange(8):
            case 0:
                return {key: value for key, value in item.items() if key != name}
            case 1:
                return item | {generator.choice(["extra", "version", name.upper()]): item[name]}
            case 2:
                return item | {name: item[generator.choice(sorted(item))]}
            case _:
                return item | {name: change_member(generator, item[name], borrowed)}
    if isinstance(item, list) and item:
        place = generator.randrange(len(item))
        match generator.randrange(6):
            case 0:
                return item[:place] + item[place + 1 :]
            case 1:
                return [*item[:place], item[place], *item[place:]]
            case 2:
                return item[::-1]
            case _:
                return [*item[:place], change_member(generator, item[place], borrowed), *item[place + 1 :]]
    return change_value(generator, item, borrowed)


def change_value(generator, item, borrowed):
    """Return another value, mostly of the same kind; `borrowed` are the texts of the certificate itself."""
    kind = generator.randrange(6)
    if kind == 0:
        return generator.choice([None, True, False, [], {}, [None], 0, -1, 2**53 - 1, "", item])
    if isinstance(item, bool):
        return not item
    if isinstance(item, int):
        return min(item + generator.choice([-1, 1, 2**31]), 2**53 - 1)  # JSON holds no larger one exactly
    if isinstance(item, str) and item and kind < 4:
        place = generator.randrange(len(item))
        return item[:place] + generator.choice("0123456789abcdef/=A") + item[place + 1 :]
    return generator.choice(borrowed if kind == 4 else TEXTS)


def collect_texts(item):
    """Yield every text in decoded JSON: digests and records that are right, in another place."""
    if isinstance(item, dict | list):
        for part in item.values() if isinstance(item, dict) else item:
            yield from collect_texts(part)
    elif isinstance(item, str):
        yield item


def test_statement_with_changed_members():
    """Members that were decoded, changed, encoded again and signed by a trusted auditor: a typed refusal, or the same.

    Only what the auditor is believed about may change unnoticed: its findings and summaries. What is accepted still is
    about the committed run: its plan, closing record, roots and files are those of the honest certificate.
    """
    payload, _ = open_envelope(make_lean_certificate())
    honest = msgspec.json.decode(payload)
    texts = sorted(set(collect_texts(honest)))
    committed = ("plan", "closing", "profile")
    kept = [honest["predicate"][name] for name in committed]
    generator, changed, accepted = random.Random(f"{SEED} members"), 0, 0
    for _ in range(INPUTS // 20):
        document = honest
        for _ in range(generator.randint(1, 2)):
            document = change_member(generator, document, texts)
        if document == honest:
            continue
        changed += 1
        try:
            verify_certificate(resign(rfc8785.dumps(document)), None, TRUSTING)
        except (MalformedEvidence, Refuted, Unproven):
            continue
        accepted += 1
        assert [document["predicate"][name] for name in committed] == kept
        assert document["subject"] == honest["subject"]
        assert document["predicate"]["scalars"]["differing"] in {"not computed", "0", "1"}
    assert changed > INPUTS // 40
    assert accepted < changed // 20


@pytest.mark.parametrize("reader", [open_envelope, decode_statement], ids=["envelope", "statement"])
def test_memory_is_bounded(reader):
    """The largest inputs that are allowed need a stated multiple of their size."""
    size = 8 * 1024 * 1024
    for data in (
        b"[" * size,
        b'{"a":' * (size // 5),
        b'"' + b"A" * (size - 2) + b'"',
        b'{"payload":"' + b"\\n" * (size // 2 - 10) + b'"}',
    ):
        tracemalloc.start()
        with pytest.raises(MalformedEvidence):
            reader(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12 * size
