"""Write `vectors/encoding.json`: items with their bytes, bytes that must be refused, records with their fields.

Run as `python -m tools.encoding_vectors`. The format is defined in `vectors/README.md`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from assay.protocol.encoding import Record, encode
from tools.example_records import ALIASES, EXAMPLES, PLAN

PATH = Path(__file__).resolve().parents[1] / "vectors" / "encoding.json"

BOUNDS = (
    0,
    1,
    31,
    32,
    127,
    128,
    255,
    256,
    2**16 - 1,
    2**16,
    2**31,
    2**32 - 1,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
NEGATIVE = (-1, -32, -33, -128, -129, -(2**15), -(2**15) - 1, -(2**31), -(2**31) - 1, -(2**63))
LENGTHS = (0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536)

Item = None | bool | int | str | bytes | list["Item"]


def describe(item: Item) -> Any:
    """Return an item in JSON: integers {"i": decimal}, texts {"t": …}, byte strings {"b": hex}, others as they are."""
    if item is None or isinstance(item, bool):
        return item
    if isinstance(item, int):
        return {"i": str(item)}
    if isinstance(item, str):
        return {"t": item}
    if isinstance(item, bytes):
        return {"b": item.hex()}
    return [describe(entry) for entry in item]


def flatten(value: object) -> Item:
    """Return a record as the item that it is encoded as (ENC-10)."""
    if isinstance(value, Record):
        tag = value.__struct_config__.tag
        fields = [flatten(getattr(value, name)) for name in value.__struct_fields__]
        return [str(tag), *fields] if tag is not None else fields
    if isinstance(value, tuple):
        return [flatten(entry) for entry in value]
    return value  # type: ignore[return-value]


def make_items() -> list[dict[str, Any]]:
    """Return single items; of long ones only the first bytes and the length are written."""
    items: list[Item] = [
        None,
        False,
        True,
        *BOUNDS,
        *NEGATIVE,
        "",
        "é",
        "日本",
        "\U0001f9ea",
        [],
        [[]],
        [[], [0, [None]]],
    ]
    cases = [{"item": describe(item), "bytes": msgspec.msgpack.encode(item).hex()} for item in items]
    for length in LENGTHS:
        for kind, item in (("text", "a" * length), ("bytes", b"a" * length), ("array", [0] * length)):
            data = msgspec.msgpack.encode(item)
            cases.append({"repeated": kind, "count": length, "head": data[:6].hex(), "length": len(data)})
    return cases


REFUSED_ITEMS = {
    "an empty map": ("80", "encoding.item-kind"),
    "a map": ("81a16101", "encoding.item-kind"),
    "a long map": ("de0000", "encoding.item-kind"),
    "a float of 32 bits": ("ca3f800000", "encoding.item-kind"),
    "a float of 64 bits": ("cb3ff0000000000000", "encoding.item-kind"),
    "a NaN": ("cb7ff8000000000000", "encoding.item-kind"),
    "the reserved byte": ("c1", "encoding.item-kind"),
    "an extension": ("d40000", "encoding.item-kind"),
    "a timestamp": ("d6ff00000000", "encoding.item-kind"),
    "a long extension": ("c70000", "encoding.item-kind"),
    "a map in an array": ("9180", "encoding.item-kind"),
    "0 in one byte more": ("cc00", "encoding.not-minimal"),
    "127 in one byte more": ("cc7f", "encoding.not-minimal"),
    "255 in two bytes": ("cd00ff", "encoding.not-minimal"),
    "65535 in four bytes": ("ce0000ffff", "encoding.not-minimal"),
    "2^32 - 1 in eight bytes": ("cf00000000ffffffff", "encoding.not-minimal"),
    "1 as a signed integer": ("d001", "encoding.not-minimal"),
    "128 as a signed integer": ("d10080", "encoding.not-minimal"),
    "-1 in one byte more": ("d0ff", "encoding.not-minimal"),
    "-32 in one byte more": ("d0e0", "encoding.not-minimal"),
    "-128 in two bytes": ("d1ff80", "encoding.not-minimal"),
    "-32768 in four bytes": ("d2ffff8000", "encoding.not-minimal"),
    "-2^31 in eight bytes": ("d3ffffffff80000000", "encoding.not-minimal"),
    "an empty text with a length byte": ("d900", "encoding.not-minimal"),
    "an empty text with two length bytes": ("da0000", "encoding.not-minimal"),
    "a byte string with two length bytes": ("c5000100", "encoding.not-minimal"),
    "an array with two length bytes": ("dc000100", "encoding.not-minimal"),
    "an array with four length bytes": ("dd0000001000", "encoding.not-minimal"),
    "a lone continuation byte": ("a180", "encoding.text-not-utf8"),
    "an overlong slash": ("a2c0af", "encoding.text-not-utf8"),
    "a surrogate": ("a3eda080", "encoding.text-not-utf8"),
    "above U+10FFFF": ("a4f4908080", "encoding.text-not-utf8"),
    "a text that ends within a character": ("a1c3", "encoding.text-not-utf8"),
    "nothing": ("", "encoding.truncated"),
    "an array without its elements": ("91", "encoding.truncated"),
    "an array of 2^32 - 1": ("ddffffffff", "encoding.truncated"),
    "a text that is cut": ("a261", "encoding.truncated"),
    "a byte string of 2^32 - 1": ("c6ffffffff00", "encoding.truncated"),
    "a number that is cut": ("cd01", "encoding.truncated"),
    "two items": ("0000", "encoding.trailing-bytes"),
    "a byte after an array": ("90c0", "encoding.trailing-bytes"),
    "25 arrays within each other": ("91" * 24 + "90", "encoding.too-deep"),
    "1,000 arrays within each other": ("91" * 1000 + "90", "encoding.too-deep"),
}


def make_refused_records() -> list[dict[str, str]]:
    """Return well-formed items that are not the records that they should be."""
    plan, aliases = flatten(PLAN), flatten(ALIASES)
    if not isinstance(plan, list) or not isinstance(aliases, list):
        raise TypeError("a record is encoded as a list")
    start = plan[1]
    cases: list[tuple[str, str, Item, str]] = [
        ("a plan of version 1", "Plan", [1, *plan[1:]], "encoding.newer-format"),
        ("a plan of version 1 with other fields", "Plan", [1, "other"] + [0] * 14, "encoding.newer-format"),
        ("a plan of version 2^64 - 1", "Plan", [2**64 - 1, *plan[1:]], "encoding.newer-format"),
        ("a plan of version -1", "Plan", [-1, *plan[1:]], "encoding.shape"),
        ("a plan without version", "Plan", [None, *plan[1:]], "encoding.shape"),
        ("a plan without its last field", "Plan", plan[:-1], "encoding.shape"),
        ("a plan with a field too many", "Plan", [*plan, None], "encoding.shape"),
        ("a plan with an unknown start", "Plan", [0, ["another", bytes(32)], *plan[2:]], "encoding.shape"),
        ("a plan with a start without tag", "Plan", [0, [bytes(32)], *plan[2:]], "encoding.shape"),
        ("a plan with a start of two tags", "Plan", [0, [start, start], *plan[2:]], "encoding.shape"),
        ("a plan with nil for an integer", "Plan", [*plan[:3], None, *plan[4:]], "encoding.shape"),
        ("a plan with true for an integer", "Plan", [*plan[:3], True, *plan[4:]], "encoding.shape"),
        ("a plan with text for bytes", "Plan", [*plan[:4], "a" * 32, *plan[5:]], "encoding.shape"),
        ("a plan with bytes for text", "Plan", [*plan[:5], b"submitter", *plan[6:]], "encoding.shape"),
        ("an integer in place of a record", "AliasTable", 0, "encoding.shape"),
        ("nil in place of a record", "AliasTable", None, "encoding.shape"),
        ("an alias of one name", "AliasTable", [[["a"]]], "encoding.shape"),
    ]
    return [
        {"name": name, "kind": kind, "bytes": msgspec.msgpack.encode(item).hex(), "code": code}
        for name, kind, item, code in cases
    ]


def render() -> str:
    """Return the text of the file."""
    content = {
        "items": make_items(),
        "refused_items": [{"name": name, "bytes": data, "code": code} for name, (data, code) in REFUSED_ITEMS.items()],
        "records": [
            {
                "name": name,
                "kind": type(record).__name__,
                "item": describe(flatten(record)),
                "bytes": encode(record).hex(),
            }
            for name, record in EXAMPLES.items()
        ],
        "refused_records": make_refused_records(),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
