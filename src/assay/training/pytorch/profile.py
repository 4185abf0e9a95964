"""The pinned profile: under which settings arithmetic gives the recorded bits.

A pinned profile names everything that is known to change the bits of a run on the CPU; a run on another device has the
settings of that device besides (`device_profile`). Two sorts of settings:

- **Required** (any name that does not start with `about.`): they must be equal on the machine that replays. Frameworks
  and their builds (`torch.*`, `numpy.version`), the vector instructions in use (`cpu.capability`: AVX-512 and AVX2
  give different bits on one and the same processor), the number of threads, the flags of the back ends, and the
  environment variables by which MKL, oneDNN and NumPy choose other code (`env.*`).
- **Informational** (`about.*`): processor model, C library, operating system. They can change bits, because vendor
  libraries choose code by processor and some functions come from the C library, but they need not. They are recorded
  and never compared: the known answers of each program decide whether a machine gets the same bits.

Source: `spec/plan.md`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from assay.protocol.evidence.plan import Profile, Setting
from assay.training.profile_environment import (
    DEVICE,
    ENVIRONMENT,
    INFORMATIONAL,
    KIND,
    UNSET,
    VARIABLES,
    ProfileMismatch,
    read_profile,
)
from assay.training.pytorch import device_profile, devices

_DTYPES = {str(dtype): dtype for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
_PRECISIONS = ("conv", "matmul", "rnn")
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_OLD_MMAP_LIMIT = 32 * 1024 * 1024


def is_flushing_denormals() -> bool:
    """True if subnormal numbers are replaced by zero in this thread."""
    return float(torch.tensor(1e-40, dtype=torch.float32) * 1.0) == 0.0


def _to_ascii(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", " ".join(text.split()))


def _compute_build_digest() -> str:
    """SHA-256 of torch's build description, without the line that says which instructions are in use."""
    lines = [line for line in torch.__config__.show().splitlines() if "CPU capability usage" not in line]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _get_processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def get_settings(device: torch.device | None = None) -> dict[str, str]:
    """Return the settings under which this process computes, required and informational, printable ASCII.

    Args:
        device: where; None: where it computes now.

    Raises:
        DeviceRefused: a kind of device whose settings are not known.
    """
    device = devices.get_device() if device is None else device
    settings = {
        "cpu.capability": torch.backends.cpu.get_cpu_capability(),
        "default_dtype": str(torch.get_default_dtype()),
        "deterministic": str(torch.are_deterministic_algorithms_enabled()),
        DEVICE: device.type,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "flush_denormal": str(is_flushing_denormals()),
        "mkldnn": str(torch._C._get_mkldnn_enabled()),
        "mkldnn.deterministic": str(torch._C._get_mkldnn_deterministic()),
        "numpy.version": np.__version__,
        "threads": str(torch.get_num_threads()),
        "torch.build": _compute_build_digest(),
        "torch.git": str(torch.version.git_version),
        "torch.version": str(torch.__version__),
        "about.libc": " ".join(platform.libc_ver()) or "unknown",
        "about.machine": platform.machine(),
        "about.processor": _get_processor(),
        "about.system": f"{platform.system()} {platform.release()}",
    }
    for name in _PRECISIONS:
        settings[f"mkldnn.{name}_precision"] = torch._C._get_fp32_precision_getter("mkldnn", name)
    for name in VARIABLES:
        settings[ENVIRONMENT + name] = os.environ.get(name, UNSET)
    if device != devices.CPU:
        settings |= device_profile.get_kind(device).describe(device)
    return {name: _to_ascii(value) for name, value in settings.items()}


def build_profile(*, threads: int = 1, mkldnn: bool = True, device: torch.device = devices.CPU) -> Profile:
    """Return the profile of this process, with the given threads and flag and with subnormal numbers kept.

    On another device than the CPU, what makes its libraries repeatable is set, too (`device_profile`).

    Call `apply_profile` on the result before computing: this function changes nothing.

    Args:
        threads: number of threads inside an operator, at least 1.
        mkldnn: whether oneDNN may be used; recurrent layers can only be recorded without it.
        device: on which programs are computed.

    Raises:
        DeviceRefused: a kind of device whose settings are not known.
    """
    settings = get_settings(device)
    settings |= {"threads": str(threads), "mkldnn": str(mkldnn), "flush_denormal": "False"}
    if device != devices.CPU:
        settings |= device_profile.get_kind(device).fixed
    return Profile(0, KIND, tuple(Setting(name, settings[name]) for name in sorted(settings)))


def describe_profile(device: torch.device) -> Profile:
    """Return the profile of a loop that nobody puts under one: what holds now, and the kind of device that it is on.

    Of a kind of device whose settings are not known, the kind alone is named.
    """
    known = device == devices.CPU or device.type in device_profile.KINDS
    settings = get_settings(device if known else devices.CPU) | {DEVICE: device.type}
    return Profile(0, KIND, tuple(Setting(name, settings[name]) for name in sorted(settings)))


