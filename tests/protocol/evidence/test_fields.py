import pytest

from assay.errors import MalformedEvidence
from assay.protocol import tags
from assay.protocol.evidence import fields
from assay.protocol.merkle import MerkleRoot, compute_root

EMPTY = compute_root(tags.DATA_TREE, ())


def find_code(check, *arguments):
    """Return the code of the refusal, or None."""
    try:
        check(*arguments)
    except MalformedEvidence as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("check", "arguments", "code"),
    [
        pytest.param(fields.verify_version, (1, "x"), "field.version", id="ENC-12 a newer version"),
        pytest.param(fields.verify_version, (0, "x"), None, id="ENC-12 version 0"),
        pytest.param(fields.verify_number, (2**63 - 1, "x"), None, id="ENC-4 the largest"),
        pytest.param(fields.verify_number, (2**63, "x"), "field.number-range", id="ENC-4 above the largest"),
        pytest.param(fields.verify_number, (-1, "x"), "field.number-range", id="ENC-4 below 0"),
        pytest.param(fields.verify_number, (2**64 - 1, "x", 0, fields.MAX_BITS), None, id="ENC-4 bits of a real"),
        pytest.param(fields.verify_choice, ("a", ("a", "b"), "x"), None, id="ENC-14 of the list"),
        pytest.param(fields.verify_choice, ("c", ("a", "b"), "x"), "field.choice", id="ENC-14 not of the list"),
        pytest.param(fields.verify_digest, (bytes(32), "x"), None, id="ENC-15 32 bytes"),
        pytest.param(fields.verify_digest, (bytes(31), "x"), "field.digest-length", id="ENC-15 31 bytes"),
        pytest.param(fields.verify_name, ("a" * 512, "x"), None, id="ENC-16 512 bytes"),
        pytest.param(fields.verify_name, ("é" * 257, "x"), "field.text", id="ENC-16 514 bytes in 257 characters"),
        pytest.param(fields.verify_name, ("", "x"), "field.text", id="ENC-16 an empty name"),
        pytest.param(fields.verify_name, ("a b/é 日", "x"), None, id="ENC-16 any characters but control"),
        pytest.param(fields.verify_name, ("a\x1f", "x"), "field.text", id="ENC-16 U+001F"),
        pytest.param(fields.verify_name, ("a\x7f", "x"), "field.text", id="ENC-16 U+007F"),
        pytest.param(fields.verify_name, ("é\x9f", "x"), "field.text", id="ENC-16 U+009F"),
        pytest.param(fields.verify_name, ("é\ud800", "x"), "field.text", id="ENC-16 a surrogate"),
        pytest.param(fields.verify_printable, (" ~", "x", 2), None, id="ENC-16 both ends of printable"),
        pytest.param(fields.verify_printable, ("\x7f", "x", 2), "field.text", id="ENC-16 not printable"),
        pytest.param(fields.verify_printable, ("é", "x", 2), "field.text", id="ENC-16 not ASCII"),
        pytest.param(fields.verify_printable, ("abc", "x", 2), "field.text", id="ENC-16 too long"),
        pytest.param(fields.verify_printable, ("", "x", 2, 1), "field.text", id="ENC-16 too short"),
        pytest.param(fields.verify_sorted, ([b"a", b"b"], "x"), None, id="ENC-17 sorted"),
        pytest.param(fields.verify_sorted, ([b"b", b"a"], "x"), "field.order", id="ENC-17 not sorted"),
        pytest.param(fields.verify_sorted, ([b"a", b"a"], "x"), "field.order", id="ENC-17 twice"),
        pytest.param(fields.verify_sorted, ([(0, b"b"), (1, b"a")], "x"), None, id="ENC-17 by namespace first"),
        pytest.param(fields.verify_sorted, ([], "x"), None, id="ENC-17 nothing"),
        pytest.param(
            fields.verify_tree, (MerkleRoot(tags.DATA_TREE, 0, EMPTY), tags.DATA_TREE, "x"), None, id="HSH-8 empty",
        ),
        pytest.param(
            fields.verify_tree, (MerkleRoot(tags.DATA_TREE, 0, bytes(32)), tags.DATA_TREE, "x"), "field.tree",
            id="HSH-8 empty with a root",
        ),
        pytest.param(
            fields.verify_tree, (MerkleRoot(tags.LOSS_TREE, 1, bytes(32)), tags.DATA_TREE, "x"), "field.tree",
            id="HSH-8 another tag",
        ),
        pytest.param(
            fields.verify_tree, (MerkleRoot(tags.DATA_TREE, 0, EMPTY), tags.DATA_TREE, "x", 1), "field.number-range",
            id="HSH-8 too few leaves",
        ),
    ],
)  # fmt: skip
def test_rules_of_fields(check, arguments, code):
    """ENC-4, ENC-12, ENC-14 to ENC-17, HSH-8: each rule accepts its boundary and refuses what is beyond."""
    assert find_code(check, *arguments) == code


def test_refusals_tell_expected_and_actual():
    """A refusal says what was expected and what was found."""
    with pytest.raises(fields.NumberOutOfRange) as refusal:
        fields.verify_number(7, "size", 1, 3)
    assert (refusal.value.expected, refusal.value.actual) == ("1 to 3", 7)
    assert "size" in str(refusal.value)
