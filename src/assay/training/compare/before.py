"""What can differ before the first step: environment, data, seed, start, order, and what decides no bit."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from assay.errors import AssayError
from assay.protocol.evidence.model_state import MODEL_NAMESPACES, PARAM, TensorRecord
from assay.protocol.evidence.order import SEQUENTIAL
from assay.protocol.evidence.plan import InitialisedStart, Profile
from assay.training.compare.findings import BESIDE, CAUSE, Finding
from assay.training.compare.programs import compare_programs
from assay.training.compare.samples import compare_data
from assay.training.compare.side import Side

_ABOUT: Final = "about."
_MOST: Final = 8

_UNDECIDING: Final = ("intended_steps", "interval_length", "root_period", "limits", "seed_origin", "programs")
"""Fields of a plan that decide no bit of the training."""


def list_settings(a: Profile, b: Profile) -> list[tuple[str, str, str]]:
    """Return (name, value in A, value in B) of every setting of two profiles that differs, required ones first."""
    one, other = ({setting.name: setting.value for setting in profile.settings} for profile in (a, b))
    names = sorted(one.keys() | other.keys(), key=lambda name: (name.startswith(_ABOUT), name))
    return [(n, one.get(n, "absent"), other.get(n, "absent")) for n in names if one.get(n) != other.get(n)]


def find_environment(a: Side, b: Side) -> Finding | None:
    """Return the difference of the profiles, or None if all required settings are equal.

    Its role is BESIDE: whether it changed a bit is known from the steps.
    """
    return find_environment_of(a.profile, b.profile)


def find_environment_of(a: Profile, b: Profile) -> Finding | None:
    """Return the difference of two profiles; see `find_environment`."""
    settings = list_settings(a, b)
    required = [setting for setting in settings if not setting[0].startswith(_ABOUT)]
    if not required:
        return None
    name, one, other = min(required, key=lambda setting: _rank_setting(setting[0]))
    text = f"the environments differ: {name} is {one} in A, {other} in B"
    details = tuple(f"{what}: {here} in A, {there} in B" for what, here, there in settings if what != name)
    return Finding("environment", name, BESIDE, 0, text, one, other, details)


_RANKS = ("device", "cpu.capability", "threads", "torch.version", "numpy.version", "torch.", "env.")


def _rank_setting(name: str) -> int:
    """What is named first: what a person changes, before what follows from it."""
    for rank, start in enumerate(_RANKS):
        if name.startswith(start):
            return rank
    return len(_RANKS)


def find_data(a: Side, b: Side) -> Finding | None:
    """Return the difference of the committed training sets, or None."""
    one, other = a.plan.data, b.plan.data
    if one == other:
        return None
    roots = one.leaves.root.hex()[:16], other.leaves.root.hex()[:16]
    try:
        found = compare_data(a, b)
    except AssayError as error:
        text = f"the data sets differ: {one.leaves.size} samples in A, {other.leaves.size} in B"
        return Finding("data", "samples", CAUSE, 0, text, *roots, (f"the samples were not compared: {error.message}",))
    return Finding("data", found.name, CAUSE, 0, found.text, *roots, found.details)


def find_seed(a: Side, b: Side) -> Finding | None:
    """Return the difference of the seeds if anything is drawn from them, or None."""
    if a.plan.seed == b.plan.seed:
        return None
    shown = _show_seed(a.plan.seed), _show_seed(b.plan.seed)
    drawn = [name for name, used in _list_draws(a, b) if used]
    role = CAUSE if drawn else BESIDE
    text = f"the seeds differ: {shown[0]} in A, {shown[1]} in B"
    return Finding("seed", "seed", role, 0, text, *shown, tuple(f"drawn from it: {name}" for name in drawn))


def _list_draws(a: Side, b: Side) -> list[tuple[str, bool]]:
    sides = (a, b)
    return [
        ("the start", any(isinstance(side.plan.start, InitialisedStart) for side in sides)),
        ("the order of the samples", any(side.plan.order_version != SEQUENTIAL for side in sides)),
        ("random numbers in the step", any(_has_draws(side) for side in sides)),
    ]


def _has_draws(side: Side) -> bool:
    with suppress(AssayError):
        return any(
            node.operator.startswith("assay.")
            for identity in side.program_ids
            for node in side.read_program(identity).nodes
        )
    return True


def _show_seed(seed: bytes) -> str:
    number = int.from_bytes(seed, "little")
    return str(number) if number < 2**64 else seed.hex()


def find_start(a: Side, b: Side, *, seed: bool, environment: bool) -> Finding | None:
    """Return the difference of the starts, or None if their state roots are equal.

    Args:
        a: one run.
        b: the other.
        seed: whether the seeds differ: a start that is drawn from another seed follows from that.
        environment: whether the environments differ: the same program under the same seed may then give other bits.
    """
    if a.start.state_root == b.start.state_root:
        return None
    one, other = a.plan.start, b.plan.start
    roots = a.start.state_root.hex()[:16], b.start.state_root.hex()[:16]
    tensors = compare_records(a.start.records, b.start.records)
    if isinstance(one, InitialisedStart) and isinstance(other, InitialisedStart):
        if one.program == other.program:
            follows = seed or environment
            reason = "another seed" if seed else "another environment" if environment else "nothing that the plans name"
            text = f"the starts differ, made by one program under {reason}"
            return Finding("start", "initialisation", "follows" if follows else CAUSE, 0, text, *roots, tensors)
        with suppress(AssayError):
            found = compare_programs(a.read_program(one.program), b.read_program(other.program))
            text = "the models are initialised otherwise"
            return Finding("start", "initialisation", CAUSE, 0, text, *roots, (*found.details[:1], *tensors))
        return Finding("start", "initialisation", CAUSE, 0, "the models are initialised otherwise", *roots, tensors)
    kinds = tuple("made by a program" if isinstance(side, InitialisedStart) else "declared" for side in (one, other))
    text = f"the runs start from other weights ({kinds[0]} in A, {kinds[1]} in B)"
    return Finding("start", "weights", CAUSE, 0, text, *roots, tensors)


def compare_records(a: tuple[TensorRecord, ...], b: tuple[TensorRecord, ...]) -> tuple[str, ...]:
    """Return lines that name the tensors that differ, parameters first."""
    one, other = ({(r.namespace, r.name): r for r in records} for records in (a, b))
    lines = []
    for key in sorted(one.keys() | other.keys(), key=lambda key: (key[0] != PARAM, key)):
        here, there = one.get(key), other.get(key)
        if here == there:
            continue
        if here is None or there is None:
            lines.append(f"tensor {key[1]}: only in {'A' if there is None else 'B'}")
        elif (here.dtype, here.shape) != (there.dtype, there.shape):
            shapes = f"{here.dtype} {list(here.shape)} in A, {there.dtype} {list(there.shape)} in B"
            lines.append(f"tensor {key[1]}: {shapes}")
        else:
            lines.append(f"tensor {key[1]}: other bytes")
    total = len(one.keys() | other.keys())
    return (*lines[:_MOST], *([f"{len(lines)} of {total} tensors differ"] if len(lines) > _MOST else []))


def find_order(a: Side, b: Side) -> list[Finding]:
    """Return the differences of the plans in how samples are put into batches."""
    plan, twin = a.plan, b.plan
    names = {0: "sequential", 1: "shuffled from the seed"}
    fields = [
        ("order", "order function", names.get(plan.order_version, "other"), names.get(twin.order_version, "other")),
        ("batch", "batch size", str(plan.batch_size), str(twin.batch_size)),
        ("batch", "last batch", plan.last_batch, twin.last_batch),
        ("batch", "collate", plan.collate, twin.collate),
        ("seed", "key derivation", str(plan.key_derivation), str(twin.key_derivation)),
    ]
    return [
        Finding(kind, name, CAUSE, 0, f"the {name} differs: {one} in A, {other} in B", one, other)
        for kind, name, one, other in fields
        if one != other
    ]


def find_undeciding(a: Side, b: Side) -> Finding | None:
    """Return the differences of the plans that decide no bit, or None."""
    names = [name for name in _UNDECIDING if getattr(a.plan, name) != getattr(b.plan, name)]
    if not names:
        return None
    details = tuple(
        f"{name}: {_show(getattr(a.plan, name))} in A, {_show(getattr(b.plan, name))} in B" for name in names
    )
    text = f"the plans differ in what decides no bit: {', '.join(name.replace('_', ' ') for name in names)}"
    return Finding("plan", names[0].replace("_", " "), BESIDE, 0, text, "", "", details)


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} entries"
    return str(value)


def has_same_model(a: tuple[TensorRecord, ...], b: tuple[TensorRecord, ...]) -> bool:
    """Return whether parameters and persistent buffers are the same, bit for bit."""
    one, other = ([r for r in records if r.namespace in MODEL_NAMESPACES] for records in (a, b))
    return bool(one) and one == other
