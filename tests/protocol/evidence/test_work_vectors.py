"""`vectors/work.json`, read by a second implementation, written from `spec/work-digest.md` alone: recursive, slow."""

import json
from hashlib import sha256

import pytest
from blake3 import blake3

from assay.protocol import tags
from tests.protocol import second_decoder
from tools import work_vectors

VECTORS = json.loads(work_vectors.PATH.read_text(encoding="utf-8"))
REALS = {"bf16", "f16", "f32", "f64"}
STEP, PARAMETER = 1, 0


def number(value, width):
    """Return a little-endian number."""
    return value.to_bytes(width, "little")


def find_values(argument):
    """Return the numbers of the values in an argument as it is encoded: its tag, then its fields."""
    if not isinstance(argument, list):
        return []
    if argument and argument[0] == "v":
        return [argument[1]]
    return [found for part in argument for found in find_values(part)]


def choose(data):
    """Return the chosen values of an encoded program (WRK-2, WRK-3)."""
    _, kind, state, batch, constants, _, nodes, state_outputs, results = second_decoder.read(data)
    identity = sha256(number(tags.PROGRAM, 2) + data).digest()
    if kind != STEP:
        return []
    first_made = len(state) + len(batch) + len(constants)
    made, reads, types = {}, [], {}
    for node, (_, arguments, keywords, outputs) in enumerate(nodes):
        reads.append([found for part in (*arguments, *keywords) for found in find_values(part)])
        for output in outputs:
            made[first_made + len(made)] = node
            types[first_made + len(made) - 1] = output

    def depends(value):
        if value not in made:
            return len(state) <= value < len(state) + len(batch)
        return any(depends(each) for each in reads[made[value]])

    def get_ancestors(value):
        below = {value}
        for each in reads[made[value]] if value in made else ():
            below |= get_ancestors(each)
        return below

    def rank(value):
        return sha256(number(tags.WORK_VALUES, 2) + identity + number(value, 8)).digest()

    left_out = {*results, *(output[-1] for output in state_outputs)}
    read = {each for listed in reads for each in listed}
    eligible = [
        value
        for value in sorted(made)
        if types[value] and types[value][0] in REALS and value in read and depends(value) and value not in left_out
    ]
    news = sorted((o[-1] for o in state_outputs if o[0] == PARAMETER and o[-1] in made), key=rank)
    chosen = set()
    for new in news[:8]:
        way = get_ancestors(new)
        chosen |= set([value for value in eligible if value in way and types[value] == types[new]][:1])
    return sorted(chosen | set(sorted((value for value in eligible if value not in chosen), key=rank)[:8]))


def test_keys():
    """WRK-1: SHA-256 of tag, draw and account."""
    for case in VECTORS["keys"]:
        data = number(tags.WORK_KEY, 2) + bytes.fromhex(case["draw"]) + bytes.fromhex(case["account"])
        assert sha256(data).hexdigest() == case["key"]


@pytest.mark.parametrize("case", VECTORS["programs"], ids=lambda case: case["name"])
def test_chosen_values(case):
    """WRK-2, WRK-3: gradients by the rank of the parameter, then activations by their own; of a step alone."""
    assert choose(bytes.fromhex(case["program"])) == case["chosen"]


def test_both_bounds_are_reached():
    """WRK-2, WRK-3: a program of the vectors has more eligible values of both kinds than are chosen."""
    assert max(len(case["chosen"]) for case in VECTORS["programs"]) == 16


def test_digests():
    """WRK-4: keyed BLAKE3 over each step and the digests of its values in the order of their numbers."""
    for case in VECTORS["digests"]:
        key = bytes.fromhex(case["key"])
        data = b""
        for step in case["steps"]:
            values = sorted((place, bytes.fromhex(value)) for place, value in step["values"])
            data += number(step["step"], 8)
            data += b"".join(blake3(value, key=key).digest() for _, value in values)
        assert blake3(data, key=key).hexdigest() == case["digest"]
