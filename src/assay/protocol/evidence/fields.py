"""Rules that single fields of records obey, whatever the record.

Source: `spec/encoding.md`, ENC-4 and ENC-14 to ENC-17; `spec/hashing.md`, HSH-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol.encoding import FORMAT_VERSION
from assay.protocol.merkle import MerkleRoot, compute_root

MAX_INTEGER: Final = 2**63 - 1
"""Largest integer of a field that is not the bits of a binary64 (ENC-4)."""

MAX_BITS: Final = 2**64 - 1
"""Largest bit pattern of a binary64 (ENC-4)."""

DIGEST_BYTES: Final = 32

MAX_NAME_BYTES: Final = 512
"""Longest name of a tensor or of another thing in a record, in bytes of UTF-8 (ENC-16)."""


class FormatVersionRefused(MalformedEvidence):
    """A record whose version is not the one that these rules describe."""

    code: ClassVar[str] = "field.version"


class DigestLengthRefused(MalformedEvidence):
    """A digest, seed, root or id that is not 32 bytes long."""

    code: ClassVar[str] = "field.digest-length"


class NumberOutOfRange(MalformedEvidence):
    """An integer outside the range of its field."""

    code: ClassVar[str] = "field.number-range"


class TextRefused(MalformedEvidence):
    """A text that is empty, too long or has characters that its field does not permit."""

    code: ClassVar[str] = "field.text"


class ChoiceUnknown(MalformedEvidence):
    """A value outside the closed list of its field."""

    code: ClassVar[str] = "field.choice"


class OrderRefused(MalformedEvidence):
    """A list that is not sorted, or holds an entry twice."""

    code: ClassVar[str] = "field.order"


class TreeRefused(MalformedEvidence):
    """A committed list with the tag of another list, or an empty one without the root of the empty list."""

    code: ClassVar[str] = "field.tree"


def verify_version(version: int, what: str) -> None:
    """Check that a record has the format version of these rules (ENC-12)."""
    if version != FORMAT_VERSION:
        raise FormatVersionRefused(f"{what} has another format", expected=FORMAT_VERSION, actual=version)


def verify_digest(digest: bytes, what: str) -> None:
    """Check that a digest has 32 bytes (ENC-15)."""
    if len(digest) != DIGEST_BYTES:
        raise DigestLengthRefused(f"{what} has a wrong length", expected=DIGEST_BYTES, actual=len(digest))


def verify_number(number: int, what: str, least: int = 0, most: int = MAX_INTEGER) -> None:
    """Check that least ≤ number ≤ most (ENC-4)."""
    if not least <= number <= most:
        raise NumberOutOfRange(f"{what} is out of range", expected=f"{least} to {most}", actual=number)


def verify_choice(value: object, choices: Sequence[object], what: str) -> None:
    """Check that a value is of the closed list of its field (ENC-14)."""
    if value not in choices:
        raise ChoiceUnknown(f"{what} is unknown", expected=" or ".join(map(repr, choices)), actual=repr(value))


def verify_name(name: str, what: str) -> None:
    """Check that a name has 1 to 512 bytes of UTF-8 and no control character (ENC-16)."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= MAX_NAME_BYTES:
        raise TextRefused(f"{what} has a wrong length", expected=f"1 to {MAX_NAME_BYTES} bytes", actual=size)
    if not name.isascii() or not name.isprintable():
        for character in name:
            if character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff":
                raise TextRefused(f"{what} holds a control character", actual=ascii(name))


def verify_printable(text: str, what: str, most: int, least: int = 0) -> None:
    """Check that a text is printable ASCII, U+0020 to U+007E, of least to most characters (ENC-16)."""
    if not least <= len(text) <= most:
        raise TextRefused(f"{what} has a wrong length", expected=f"{least} to {most} characters", actual=len(text))
    if any(not " " <= character <= "~" for character in text):
        raise TextRefused(f"{what} is not printable ASCII", actual=ascii(text[:80]))


def verify_sorted(keys: Sequence[tuple[int, bytes]] | Sequence[bytes], what: str) -> None:
    """Check that each key is greater than the one before: sorted and unique (ENC-17).

    Args:
        keys: one for each entry: its name in UTF-8, or (namespace, name), compared bytewise.
        what: the list, for the message.
    """
    for i in range(1, len(keys)):
        if keys[i - 1] >= keys[i]:  # type: ignore[operator]
            how = "holds an entry twice" if keys[i - 1] == keys[i] else "is not sorted"
            raise OrderRefused(f"{what} {how}", expected=f"above {keys[i - 1]!r}", actual=f"{keys[i]!r} at {i}")


def verify_tree(tree: MerkleRoot, tag: int, what: str, least: int = 0) -> None:
    """Check a committed list: its tag, its size and the length of its root (HSH-8)."""
    if tree.tag != tag:
        raise TreeRefused(f"{what} is a list of another kind", expected=f"tag {tag}", actual=f"tag {tree.tag}")
    verify_number(tree.size, f"size of {what}", least)
    verify_digest(tree.root, f"root of {what}")
    if tree.size == 0 and tree.root != compute_root(tag, ()):
        raise TreeRefused(f"{what} is empty and has another root than the empty list", actual=tree.root.hex())
