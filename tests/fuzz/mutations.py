"""Seeded mutations of bytes and of decoded items, for fuzzing any decoder."""

import os

import msgspec

DEFAULT_INPUTS, TORTURE_INPUTS = 10**5, 10**7

HEADS = bytes([0x80, 0x90, 0x91, 0x9F, 0xA0, 0xA1, 0xBF, *range(0xC0, 0xE1), 0xFF, 0x00, 0x7F])
"""First bytes of items: more telling than any other byte."""

NUMBERS = (
    0,
    1,
    -1,
    2,
    31,
    127,
    128,
    255,
    2**16,
    2**31,
    2**32,
    2**40 - 1,
    2**40,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
)
LEAVES = (None, False, True, "", "a", "é", "\x00", "x" * 600, b"", bytes(31), bytes(32), bytes(33), [], [[]], ["v", 0])


def get_input_count():
    """Return how many mutated inputs to try: ASSAY_FUZZ_INPUTS, 10**7 in the torture run, else 10**5."""
    default = TORTURE_INPUTS if os.environ.get("ASSAY_TORTURE") else DEFAULT_INPUTS
    return int(os.environ.get("ASSAY_FUZZ_INPUTS", default))


def mutate_bytes(chance, data, other):
    """Return `data` after one to four changes; `other` is something to splice in."""
    result = bytearray(data)
    for _ in range(1 + int(chance.random() ** 3 * 4)):
        place = int(chance.random() * (len(result) + 1))
        kind = int(chance.random() * 8)
        if kind == 0 and place < len(result):
            result[place] ^= 1 << int(chance.random() * 8)
        elif kind == 1 and place < len(result):
            result[place] = HEADS[int(chance.random() * len(HEADS))]
        elif kind == 2:
            result.insert(place, HEADS[int(chance.random() * len(HEADS))])
        elif kind == 3:
            del result[place : place + 1 + int(chance.random() * 8)]
        elif kind == 4:
            del result[place:]
        elif kind == 5:
            length = 1 + int(chance.random() * 40)
            result[place:place] = result[place : place + length] * (1 + int(chance.random() ** 8 * 200))
        elif kind == 6:
            start = int(chance.random() * len(other))
            result[place:place] = other[start : start + 1 + int(chance.random() * 60)]
        else:
            result[place : place + 4] = chance.randbytes(4)
    return bytes(result)


def mutate_item(chance, item):
    """Return a nested list with one entry, somewhere in it, changed, dropped, doubled or exchanged."""
    if not isinstance(item, list) or not item:
        return make_leaf(chance, item)
    result = list(item)
    place = int(chance.random() * len(result))
    kind = int(chance.random() * 12)
    if kind == 0:
        del result[place]
    elif kind == 1:
        result[place:place] = [result[place]] * (1 + int(chance.random() ** 8 * 100))
    elif kind == 2:
        other = int(chance.random() * len(result))
        result[place], result[other] = result[other], result[place]
    else:
        result[place] = mutate_item(chance, result[place])
    return result


def make_leaf(chance, item):
    """Return an item, mostly of the kind of the given one."""
    kind = int(chance.random() * 4)
    if isinstance(item, int) and not isinstance(item, bool) and kind:
        return item + int(chance.random() * 5) - 2 if kind == 1 and abs(item) < 2**62 else chance.choice(NUMBERS)
    if isinstance(item, str) and kind:
        return item[: len(item) // 2] + chance.choice(("", "a", "0", "\n", "日"))
    if isinstance(item, bytes) and kind:
        return item[: int(chance.random() * 34)] if kind == 1 else chance.randbytes(len(item))
    return chance.choice(LEAVES)


def mutate_encoded_item(chance, item):
    """Return the canonical bytes of an item after one or two changes in it."""
    for _ in range(1 + int(chance.random() * 2)):
        item = mutate_item(chance, item)
    return msgspec.msgpack.encode(item)