def get_differences(profile: Profile) -> list[tuple[str, str, str]]:
    """Return (name, value in the profile, value here) of every required setting that differs, sorted by name.

    A setting that only one side knows counts as different; its other value is "absent".
    """
    wanted, actual = read_profile(profile), get_settings()
    return [
        (name, wanted.get(name, "absent"), actual.get(name, "absent"))
        for name in sorted(wanted.keys() | actual.keys())
        if not name.startswith(INFORMATIONAL) and wanted.get(name) != actual.get(name)
    ]


def apply_profile(profile: Profile) -> None:
    """Put this process under a profile: device, threads, flags, default dtype; then check every required setting.

    Raises:
        ProfileMismatch: settings that this process cannot have, each named; nothing is changed back.
        MalformedEvidence: a profile that is not in its one form.
    """
    settings = read_profile(profile)
    _apply_device(settings)
    _apply_settings(settings)
    differences = get_differences(profile)
    if differences:
        raise ProfileMismatch(
            "this machine cannot judge this profile",
            expected="; ".join(f"{name}={wanted}" for name, wanted, _ in differences),
            actual="; ".join(f"{name}={found}" for name, _, found in differences),
            next_step="use a machine with these settings, or start the process with `environment_for(profile)`",
        )


def _apply_device(settings: Mapping[str, str]) -> None:
    """Compute on the profile's kind of device from now on (PLN-18)."""
    wanted = settings.get(DEVICE, devices.CPU.type)
    is_known = wanted == devices.CPU.type or wanted in device_profile.KINDS  # a stranger's text stays away from PyTorch
    device = devices.find_present(wanted) if is_known else None
    if device is None:
        named = settings.get("device.name")
        raise ProfileMismatch(
            f"this machine has no {wanted} device that PyTorch can use, so it cannot judge this profile",
            expected=f"{DEVICE}={wanted}" + (f" ({named})" if named else ""),
            actual=f"{DEVICE}={devices.CPU.type}",
            next_step="use a machine with such a device and a PyTorch build for it",
        )
    devices.set_device(device)


def _apply_settings(settings: Mapping[str, str]) -> None:
    threads = settings.get("threads", "")
    if re.fullmatch(r"[1-9][0-9]{0,3}", threads) and torch.get_num_threads() != int(threads):
        torch.set_num_threads(int(threads))
    flags = {"True": True, "False": False}
    if settings.get("mkldnn") in flags:
        torch._C._set_mkldnn_enabled(flags[settings["mkldnn"]])
    if settings.get("mkldnn.deterministic") in flags:
        torch._C._set_mkldnn_deterministic(flags[settings["mkldnn.deterministic"]])
    if settings.get("deterministic") in flags:
        torch.use_deterministic_algorithms(flags[settings["deterministic"]])
    if settings.get("flush_denormal") in flags:
        torch.set_flush_denormal(flags[settings["flush_denormal"]])
    if settings.get("default_dtype") in _DTYPES:
        torch.set_default_dtype(_DTYPES[settings["default_dtype"]])
    if settings.get("float32_matmul_precision") in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(settings["float32_matmul_precision"])
    for name in _PRECISIONS:
        precision = settings.get(f"mkldnn.{name}_precision")
        if precision in ("none", "ieee", "tf32", "bf16"):
            torch._C._set_fp32_precision_setter("mkldnn", name, precision)
    kind = device_profile.KINDS.get(settings.get(DEVICE, ""))
    if kind is not None:
        kind.apply(settings)


@contextmanager
def use_profile(profile: Profile) -> Iterator[None]:
    """Apply a profile inside the block and restore the settings of before.

    Raises:
        ProfileMismatch: as `apply_profile`; the settings of before are restored.
    """
    before, device = get_settings(), devices.get_device()
    flags = device_profile.get_flags()
    try:
        apply_profile(profile)
        yield
    finally:
        is_on_device = devices.get_device() != devices.CPU
        devices.set_device(device)
        _apply_settings(before)
        if is_on_device:
            device_profile.apply_flags(flags)


def tune_allocator() -> bool:
    """Make glibc keep freed memory instead of returning it to the system at every step; True if it was done.

    Large tensors otherwise cost page faults at every step. Call it first thing in a process. The settings hold for the
    whole process; `ASSAY_NO_MALLOPT=1` leaves glibc as it is. Bits do not depend on it.
    """
    if os.environ.get("ASSAY_NO_MALLOPT") == "1" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    trimmed = mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mapped = mallopt(_M_MMAP_THRESHOLD, 1 << 30) or mallopt(
        _M_MMAP_THRESHOLD, _OLD_MMAP_LIMIT
    )  # old glibc: at most 32 MiB
    return bool(trimmed and mapped)
