"""Weights to compare, and a plain-Python reader of the order of the sums."""

import struct

import numpy as np

from assay.verification.weight_analysis.sources import ArraySource

FORMATS = {"f16": "<e", "f32": "<f", "f64": "<d"}


def decode(dtype, data):
    """Return the elements as Python floats."""
    if dtype == "bf16":
        return [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]
    return [value for (value,) in struct.iter_unpack(FORMATS[dtype], data)]


def add_slowly(dtype, earlier, later):
    """Return the five sums, element by element as the specification words it (WGT-2, WGT-3)."""
    a, b = decode(dtype, earlier), decode(dtype, later)
    totals = [0.0] * 5
    for start in range(0, len(a), 4096):
        lanes = [[0.0] * 16 for _ in range(5)]
        for i, (x, y) in enumerate(zip(a[start : start + 4096], b[start : start + 4096], strict=True)):
            d = y - x
            for lane, term in zip(lanes, (abs(d), d * d, abs(x), x * x, y * y), strict=True):
                lane[i % 16] += term
        for number, lane in enumerate(lanes):
            for half in (8, 4, 2, 1):
                for i in range(half):
                    lane[i] += lane[i + half]
            totals[number] += lane[0]
    return tuple(totals)


def make_bytes(dtype, count, seed):
    """Return random normal elements of a type as bytes."""
    values = np.random.default_rng(seed).standard_normal(count).astype("<f4")
    if dtype == "bf16":
        return (values.view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype({"f16": "<f2", "f32": "<f4", "f64": "<f8"}[dtype]).tobytes()


def walk(changes, seed=0, weights=400):
    """Return states whose i-th change has the length `changes[i]` in a random direction, as sources by number."""
    random = np.random.default_rng(seed)
    state = random.standard_normal(weights)
    states = [state]
    for change in changes:
        direction = random.standard_normal(weights)
        state = state + change * direction / np.linalg.norm(direction)
        states.append(state)
    return states


class Opened(ArraySource):
    """An array source that can stand in a `with` statement."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def open_states(states, name="0/layers.0.weight"):
    """Return what `analyse_states` opens states with."""
    return lambda number: Opened(f"state {number}", {name: np.asarray(states[number], np.float64)})
