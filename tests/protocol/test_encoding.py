import importlib
import json
import pkgutil
import random
import sys
import tracemalloc
import typing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import assay.protocol
from assay.errors import MalformedEvidence
from assay.protocol import encoding, scan
from assay.protocol.encoding import Record, bits_to_float, decode, encode, float_to_bits
from assay.protocol.evidence.model_state import Alias, AliasTable, TensorRecord
from assay.protocol.evidence.program import Program
from tests.fuzz.mutations import mutate_bytes, mutate_encoded_item
from tests.protocol import second_decoder
from tools import encoding_vectors, example_records

VECTORS = json.loads(encoding_vectors.PATH.read_text(encoding="utf-8"))
KINDS = {type(record).__name__: type(record) for record in example_records.EXAMPLES.values()}

items = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=40) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20),
    max_leaves=40,
)


def find_code(function, *arguments):
    """Return the code of the refusal, or None."""
    try:
        function(*arguments)
    except MalformedEvidence as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize("case", [c for c in VECTORS["items"] if "item" in c], ids=lambda c: c["bytes"][:20])
def test_items_of_the_vectors(case):
    """ENC-2, ENC-3, ENC-4: the walk accepts each item, and the second decoder reads the same item from the bytes."""
    data = bytes.fromhex(case["bytes"])
    scan.scan(data)
    assert encoding_vectors.describe(second_decoder.read(data)) == case["item"]


@pytest.mark.parametrize(
    "case", [c for c in VECTORS["items"] if "count" in c], ids=lambda c: f"{c['repeated']}-{c['count']}"
)
def test_long_items_of_the_vectors(case):
    """ENC-3: each length has the form that the vectors give, at the bounds of every form."""
    count = case["count"]
    item = {"text": "a" * count, "bytes": b"a" * count, "array": [0] * count}[case["repeated"]]
    data = msgspec.msgpack.encode(item)
    assert (data[:6].hex(), len(data)) == (case["head"], case["length"])
    assert scan.scan(data) == (count + 1 if case["repeated"] == "array" else 1)
    assert second_decoder.read(data) == item


@pytest.mark.parametrize("case", VECTORS["refused_items"], ids=lambda c: c["name"])
def test_refused_items(case):
    """ENC-2, ENC-3, ENC-5, ENC-6, ENC-8: each is refused by the walk with its code, and by the second decoder."""
    data = bytes.fromhex(case["bytes"])
    assert find_code(scan.scan, data) == case["code"]
    assert find_code(decode, data, AliasTable) == case["code"]
    with pytest.raises(second_decoder.Refused):
        second_decoder.read(data)


@pytest.mark.parametrize("case", VECTORS["records"], ids=lambda c: c["name"])
def test_records_of_the_vectors(case):
    """ENC-1, ENC-10, ENC-11: a record decodes, encodes to its bytes and has the fields that the second decoder sees."""
    data = bytes.fromhex(case["bytes"])
    assert encode(decode(data, KINDS[case["kind"]])) == data
    assert encoding_vectors.describe(second_decoder.read(data)) == case["item"]


@pytest.mark.parametrize("case", VECTORS["refused_records"], ids=lambda c: c["name"])
def test_refused_records(case):
    """ENC-10, ENC-12, ENC-13: well-formed items that are no record of this kind are refused with their code."""
    data = bytes.fromhex(case["bytes"])
    second_decoder.read(data)
    assert find_code(decode, data, KINDS[case["kind"]]) == case["code"]


def test_newer_format_says_what_to_do():
    """ENC-13: the refusal of a newer format names both versions and the cure."""
    data = msgspec.msgpack.encode([3, "pinned", []])
    with pytest.raises(encoding.NewerFormat) as refusal:
        decode(data, example_records.Profile)
    assert (refusal.value.expected, refusal.value.actual) == ("version 0", "version 3")
    assert "newer version" in refusal.value.next_step


@given(items)
def test_walk_accepts_what_the_encoder_writes(item):
    """ENC-1: every item that the encoder writes passes the walk, and the second decoder reads it back."""
    data = msgspec.msgpack.encode(item)
    scan.scan(data)
    assert second_decoder.read(data) == item


@given(st.binary(max_size=60))
@settings(max_examples=500)
def test_walk_and_second_decoder_agree(data):
    """ENC-1: any bytes either are the form of the item that the second decoder reads, or are refused by both."""
    try:
        item = second_decoder.read(data)
    except second_decoder.Refused:
        assert find_code(scan.scan, data) is not None
    else:
        scan.scan(data)
        assert msgspec.msgpack.encode(item) == data


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=8))
def test_records_round_trip(pairs):
    """ENC-1: a record of any values of its types decodes to itself."""
    table = AliasTable(tuple(Alias(name, target) for name, target in pairs))
    assert decode(encode(table), AliasTable) == table


@given(st.integers(0, 2**64 - 1))
def test_bits_of_reals_round_trip(bits):
    """ENC-11: bits become a number and the same bits again, signalling NaNs aside."""
    exponent, fraction = bits >> 52 & 0x7FF, bits & (2**52 - 1)
    if exponent != 0x7FF or fraction == 0 or fraction >> 51:
        assert float_to_bits(bits_to_float(bits)) == bits


def test_too_large():
    """ENC-7: one byte more than allowed is refused before it is looked at; as many as allowed are not."""
    data = encode(example_records.ALIASES)
    assert decode(data, AliasTable, max_bytes=len(data)) == example_records.ALIASES
    with pytest.raises(encoding.TooLarge):
        decode(data, AliasTable, max_bytes=len(data) - 1)
    assert encoding.MAX_BYTES == 64 * 2**20


