import msgspec
import pytest

from assay.errors import MalformedEvidence
from assay.protocol.evidence import model_state
from assay.protocol.evidence.model_state import Alias, AliasTable
from assay.protocol.evidence.model_state_rules import verify_records
from tools.example_records import ALIASES, MODEL_ROOT, RECORDS, REST_ROOT, STATE_ROOT


def find_code(records, aliases=ALIASES):
    """Return the code of the refusal, or None."""
    try:
        verify_records(records, aliases)
    except MalformedEvidence as refusal:
        return refusal.code
    return None


def with_first(**fields):
    """Return the records with a change in the first."""
    return (msgspec.structs.replace(RECORDS[0], **fields), *RECORDS[1:])


def test_the_example_holds():
    """MST-2 to MST-6 hold for the example, and for a state of nothing."""
    assert find_code(RECORDS) is None
    assert find_code((), AliasTable(())) is None


REFUSED = {
    "MST-1 an unknown namespace": ((*RECORDS, msgspec.structs.replace(RECORDS[-1], namespace=5)), "field.number-range"),
    "MST-2 a negative namespace": (with_first(namespace=-1), "field.number-range"),
    "MST-2 no name": (with_first(name=""), "field.text"),
    "MST-2 a control character": (with_first(name="0/\x9b"), "field.text"),
    "MST-2 a short digest": (with_first(digest=b""), "field.digest-length"),
    "MST-3 an unknown element type": (with_first(dtype="f31"), "program.tensor-type"),
    "MST-3 a negative extent": (with_first(shape=(-3,)), "program.tensor-type"),
    "MST-3 too few bytes": (with_first(nbytes=11), "state.byte-count"),
    "MST-3 too many bytes": (with_first(nbytes=13), "state.byte-count"),
    "MST-3 another shape": (with_first(shape=(4,)), "state.byte-count"),
    "MST-4 out of order": (RECORDS[::-1], "field.order"),
    "MST-4 a tensor twice": ((RECORDS[0], *RECORDS), "field.order"),
    "MST-4 too many": (RECORDS[:1] * (2**20 + 1), "state.too-many-records"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_records(name):
    """Each broken rule of a record is refused with its own code."""
    records, code = REFUSED[name]
    assert find_code(records) == code


ALIAS_TABLES = {
    "MST-6 no such target": ((Alias("a", "b"),), "state.alias"),
    "MST-6 a slot as target": ((Alias("a", "0/0/weight/momentum_buffer"),), "state.alias"),
    "MST-6 the name of a tensor": ((Alias("0/bias", "0/weight"),), "state.alias"),
    "MST-6 a chain": ((Alias("a", "0/weight"), Alias("b", "a")), "state.alias"),
    "MST-6 itself": ((Alias("a", "a"),), "state.alias"),
    "MST-5 out of order": ((Alias("b", "0/weight"), Alias("a", "0/weight")), "field.order"),
    "MST-5 a name twice": ((Alias("a", "0/weight"), Alias("a", "0/bias")), "field.order"),
    "MST-5 no name": ((Alias("", "0/weight"),), "field.text"),
}


@pytest.mark.parametrize("name", ALIAS_TABLES)
def test_refused_aliases(name):
    """Each broken rule of the table of second names is refused with its own code."""
    aliases, code = ALIAS_TABLES[name]
    assert find_code(RECORDS, AliasTable(aliases)) == code


def test_names_are_ordered_bytewise():
    """MST-4: the order is that of the bytes of UTF-8, in which a capital letter precedes a small one."""
    records = tuple(msgspec.structs.replace(RECORDS[0], name=name) for name in ("B", "a", "é", "\uffff", "\U00010000"))
    assert find_code(records, AliasTable(())) is None
    assert find_code(records[::-1], AliasTable(())) == "field.order"


@pytest.mark.parametrize("position", range(len(RECORDS)))
def test_roots_bind_their_half(position):
    """MST-7, MST-8: a change in a tensor of the model moves the model root alone, any other the rest root alone."""
    changed = list(RECORDS)
    changed[position] = msgspec.structs.replace(changed[position], digest=bytes(32))
    in_model = RECORDS[position].namespace in model_state.MODEL_NAMESPACES
    assert (model_state.compute_model_root(changed, ALIASES) != MODEL_ROOT) == in_model
    assert (model_state.compute_rest_root(changed) != REST_ROOT) != in_model
    assert model_state.compute_state_root(changed, ALIASES) != STATE_ROOT


def test_model_root_binds_second_names():
    """MST-7: another table of second names is another model root."""
    assert model_state.compute_model_root(RECORDS, AliasTable(())) != MODEL_ROOT


def test_order_of_namespaces():
    """MST-1: parameter, persistent buffer, transient buffer, slot, average."""
    assert [model_state.PARAM, model_state.BUFFER, model_state.TRANSIENT, model_state.SLOT, model_state.AVERAGE] == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
