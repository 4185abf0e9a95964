"""A walk over raw bytes: is this one well-formed item of the permitted part of MessagePack?

The walk keeps one counter for each open array and nothing else, so neither depth nor length of the input can exhaust
stack or memory, and no limit of the interpreter decides what is accepted.

Source: MessagePack specification, "Formats"; `spec/encoding.md`, ENC-1 to ENC-9.
"""

from __future__ import annotations

from typing import ClassVar, Final

from assay.errors import MalformedEvidence

MAX_DEPTH: Final = 24
"""Arrays within arrays (ENC-8)."""

MAX_ITEMS: Final = 4 * 1024 * 1024
"""Items of all kinds, arrays included (ENC-9)."""


class ItemKindRefused(MalformedEvidence):
    """A map, an extension, a float or the reserved byte 0xC1."""

    code: ClassVar[str] = "encoding.item-kind"


class NotMinimal(MalformedEvidence):
    """An integer or a length in more bytes than it needs."""

    code: ClassVar[str] = "encoding.not-minimal"


class Truncated(MalformedEvidence):
    """The bytes end within an item."""

    code: ClassVar[str] = "encoding.truncated"


class TrailingBytes(MalformedEvidence):
    """Bytes after the end of the one item."""

    code: ClassVar[str] = "encoding.trailing-bytes"


class TextNotUtf8(MalformedEvidence):
    """A text that is not UTF-8."""

    code: ClassVar[str] = "encoding.text-not-utf8"


class TooDeep(MalformedEvidence):
    """More arrays within arrays than any record has."""

    code: ClassVar[str] = "encoding.too-deep"


class TooManyItems(MalformedEvidence):
    """More items than any record has."""

    code: ClassVar[str] = "encoding.too-many-items"


_PLAIN, _TEXT, _BINARY, _ARRAY, _REFUSED = range(5)

_Head = tuple[int, int, int, int, int]
"""What a first byte means: kind, length if the byte itself holds it, bytes of number that follow, least, most."""


def _build_heads() -> list[_Head]:
    heads: list[_Head] = [(_PLAIN, 0, 0, 0, 0)] * 128  # 0 to 127
    heads += [(_REFUSED, 0, 0, 0, 0)] * 16  # short maps
    heads += [(_ARRAY, length, 0, 0, 0) for length in range(16)]
    heads += [(_TEXT, length, 0, 0, 0) for length in range(32)]
    heads += [(_REFUSED, 0, 0, 0, 0)] * 32
    heads += [(_PLAIN, 0, 0, 0, 0)] * 32  # -32 to -1
    for byte in (0xC0, 0xC2, 0xC3):  # nil, false, true
        heads[byte] = (_PLAIN, 0, 0, 0, 0)
    for exponent in range(4):  # integers in 1, 2, 4, 8 bytes; a negative one as two's complement
        width = 1 << exponent
        bits = 8 * width
        least = 1 << (bits // 2) if exponent else 1 << 7
        heads[0xCC + exponent] = (_PLAIN, 0, width, least, (1 << bits) - 1)
        most = (1 << bits) - (1 << (bits // 2 - 1)) - 1 if exponent else (1 << bits) - 33
        heads[0xD0 + exponent] = (_PLAIN, 0, width, 1 << (bits - 1), most)
    for kind, first, leasts in (
        (_BINARY, 0xC4, (0, 1 << 8, 1 << 16)),
        (_TEXT, 0xD9, (32, 1 << 8, 1 << 16)),
    ):
        for exponent, least in enumerate(leasts):
            heads[first + exponent] = (kind, 0, 1 << exponent, least, (1 << (8 << exponent)) - 1)
    heads[0xDC] = (_ARRAY, 0, 2, 16, (1 << 16) - 1)
    heads[0xDD] = (_ARRAY, 0, 4, 1 << 16, (1 << 32) - 1)
    return heads


_HEADS: Final = _build_heads()


def scan(data: bytes, *, max_depth: int = MAX_DEPTH, max_items: int = MAX_ITEMS) -> int:
    """Check that `data` is exactly one item of the permitted kinds in its shortest form.

    O(len(data)) time, O(max_depth) memory.

    Returns:
        The number of items, arrays included.

    Raises:
        ItemKindRefused: a map, an extension, a float or the reserved byte (ENC-2).
        NotMinimal: an integer or a length is longer than needed (ENC-3).
        Truncated: the bytes end within an item, or an array is longer than the bytes that are left (ENC-6).
        TrailingBytes: the bytes go on after the item (ENC-6).
        TextNotUtf8: a text is not UTF-8 (ENC-5).
        TooDeep: more than `max_depth` arrays within arrays (ENC-8).
        TooManyItems: more than `max_items` items (ENC-9).
    """
    size = len(data)
    position = 0
    announced = 1  # items that exist, as far as the headers so far tell
    left = 1  # items that the innermost open array still waits for
    outer: list[int] = []
    while True:
        while not left:
            if not outer:
                _refuse_rest(position, size)
                return announced
            left = outer.pop()
        left -= 1
        if position >= size:
            raise Truncated("the bytes end where an item should begin", actual=f"{size} bytes")
        kind, length, width, least, most = _HEADS[data[position]]
        position += 1
        if width:
            length = _read_number(data, position, width, least, most)
            position += width
        if kind == _PLAIN:
            continue
        if kind == _ARRAY:
            outer.append(left)
            left = length
            announced += length
            if len(outer) > max_depth:  # ENC-8
                raise TooDeep("arrays are nested too deeply", expected=f"at most {max_depth}", actual=len(outer))
            _limit_array(length, size - position, announced, max_items)
            continue
        if kind == _REFUSED:
            raise ItemKindRefused("this kind of item has no place in a record", actual=_name(data, position - 1))
        _read_body(data, position, length, is_text=kind == _TEXT)
        position += length


def _name(data: bytes, position: int) -> str:
    return f"byte 0x{data[position]:02X} at offset {position}"


def _refuse_rest(position: int, size: int) -> None:
    # ENC-6: one item, then the end.
    if position != size:
        raise TrailingBytes("bytes follow the end of the record", expected=f"{position} bytes", actual=f"{size} bytes")


def _read_number(data: bytes, position: int, width: int, least: int, most: int) -> int:
    # ENC-3: the shortest form only.
    field = data[position : position + width]
    if len(field) < width:
        raise Truncated("the bytes end within a number", actual=f"{len(data)} bytes")
    number = int.from_bytes(field, "big")
    if not least <= number <= most:
        raise NotMinimal("an integer or a length is not in its shortest form", actual=_name(data, position - 1))
    return number


def _read_body(data: bytes, position: int, length: int, *, is_text: bool) -> None:
    # ENC-5: text is UTF-8.
    if length > len(data) - position:
        raise Truncated("the bytes end within a text or a byte string", actual=f"{len(data)} bytes")
    if is_text:
        try:
            data[position : position + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise TextNotUtf8("a text is not UTF-8", actual=f"{error.reason} at offset {position}") from None


def _limit_array(length: int, rest: int, announced: int, max_items: int) -> None:
    # ENC-6, ENC-9: refuse on the header of an array, before walking or storing its elements.
    if length > rest:
        raise Truncated("an array is longer than the bytes that are left", expected=f"at most {rest}", actual=length)
    if announced > max_items:
        raise TooManyItems("too many items", expected=f"at most {max_items}", actual=f"at least {announced}")
