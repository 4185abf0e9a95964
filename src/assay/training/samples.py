"""From what `dataset[i]` returns to named arrays, and back to the containers that a loop expects.

Source: `spec/data.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from assay.errors import UsageError
from assay.training.arrays import TYPE_NAMES, Array

MAX_FIELDS = 256
MAX_DEPTH = 16

ToArray = Callable[[object], Array | None]
"""Turns a foreign object, such as a tensor, into an array that shares its bytes; None if it is none of its own."""


class UnsupportedSample(UsageError):
    """A sample holds something that has no canonical bytes."""

    code = "data.unsupported-sample"


def flatten_sample(sample: object, to_array: ToArray) -> tuple[tuple[str, ...], list[Array]]:
    """Return the names and values of a sample's fields, in their order (DAT-1, DAT-2).

    An int becomes i64, a float f32, a bool u8; arrays stay as they are, in little-endian bytes.

    Args:
        sample: tuples, lists and dicts of arrays, tensors and numbers, nested at most `MAX_DEPTH` deep.
        to_array: for objects that are neither arrays nor numbers; asked before `__array__`.

    Raises:
        UnsupportedSample: text, bytes, None, an unsupported type, an empty container, a key with a slash, many fields.
    """
    names: list[str] = []
    values: list[Array] = []
    _walk(sample, "", 0, to_array, names, values)
    return tuple(names), values


def _walk(item: object, path: str, depth: int, to_array: ToArray, names: list[str], values: list[Array]) -> None:
    kind = type(item)
    if kind is tuple or kind is list or kind is dict:
        if not item or depth == MAX_DEPTH:
            raise UnsupportedSample(f"{_say(path)} is an empty container, or one nested more than {MAX_DEPTH} deep")
        prefix = path + "/" if path else ""
        for name, child in _get_children(item, path):
            _walk(child, prefix + name, depth + 1, to_array, names, values)
        return
    if len(names) == MAX_FIELDS:
        raise UnsupportedSample("a sample has too many fields", expected=f"at most {MAX_FIELDS}")
    names.append(path)
    values.append(convert_value(item, path, to_array))


def _get_children(item: Any, path: str) -> list[tuple[str, object]]:
    if not isinstance(item, dict):
        return [(f"#{position}", child) for position, child in enumerate(item)]
    for key in item:
        if not isinstance(key, str) or not key or key[0] == "#" or "/" in key or not _is_encodable(key):
            raise UnsupportedSample(
                f"{_say(path)} has a key that cannot name a field",
                expected="a text that is not empty, has no '/' and does not begin with '#'",
                actual=repr(key),
                next_step="rename the key in the data set",
            )
    return sorted(item.items(), key=lambda pair: pair[0].encode())


def _is_encodable(key: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in key)


def convert_value(item: object, path: str, to_array: ToArray) -> Array:
    """Return one value as an array of a supported type, in little-endian bytes (DAT-3).

    Args:
        item: an array, a number, or an object that `to_array` or `__array__` turns into an array.
        path: the name of its field, for errors.
        to_array: see `flatten_sample`.

    Raises:
        UnsupportedSample: the value has no canonical bytes.
    """
    kind = type(item)
    if kind is np.ndarray:
        array: Array = item  # type: ignore[assignment]
    elif kind is bool:
        return np.array(item, np.uint8)
    elif kind is int:
        if not -(2**63) <= item < 2**63:  # type: ignore[operator]
            raise UnsupportedSample(f"{_say(path)} does not fit in 64 bits", actual=item)
        return np.array(item, np.int64)
    elif kind is float:
        with np.errstate(over="ignore"):
            return np.array(item).astype(np.float32)
    else:
        array = _convert_object(item, path, to_array)
    if array.dtype in TYPE_NAMES:
        return array
    dtype = array.dtype.newbyteorder("<")
    if dtype not in TYPE_NAMES:
        raise UnsupportedSample(
            f"{_say(path)} has an unsupported element type",
            expected=", ".join(TYPE_NAMES.values()),
            actual=array.dtype,
            next_step="convert it in the data set's __getitem__",
        )
    return array.astype(dtype)


def _convert_object(item: object, path: str, to_array: ToArray) -> Array:
    found = to_array(item)
    if found is not None:
        return found
    if isinstance(item, np.generic) or (hasattr(item, "__array__") and not isinstance(item, type)):
        return np.asarray(item)
    cure = "return a tuple, list or dict of arrays, tensors and numbers"
    if isinstance(item, str | bytes):
        cure = "encode text as an array of integers in the data set's __getitem__"
    elif isinstance(item, tuple):
        cure = "return a plain tuple or a dict: a named tuple would not come back as one"
    raise UnsupportedSample(f"{_say(path)} has no canonical bytes", actual=type(item).__qualname__, next_step=cure)


def _say(path: str) -> str:
    return f"field {path!r} of a sample" if path else "a sample"


def rebuild_structure(names: Sequence[str], values: Sequence[Any]) -> Any:
    """Return the values in the containers that the names tell of; the inverse of flattening.

    Tuples and lists both come back as lists, as `torch.utils.data.default_collate` has it; dicts in bytewise order.

    Args:
        names: of `flatten_sample`.
        values: one per name: a sample's, or a batch's.
    """
    if len(names) == 1 and not names[0]:
        return values[0]
    root: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        *parents, last = name.split("/")
        place = root
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return _make_containers(root)


def _make_containers(tree: Any) -> Any:
    if type(tree) is not dict:
        return tree
    children = {name: _make_containers(child) for name, child in tree.items()}
    return list(children.values()) if next(iter(children)).startswith("#") else children
