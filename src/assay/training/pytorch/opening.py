"""What happens once, before the first step: profile, start, plan; on resume the comparison with what was planned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
import torch
from torch import nn

from assay.errors import UsageError
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.plan import (
    CertifiedStart,
    DataSet,
    DeclaredStart,
    InitialisedStart,
    Limits,
    Plan,
    Profile,
    Start,
    compute_profile_id,
)
from assay.storage.run_directory import RunDirectory
from assay.training.pytorch import device_profile, devices, layout
from assay.training.pytorch.home import StateHome
from assay.training.pytorch.parent import Parent
from assay.training.pytorch.profile import apply_profile, build_profile, get_differences
from assay.training.recorder import MAX_CHECKPOINTS, StartRecord

DEFAULT_INTERVAL = 100
DEFAULT_ROOT_PERIOD = 10
LIMITS = Limits(flops=10**16, peak_bytes=2**36)


_CURE = "run the unchanged script to resume, or record a new run in another folder"


class PlanChanged(UsageError):
    """The script plans something else than the run that it resumes."""

    code: ClassVar[str] = "resume.plan-changed"


def choose_mkldnn(models: Sequence[nn.Module], *, wanted: bool | None) -> bool:
    """Return whether oneDNN is used: unless told otherwise, not for recurrent layers, which it hides from the tape."""
    if wanted is not None:
        return wanted
    return not any(isinstance(module, nn.RNNBase) for model in models for module in model.modules())


def find_device(models: Sequence[nn.Module]) -> torch.device:
    """Return the device of the models, on which the run's programs are computed.

    Raises:
        DeviceRefused: several devices, a kind whose settings are not known, or a process that cannot be repeatable.
    """
    entries, _ = layout.list_model_tensors(models)
    device = devices.find_device((entry.name, entry.tensor) for entry in entries)
    if device != devices.CPU:
        device_profile.get_kind(device).verify()
    return device


def open_profile(run: RunDirectory, *, threads: int, mkldnn: bool, device: torch.device = devices.CPU) -> Profile:
    """Put the process under the profile of the run, which is stored the first time.

    Raises:
        UsageError: a resumed run needs settings that this process does not have.
    """
    profile = build_profile(threads=threads, mkldnn=mkldnn, device=device)
    if run.has_object("profile.bin"):
        stored = decode(run.read_object("profile.bin"), Profile)
        apply_profile(stored)
        devices.set_device(device)
        differences = get_differences(stored)
        if differences:
            raise UsageError("this machine differs from the one that began the run", actual=differences)
        return stored
    apply_profile(profile)
    devices.set_device(device)
    run.write_object("profile.bin", encode(profile))
    return profile


def choose_interval(checkpoint_every: int | None, intended: int, *, declared: bool) -> int:
    """Return the interval length: as asked for, else a twentieth of the intended steps, else a constant.

    A declared start is stored and takes the place of one of the twenty states: a nineteenth then.
    """
    if checkpoint_every is not None:
        return checkpoint_every
    return max(1, -(-intended // (MAX_CHECKPOINTS - declared))) if intended else DEFAULT_INTERVAL


def make_plan(
    *,
    start: Start,
    data: DataSet,
    order_version: int,
    seed: bytes,
    intended_steps: int,
    batch_size: int,
    last_batch: str,
    collate: str,
    interval_length: int,
    root_period: int,
    profile: Profile,
) -> Plan:
    """Return the plan of a run that is recorded alone."""
    return Plan(
        version=0,
        start=start,
        data=data,
        order_version=order_version,
        seed=seed,
        seed_origin="submitter",
        key_derivation=0,
        intended_steps=intended_steps,
        batch_size=batch_size,
        last_batch=last_batch,
        collate=collate,
        interval_length=interval_length,
        root_period=root_period,
        profile=compute_profile_id(profile),
        limits=LIMITS,
        programs=(start.program,) if isinstance(start, InitialisedStart) else (),
    )


def describe_start(
    home: StateHome, initialiser: ir.Program | None, parent: Parent | None = None
) -> tuple[Start, StartRecord]:
    """Return the start for the plan, and its records."""
    roots = home.compute_roots()
    record = StartRecord(0, b"", roots.state_root, home.aliases, tuple(home.make_records(roots)))
    if parent is not None:
        parent.verify_first(home.models)
        parent.verify_values(record.records, record.aliases)
        return parent.start, record
    if initialiser is None:
        return DeclaredStart(roots.state_root), record
    return InitialisedStart(ir.compute_program_id(initialiser)), record


def adopt_start(run: RunDirectory, start: Start, record: StartRecord) -> tuple[Start, StartRecord]:
    """Compare the start with the one that a resumed run has, and take that one if both are declared.

    A script that declares its start need not make the same weights again: they are stored.

    Raises:
        PlanChanged: the models have other tensors than when the run began.
    """
    if not run.has_object("plan.bin") or not run.has_object("start.bin"):
        return start, record
    stored = decode(run.read_object("start.bin"), StartRecord)
    old, new = (
        {entry.name: f"{entry.dtype} {list(entry.shape)}" for entry in side.records} for side in (stored, record)
    )
    if old != new or stored.aliases != record.aliases:
        name = next((name for name in [*old, *new] if old.get(name) != new.get(name)), "a tied tensor")
        raise PlanChanged(
            f"the models changed since the run began: {name}",
            expected=old.get(name, "no such tensor"),
            actual=new.get(name, "no such tensor"),
            next_step=_CURE,
        )
    planned = decode(run.read_object("plan.bin"), Plan).start
    both_declared = isinstance(planned, DeclaredStart) and isinstance(start, DeclaredStart)
    if both_declared or (isinstance(planned, CertifiedStart) and planned == start):
        return planned, stored
    return start, record


def choose_base(run: RunDirectory) -> int | None:
    """Return the checkpoint from which a resumed run goes on; None: from the start.

    It is the last one after which there is a row: that step is done again and must equal the row, so that a script
    that was changed is found before anything is written.
    """
    stored = [step for step in run.checkpoints.list_steps() if step < run.rows or step == 0]
    return stored[-1] if stored else None


def compare_plans(run: RunDirectory, plan: Plan) -> None:
    """Check that a resumed run plans what it planned.

    Raises:
        PlanChanged: naming every field that differs.
    """
    if not run.has_object("plan.bin"):
        return
    stored = decode(run.read_object("plan.bin"), Plan)
    names = [field.name for field in msgspec.structs.fields(Plan)]
    differing = [name for name in names if getattr(stored, name) != getattr(plan, name)]
    if differing:
        raise PlanChanged(
            f"the script changed since the run began: {', '.join(differing)}",
            expected={name: _show(getattr(stored, name)) for name in differing},
            actual={name: _show(getattr(plan, name)) for name in differing},
            next_step=_CURE,
        )


def _show(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        parts = [f"{name}={_show(getattr(value, name))}" for name in value.__struct_fields__]
        return f"{type(value).__name__}({', '.join(parts)})"
    return value.hex() if isinstance(value, bytes) else value
