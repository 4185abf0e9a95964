"""A second reader of the encoding, written from `spec/encoding.md` alone: recursive, slow, no library.

It shares no line with the package, so that a mistake in one of them shows.
"""

MAX_DEPTH = 24


class Refused(Exception):
    """The bytes are not the form of any item."""


def require(condition, reason):
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(reason)


def read(data):
    """Return the item that `data` is the form of: None, bool, int, str, bytes or list."""
    item, rest = read_item(data, 0)
    require(rest == b"", "bytes after the item")
    return item


def cut(data, count):
    """Return the first `count` bytes and the rest."""
    require(len(data) >= count, "cut off")
    return data[:count], data[count:]


def read_number(data, width, least):
    """Return a number of `width` bytes that needs them, because it is at least `least`."""
    digits, rest = cut(data, width)
    number = int.from_bytes(digits, "big")
    require(number >= least, "longer than needed")
    return number, rest


def read_signed(data, width):
    """Return a negative number of `width` bytes that fits no shorter form."""
    digits, rest = cut(data, width)
    number = int.from_bytes(digits, "big", signed=True)
    require(number < (-32 if width == 1 else -(1 << (4 * width - 1))), "longer than needed")
    return number, rest


def read_item(data, depth):
    """Return the first item and the bytes after it."""
    head, rest = cut(data, 1)
    byte = head[0]
    if byte <= 0x7F or byte >= 0xE0:
        return (byte if byte <= 0x7F else byte - 256), rest
    if byte in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[byte], rest
    if 0xCC <= byte <= 0xCF:
        return read_number(rest, *((1, 128), (2, 256), (4, 1 << 16), (8, 1 << 32))[byte - 0xCC])
    if 0xD0 <= byte <= 0xD3:
        return read_signed(rest, 1 << (byte - 0xD0))
    if 0xA0 <= byte <= 0xBF or 0xD9 <= byte <= 0xDB:
        forms = {0xD9: (1, 32), 0xDA: (2, 256), 0xDB: (4, 1 << 16)}
        length, rest = read_number(rest, *forms[byte]) if byte >= 0xD9 else (byte - 0xA0, rest)
        text, rest = cut(rest, length)
        try:
            return text.decode(), rest
        except UnicodeDecodeError:
            raise Refused("not UTF-8") from None
    if 0xC4 <= byte <= 0xC6:
        length, rest = read_number(rest, *((1, 0), (2, 256), (4, 1 << 16))[byte - 0xC4])
        return cut(rest, length)
    require(0x90 <= byte <= 0x9F or byte in (0xDC, 0xDD), "no permitted kind of item")
    require(depth < MAX_DEPTH, "nested too deeply")
    forms = {0xDC: (2, 16), 0xDD: (4, 1 << 16)}
    length, rest = read_number(rest, *forms[byte]) if byte >= 0xDC else (byte - 0x90, rest)
    require(length <= len(rest), "more elements than bytes")
    items = []
    for _ in range(length):
        item, rest = read_item(rest, depth + 1)
        items.append(item)
    return items, rest
