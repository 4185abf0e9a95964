"""What a profile says of a device that is not the CPU: model, libraries, and the flags that decide bits there.

One entry of `KINDS` for each kind of device that a run may be recorded on. Of the others nobody has written down what
decides their bits, so they are refused. Nothing here was ever run on a device by those who wrote it.

Source: `spec/plan.md`, PLN-18 and PLN-19; PyTorch's notes on reproducibility.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import torch

from assay.training.profile_environment import DEVICE_VARIABLES, ENVIRONMENT, UNSET
from assay.training.pytorch.devices import DeviceRefused

_FLAGS: tuple[tuple[str, Callable[[], Any], Callable[[bool], Any]], ...] = (
    ("attention.cudnn", torch._C._get_cudnn_sdp_enabled, torch._C._set_sdp_use_cudnn),
    ("attention.efficient", torch._C._get_mem_efficient_sdp_enabled, torch._C._set_sdp_use_mem_efficient),
    ("attention.flash", torch._C._get_flash_sdp_enabled, torch._C._set_sdp_use_flash),
    ("attention.math", torch._C._get_math_sdp_enabled, torch._C._set_sdp_use_math),
    ("cudnn.benchmark", torch._C._get_cudnn_benchmark, torch._C._set_cudnn_benchmark),
    ("cudnn.deterministic", torch._C._get_cudnn_deterministic, torch._C._set_cudnn_deterministic),
    ("cudnn.enabled", torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
    (
        "cublas.fp16_accumulation",
        torch._C._get_cublas_allow_fp16_accumulation,
        torch._C._set_cublas_allow_fp16_accumulation,
    ),
)
"""Flags that are true or false: name, reader, writer."""

_REDUCTIONS = ("fp16", "bf16")
_PRECISIONS = (("cublas", "matmul"), ("cudnn", "conv"), ("cudnn", "rnn"))
_PRECISION_NAMES = ("none", "ieee", "tf32")

_FIXED: Final = {
    "attention.cudnn": "False", "attention.efficient": "False", "attention.flash": "False", "attention.math": "True",
    "cudnn.benchmark": "False", "cudnn.deterministic": "True", "deterministic": "True",
}  # fmt: skip
"""What a recording sets: no search for the fastest algorithm, no algorithm that is not repeatable, and attention made
of operators of the closed list."""

_DRIVER = Path("/sys/module/nvidia/version")
UNKNOWN: Final = "unknown"

_WORKSPACES: Final = (":4096:8", ":16:8")
"""The values of CUBLAS_WORKSPACE_CONFIG with which NVIDIA and PyTorch call cuBLAS repeatable."""


@dataclass(frozen=True)
class DeviceKind:
    """How a kind of device is described and set.

    Attributes:
        describe: from a device to its required and informational settings; flags are among them.
        apply: sets the flags that are among given settings.
        fixed: settings that a recording sets, whatever they were.
        verify: raises `DeviceRefused` if this process cannot record on the device.
    """

    describe: Callable[[torch.device], dict[str, str]]
    apply: Callable[[Mapping[str, str]], None]
    fixed: Mapping[str, str]
    verify: Callable[[], None]


def get_flags() -> dict[str, str]:
    """Return the flags of CUDA's libraries; they are there without a device, too."""
    flags = {name: str(bool(read())) for name, read, _ in _FLAGS}
    for kind in _REDUCTIONS:
        found = getattr(torch._C, f"_get_cublas_allow_{kind}_reduced_precision_reduction")()
        flags[f"cublas.{kind}_reduction"] = str(found)
    for library, name in _PRECISIONS:
        flags[f"{library}.{name}_precision"] = torch._C._get_fp32_precision_getter("cuda", name)
    return flags


def apply_flags(settings: Mapping[str, str]) -> None:
    """Set those flags that are among `settings`; values of another form are left to the comparison."""
    truth = {"True": True, "False": False}
    for name, _, write in _FLAGS:
        if settings.get(name) in truth:
            write(truth[settings[name]])
    for kind in _REDUCTIONS:
        _set_reduction(kind, settings.get(f"cublas.{kind}_reduction", ""))
    for library, name in _PRECISIONS:
        precision = settings.get(f"{library}.{name}_precision")
        if precision in _PRECISION_NAMES:
            torch._C._set_fp32_precision_setter("cuda", name, precision)


def _set_reduction(kind: str, value: str) -> None:
    """Set whether sums of 16 bits may be rounded in between; PyTorch keeps one or two flags, by its version."""
    name = f"cublas_allow_{kind}_reduced_precision_reduction"
    present, write = getattr(torch._C, f"_get_{name}")(), getattr(torch._C, f"_set_{name}")
    flags = [part.strip() for part in value.strip("()").split(",")]
    count = len(present) if isinstance(present, tuple) else 1
    if len(flags) == count and all(flag in ("True", "False") for flag in flags):
        write(*(flag == "True" for flag in flags))


def _describe_cuda(device: torch.device) -> dict[str, str]:
    found = torch.cuda.get_device_properties(device)
    settings = {
        "device.capability": f"{found.major}.{found.minor}",
        "device.name": found.name,
        "device.processors": str(found.multi_processor_count),
        "cublas.backend": str(torch._C._get_blas_preferred_backend()),
        "cublas.version": find_package("nvidia-cublas"),
        "cuda.version": str(torch.version.cuda),
        "cudnn.version": str(torch.backends.cudnn.version()),
        "linalg.backend": str(torch._C._get_linalg_preferred_backend()),
        "about.device.driver": _get_driver(),
        "about.device.memory": str(found.total_memory),
    }
    for name in DEVICE_VARIABLES:
        settings[ENVIRONMENT + name] = os.environ.get(name, UNSET)
    return settings | get_flags()


def find_package(prefix: str) -> str:
    """Return name and version of the installed distributions whose name begins with `prefix`; `unknown` if none."""
    found = {(each.metadata["Name"] or "").lower(): each.version for each in distributions()}
    return ", ".join(f"{name} {found[name]}" for name in sorted(found) if name.startswith(prefix)) or UNKNOWN


def _get_driver() -> str:
    try:
        return _DRIVER.read_text(encoding="ascii", errors="replace")
    except OSError:
        return UNKNOWN


def _verify_cuda() -> None:
    value = os.environ.get("CUBLAS_WORKSPACE_CONFIG", UNSET)
    if value not in _WORKSPACES:
        raise DeviceRefused(
            "cuBLAS is not repeatable as this process was started",
            expected=f"CUBLAS_WORKSPACE_CONFIG={' or '.join(_WORKSPACES)}",
            actual=f"CUBLAS_WORKSPACE_CONFIG={value}",
            next_step="set the variable before Python starts: CUBLAS_WORKSPACE_CONFIG=:4096:8 python train.py",
        )


KINDS: dict[str, DeviceKind] = {"cuda": DeviceKind(_describe_cuda, apply_flags, _FIXED, _verify_cuda)}
"""The kinds of device beside the CPU on which runs are recorded."""


def get_kind(device: torch.device) -> DeviceKind:
    """Return how a device is described.

    Raises:
        DeviceRefused: a kind that is not in `KINDS`.
    """
    kind = KINDS.get(device.type)
    if kind is None:
        raise DeviceRefused(
            f"runs are not recorded on {device.type}: nobody has written down what decides its bits",
            expected=f"cpu or {', '.join(sorted(KINDS))}",
            next_step="train on the CPU, or watch the loop with assay.observe (digests only)",
        )
    return kind
