"""What differs at the first step that differs: what went in, or, with the same going in, what came out."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from assay.errors import AssayError
from assay.protocol.encoding import bits_to_float
from assay.protocol.evidence.order import count_batches, locate_step
from assay.training.compare.findings import CAUSE, FOLLOWS, Finding
from assay.training.compare.programs import compare_programs
from assay.training.compare.roles import OTHER, find_roles, read_settings
from assay.training.compare.side import Side, SideRow
from assay.training.events import StoredEvent, read_events

_MOST = 8


def find_inputs(a: Side, b: Side, rows: tuple[SideRow, SideRow], parts: tuple[str, ...]) -> list[Finding]:
    """Return the findings about what went into the first step that differs.

    Args:
        a: one run.
        b: the other.
        rows: the step in both.
        parts: those that differ.
    """
    found: list[Finding] = []
    if "membership" in parts:
        found.append(_find_membership(a, rows))
    elif "content" in parts:
        found.append(_find_content(rows))
    if "program" in parts:
        found.append(_find_program(a, b, rows))
    if "scalars" in parts:
        found.append(_find_scalars(a, b, rows, follows="program" in parts))
    if "events" in parts:
        found.append(_find_events(a, b, rows))
    return found


def _find_membership(a: Side, rows: tuple[SideRow, SideRow]) -> Finding:
    step, wanted = rows[0].parts.step, rows[1].parts.membership
    roots = rows[0].parts.membership.hex()[:16], wanted.hex()[:16]
    details = []
    twin = _find_batch(a, wanted)
    if twin is not None:
        details.append(f"B's batch is that of step {twin} of A ({_show_epoch(a, twin)})")
        details.append(f"A is at {_show_epoch(a, step)} here")
    text = f"other samples, or the same in another order, were fed at step {step}"
    name = "order"
    if twin is not None and twin < step:
        name, text = "order begins again", f"B feeds again at step {step} what A fed at step {twin}"
    return Finding("order", name, CAUSE, step, text, *roots, tuple(details))


def _find_batch(side: Side, membership: bytes) -> int | None:
    """Return the first step of a run that fed this batch, or None."""
    for step, payload in enumerate(side.log.iterate(1), 1):
        if membership in payload:
            return step
    return None


def _show_epoch(side: Side, step: int) -> str:
    plan = side.plan
    epoch, batch = locate_step(step, count_batches(plan.data.leaves.size, plan.batch_size, plan.last_batch))
    return f"epoch {epoch}, batch {batch}, both counted from 0"


def _find_content(rows: tuple[SideRow, SideRow]) -> Finding:
    step = rows[0].parts.step
    text = f"the same samples were fed as other bytes at step {step}: they were collated or changed on the way"
    contents = [row.parts.content.hex()[:16] for row in rows]
    return Finding("batch", "batch bytes", CAUSE, step, text, contents[0], contents[1])


def _find_program(a: Side, b: Side, rows: tuple[SideRow, SideRow]) -> Finding:
    step = rows[0].parts.step
    identities = rows[0].program.hex()[:16], rows[1].program.hex()[:16]
    try:
        found = compare_programs(a.read_program(rows[0].program), b.read_program(rows[1].program))
    except AssayError as error:
        text = f"the step programs differ at step {step}; they cannot be read: {error.message}"
        return Finding("program", "program", CAUSE, step, text, *identities)
    name, text = found.name, found.text
    classes = [changed for changed in compare_settings(a, b, step).changed if changed[0].endswith(": class")]
    if classes and name in {"operators", "attribute", "weight decay"}:
        what, one, other = classes[0]
        name, text = "optimizer", f"the optimizers differ: {what} is {one} in A, {other} in B (declared)"
    return Finding("program", name, CAUSE, step, f"at step {step} {text}", *identities, found.details)


def _find_scalars(a: Side, b: Side, rows: tuple[SideRow, SideRow], *, follows: bool) -> Finding:
    step = rows[0].parts.step
    one, other = (np.frombuffer(row.scalars or b"", "<f8") for row in rows)
    if len(one) != len(other):
        text = f"the optimizers use {len(one)} numbers in A and {len(other)} in B at step {step}"
        role = FOLLOWS if follows else CAUSE
        return Finding("scalars", "scalars", role, step, text, str(len(one)), str(len(other)))
    places = np.flatnonzero(one.view("<u8") != other.view("<u8")).tolist()
    roles = _read_roles(a, rows[0]) or [OTHER] * len(one)
    settings = compare_settings(a, b, step)
    name, place = _choose_name(roles, places, one, other, settings.changed)
    shown = _show_number(one[place]), _show_number(other[place])
    lines = [
        f"{roles[place]}, number {place} of the row: {_show_number(one[place])} in A, {_show_number(other[place])} in B"
        for place in places[:_MOST]
    ]
    declared = settings.make_lines()
    what = declared[0] if declared else f"{name} is {shown[0]} in A, {shown[1]} in B"
    text = f"the optimizer's numbers differ at step {step}: {what}"
    return Finding("scalars", name, CAUSE, step, text, *shown, (*declared[1:], *lines))


def _show_number(value: float) -> str:
    return repr(float(value))


def _read_roles(side: Side, row: SideRow) -> list[str]:
    with suppress(AssayError):
        return find_roles(side.read_program(row.program))
    return []


class DeclaredSettings(NamedTuple):
    """Optimizer settings that differ between two stored states.

    Attributes:
        step: after which both states were stored.
        changed: (name, A, B) of each.
    """

    step: int
    changed: list[tuple[str, str, str]]

    def make_lines(self) -> list[str]:
        """Return one line for each setting; a scheduler may have moved it since the step that is looked at."""
        return [
            f"{name} is {one} in A, {other} in B (declared after step {self.step})" for name, one, other in self.changed
        ]


def compare_settings(a: Side, b: Side, step: int) -> DeclaredSettings:
    """Return the declared optimizer settings that differ in the nearest states that both runs stored."""
    with suppress(AssayError):
        common = sorted({*a.checkpoints.list_steps()} & {*b.checkpoints.list_steps()})
        if common:
            stored = next((found for found in common if found >= step), common[-1])
            one, other = (read_settings(side.checkpoints.read_manifest(stored).extra) for side in (a, b))
            names = [name for name in one if name in other and one[name] != other[name]]
            return DeclaredSettings(stored, [(name, one[name], other[name]) for name in names])
    return DeclaredSettings(0, [])


_NAMES = {"lr": "rate", "weight_decay": "weight decay", "betas": "momentum", "momentum": "momentum", "eps": "epsilon"}


def _choose_name(
    roles: list[str], places: list[int], one: np.ndarray, other: np.ndarray, settings: list[tuple[str, str, str]]
) -> tuple[str, int]:
    """Return what the first difference of two rows is called, and its place in the row.

    Decoupled weight decay multiplies a parameter by 1 − rate · decay: where the rate differs too, decay is only named
    if the product of both does not explain the factor.
    """
    of_role = {role: place for place in reversed(places) for role in [roles[place]] if role != OTHER}
    declared = [_NAMES.get(name.rsplit(": ", 1)[-1], name.rsplit(": ", 1)[-1]) for name, _, _ in settings]
    for role in declared:
        if role in of_role:
            return role, of_role[role]
    for role in ("rate", "weight decay", "momentum", "epsilon"):
        if role in of_role:
            return role, of_role[role]
    differing = [place for place in places if not math.isclose(one[place], other[place])]
    return OTHER, (differing or places)[0]


def _find_events(a: Side, b: Side, rows: tuple[SideRow, SideRow]) -> Finding:
    step = rows[0].parts.step
    shown = ["none" if not row.parts.events else row.parts.events.hex()[:16] for row in rows]
    where = "A" if shown[1] == "none" else "B" if shown[0] == "none" else "both, not the same"
    stored = [*_list_events(a, rows[0]), *_list_events(b, rows[1])]
    kind = stored[0][0] if stored else "event"
    text = f"a declared {kind} stands before step {step} in {where}"
    return Finding("edit", f"declared {kind}", CAUSE, step, text, shown[0], shown[1], tuple(line for _, line in stored))


def _list_events(side: Side, row: SideRow) -> list[tuple[str, str]]:
    """Return kind and description of the events that a row holds, as far as they can be read."""
    if not row.parts.events:
        return []
    with suppress(AssayError):
        return [
            (one.event.kind, f"{side.label}: {one.event.kind}, {one.event.reason!r}{_show_edit(one)}")
            for one in read_events(side)
            if one.event.step == row.parts.step - 1
        ]
    return []


def _show_edit(one: StoredEvent) -> str:
    if one.edit is None:
        return ""
    names = ", ".join(record.name for record in one.records[:4])
    return f"; norm {bits_to_float(one.edit.norm):.6g}, tensors {names}"


def find_outputs(rows: tuple[SideRow, SideRow], parts: tuple[str, ...], *, cause: bool) -> Finding:
    """Return the finding that the same step on the same inputs gave something else.

    Args:
        rows: the step in both runs.
        parts: those that differ, "loss" or "state root".
        cause: whether nothing that went in explains it.
    """
    step = rows[0].parts.step
    losses = show_losses(rows[0]), show_losses(rows[1])
    if not cause:
        text = f"from step {step} on, losses and states differ"
        return Finding("arithmetic", "results", FOLLOWS, step, text, *losses)
    what = "another loss" if "loss" in parts else "another state"
    text = f"arithmetic: the same step on the same inputs gave {what} at step {step}"
    return Finding("arithmetic", "results", CAUSE, step, text, *losses)


def show_losses(row: SideRow) -> str:
    """Return what a step returned, as numbers where it was one f32 or f64, else as digests."""
    shown = []
    for data in row.parts.loss[:4]:
        if len(data) in {4, 8}:
            shown.append(repr(float(np.frombuffer(data, f"<f{len(data)}")[0])))
        else:
            shown.append(data.hex()[:16])
    return ", ".join(shown)