def test_depth_does_not_depend_on_the_interpreter():
    """ENC-8: 24 arrays within each other pass and 25 are refused, whatever the recursion limit is."""
    before = sys.getrecursionlimit()
    try:
        for limit in (before, 20_000):
            sys.setrecursionlimit(limit)
            assert scan.scan(b"\x91" * 23 + b"\x90") == 24
            assert find_code(scan.scan, b"\x91" * 24 + b"\x90") == "encoding.too-deep"
            assert find_code(scan.scan, b"\x91" * 100_000) == "encoding.too-deep"
    finally:
        sys.setrecursionlimit(before)


def test_number_of_items_is_bounded():
    """ENC-9: all announced items count, also those that come after an array that is already walked."""
    assert scan.scan(b"\x93\x92\x00\x00\x00\x00", max_items=6) == 6
    assert find_code(lambda: scan.scan(b"\x93\x92\x00\x00\x00\x00", max_items=5)) == "encoding.too-many-items"
    assert scan.MAX_ITEMS == 2**22


def test_array_bomb_takes_no_memory():
    """ENC-6, ENC-9: a header that announces 2**32 − 1 elements is refused without room being made for them."""
    tracemalloc.start()
    try:
        for data in (b"\xdd\xff\xff\xff\xff" + b"\x90" * 1000, b"\x91" * 20 + b"\xdd\xff\xff\xff\xff"):
            assert find_code(decode, data, Program) == "encoding.truncated"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


class WithReal(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    value: tuple[float, ...]


class WithMap(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    value: dict[str, int]


class AsMap(Record, frozen=True, array_like=False, forbid_unknown_fields=True):
    value: int


@pytest.mark.parametrize("record", [WithReal((1.0,)), WithMap({}), AsMap(0)], ids=lambda r: type(r).__name__)
def test_types_without_form_are_refused(record):
    """ENC-2: a record with a float or a map in any field is refused by its type, both ways."""
    with pytest.raises(encoding.EncodingRefused):
        encode(record)
    with pytest.raises(encoding.EncodingRefused):
        decode(b"\x90", type(record))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1], ids=str)
def test_integers_out_of_range_are_refused(value):
    """ENC-4: an integer that no form holds is refused when encoding."""
    with pytest.raises(encoding.EncodingRefused):
        encode(TensorRecord(0, "a", "f32", (value,), 0, bytes(32)))


def test_lone_surrogates_are_refused():
    """ENC-5: a text that is not Unicode has no form."""
    with pytest.raises(encoding.EncodingRefused):
        encode(Alias("\ud800", "a"))


def test_every_record_has_a_form():
    """ENC-2, ENC-10: all records of the package are arrays without defaults, of permitted types."""
    waiting, kinds = [Record], []
    while waiting:
        new = [kind for kind in waiting.pop().__subclasses__() if kind.__module__.startswith("assay.")]
        kinds += new
        waiting += new
    assert len(kinds) > 30
    for kind in kinds:
        encoding._permit(kind)
        assert kind.__struct_defaults__ == ()
        assert kind.__struct_config__.forbid_unknown_fields
        assert kind.__struct_config__.frozen


def measure_depth(kind, within=()):
    """Return how many arrays lie within each other at most in a record of a kind."""
    assert kind not in within, f"{kind} contains itself"
    deepest = 0
    for part in typing.get_type_hints(kind).values():
        pending = [(part, 1)]
        while pending:
            each, depth = pending.pop()
            if isinstance(each, type) and issubclass(each, Record):
                deepest = max(deepest, depth + measure_depth(each, (*within, kind)) - 1)
            else:
                is_array = typing.get_origin(each) is tuple
                deepest = max(deepest, depth if is_array else 0)
                pending += [(inner, depth + is_array) for inner in typing.get_args(each)]
    return 1 + deepest


def test_no_type_of_record_is_deeper_than_the_walk_allows():
    """ENC-8: so that canonical bytes of any record need no walk."""
    for module in pkgutil.walk_packages(assay.protocol.__path__, "assay.protocol."):
        importlib.import_module(module.name)
    kinds, pending = set(), [Record]
    while pending:
        kinds.add(kind := pending.pop())
        pending += kind.__subclasses__()
    depths = {kind: measure_depth(kind) for kind in kinds}
    assert len(depths) > 60
    assert depths[AliasTable] == 3
    assert max(depths.values()) <= scan.MAX_DEPTH


@pytest.mark.parametrize("name", sorted(example_records.EXAMPLES))
def test_few_bytes_are_decoded_as_many_are(monkeypatch, name):
    """ENC-1 to ENC-13: the order of the steps changes neither what is accepted nor the code of a refusal."""
    rng, data = random.Random(name), encode(example_records.EXAMPLES[name])
    kind = type(example_records.EXAMPLES[name])
    cases = [data, b""] + [
        mutate_encoded_item(rng, msgspec.msgpack.decode(data)) if i % 2 else mutate_bytes(rng, data, data)
        for i in range(300)
    ]
    few = [find_code(decode, case, kind) for case in cases]
    monkeypatch.setattr(encoding, "_SMALL", -1)
    assert few == [find_code(decode, case, kind) for case in cases]
    assert few[:2] == [None, "encoding.truncated"]
