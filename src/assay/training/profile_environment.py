"""The pinned profile seen from outside: its settings, and the environment of a process that can have it. No torch.

Source: `spec/plan.md`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from assay.errors import MalformedEvidence, Unproven
from assay.protocol.evidence.plan import Profile

KIND: Final = "pinned"
INFORMATIONAL = "about."
"""Prefix of the names of settings that are recorded and never compared."""

DEVICE: Final = "device"
"""Name of the setting that says on which kind of device programs are computed (PLN-18)."""

CPU_DEVICE: Final = "cpu"

UNSET = "unset"
"""Stands for an environment variable that does not exist."""

VARIABLES = (
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "NPY_DISABLE_CPU_FEATURES",
    "OMP_DYNAMIC",
)
"""Environment variables by which vendor libraries choose other code; read once, when a process starts."""

DEVICE_VARIABLES = (
    "CUBLASLT_WORKSPACE_SIZE",
    "CUBLAS_WORKSPACE_CONFIG",
    "DISABLE_ADDMM_CUDA_LT",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
)
"""Environment variables by which CUDA's libraries choose other code: in profiles of a device alone (PLN-19)."""

CAPABILITIES: Final = {"DEFAULT": "default", "AVX2": "avx2", "AVX512": "avx512"}
"""Vector instructions as torch names them, ascending: value of ATEN_CPU_CAPABILITY."""

_FLAGS = {
    "DEFAULT": frozenset[str](),
    "AVX2": frozenset({"avx2", "fma"}),
    "AVX512": frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
}
ENVIRONMENT: Final = "env."
"""Prefix of the names of settings that are environment variables."""


class ProfileMismatch(Unproven):
    """This process cannot compute under a profile; nothing is found for or against the run."""

    code: ClassVar[str] = "profile.mismatch"


def read_profile(profile: Profile) -> dict[str, str]:
    """Return the settings of a profile by name.

    Raises:
        ProfileMismatch: another kind of profile.
        MalformedEvidence: names that are not sorted and unique.
    """
    if profile.kind != KIND:
        raise ProfileMismatch(
            f"profile of kind {profile.kind!r}", expected=KIND, next_step="use a version of assay that knows this kind"
        )
    names = [setting.name for setting in profile.settings]
    if names != sorted(set(names)):
        raise MalformedEvidence("the settings of a profile are not sorted by unique names")
    return {setting.name: setting.value for setting in profile.settings}


def get_best_capability() -> str:
    """Return the widest vector instructions of this processor that torch has kernels for, as torch names them."""
    return [name for name in CAPABILITIES if _is_supported(name)][-1]


def _is_supported(capability: str) -> bool:
    """Return whether the processor says that it has these instructions; torch would not check, and be killed."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return _FLAGS[capability].issubset(found[1].split() if found else ())


def environment_for(profile: Profile, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the complete environment in which a subprocess can have this profile.

    Args:
        profile: the profile.
        base: the environment to start from; None: that of this process.

    Raises:
        ProfileMismatch: vector instructions that this processor lacks (torch would not check, and be killed).
        MalformedEvidence: a profile that is not in its one form.
    """
    settings = read_profile(profile)
    environment = dict(os.environ if base is None else base)
    capability = settings.get("cpu.capability", "absent")
    if capability not in CAPABILITIES or not _is_supported(capability):
        raise ProfileMismatch(
            "this machine cannot judge this profile",
            expected=f"cpu.capability={capability}",
            actual=f"a processor with at most {get_best_capability()}",
            next_step="use a machine with these instructions",
        )
    environment["ATEN_CPU_CAPABILITY"] = CAPABILITIES[capability]
    environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = settings.get("threads", "1")
    is_on_device = settings.get(DEVICE, CPU_DEVICE) != CPU_DEVICE
    for variable in (*VARIABLES, *DEVICE_VARIABLES) if is_on_device else VARIABLES:
        value = settings.get(ENVIRONMENT + variable, UNSET)
        if value == UNSET:
            environment.pop(variable, None)
        else:
            environment[variable] = value
    return environment
