"""Profiles: what is recorded, what must be equal, and how a process is put under one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest
import torch

from assay.errors import MalformedEvidence, Unproven
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.plan import Profile, Setting, compute_profile_id
from assay.protocol.evidence.plan_rules import verify_profile
from assay.training import profile_environment as environments
from assay.training.pytorch import profile as profiles

CHILD = """
import json, sys, torch
from assay.protocol.encoding import decode
from assay.protocol.evidence.plan import Profile
from assay.training.pytorch import profile as profiles
given = decode(bytes.fromhex(sys.argv[1]), Profile)
try:
    profiles.apply_profile(given)
    torch.manual_seed(0)
    x = torch.randn(257, 129)
    print(json.dumps(["applied", torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]))
except profiles.ProfileMismatch as error:
    print(json.dumps([error.code, str(error)]))
"""


@pytest.fixture(autouse=True)
def _restore():
    """Leave flags and threads as they were."""
    before = profiles.get_settings()
    yield
    profiles._apply_settings(before)


def change(profile: Profile, **values: str) -> Profile:
    """Return a copy of a profile with some settings replaced; `__` in a name stands for a dot."""
    changes = {name.replace("__", "."): value for name, value in values.items()}
    settings = [Setting(entry.name, changes.get(entry.name, entry.value)) for entry in profile.settings]
    return msgspec.structs.replace(profile, settings=tuple(settings))


def run_child(profile: Profile, environment: dict[str, str]) -> list:
    """Apply a profile in a fresh process and return what it printed."""
    environment = environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, encode(profile).hex()]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def test_profile_is_canonical_and_repeatable():
    """Two profiles of one process have one id, pass the rules of evidence and survive encoding."""
    profile = profiles.build_profile()
    verify_profile(profile)
    assert compute_profile_id(profile) == compute_profile_id(profiles.build_profile())
    assert decode(encode(profile), Profile) == profile


def test_profile_names_what_was_asked_for():
    """Threads and mkldnn are those of the arguments; subnormal numbers are kept; torch is named by its commit."""
    settings = profiles.read_profile(profiles.build_profile(threads=3, mkldnn=False))
    assert (settings["threads"], settings["mkldnn"], settings["flush_denormal"]) == ("3", "False", "False")
    assert settings["torch.git"] == torch.version.git_version
    assert settings["device"] == "cpu"


def test_apply_sets_this_process():
    """Afterwards threads, flags, default dtype and treatment of subnormal numbers are those of the profile."""
    profile = profiles.build_profile(threads=1, mkldnn=False)
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    assert {name for name, _, _ in profiles.get_differences(profile)} >= {
        "threads", "mkldnn", "flush_denormal", "default_dtype", "float32_matmul_precision",
    }  # fmt: skip
    profiles.apply_profile(profile)
    assert profiles.get_differences(profile) == []
    assert torch.get_num_threads() == 1
    assert not torch.backends.mkldnn.enabled
    assert not profiles.is_flushing_denormals()


def test_use_restores_the_settings():
    """Inside the block the profile holds, after it the settings of before."""
    before = profiles.get_settings()
    with profiles.use_profile(profiles.build_profile(threads=2, mkldnn=False)):
        assert torch.get_num_threads() == 2
        assert not torch.backends.mkldnn.enabled
    assert profiles.get_settings() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("torch__version", "2.12.0"), ("cpu__capability", "AVX1024"), ("numpy__version", "1.0"), ("env__MKL_CBWR", "AVX")],
)
def test_what_cannot_be_set_is_named(name, value):
    """A required setting that this process cannot have is an error with exit 3 that names it and both values."""
    with pytest.raises(profiles.ProfileMismatch) as caught:
        profiles.apply_profile(change(profiles.build_profile(), **{name: value}))
    assert isinstance(caught.value, Unproven)
    assert caught.value.code == "profile.mismatch"
    name = name.replace("__", ".")
    assert f"{name}={value}" in caught.value.expected
    assert f"{name}={profiles.get_settings()[name]}" in caught.value.actual


def test_a_foreign_value_changes_nothing():
    """Values that are no threads, flags or dtypes are reported, not interpreted."""
    profile = change(profiles.build_profile(), threads="0", mkldnn="maybe", default_dtype="torch.int64")
    with pytest.raises(profiles.ProfileMismatch) as caught:
        profiles.apply_profile(profile)
    assert all(name in caught.value.expected for name in ("threads=0", "mkldnn=maybe", "default_dtype=torch.int64"))


def test_information_is_not_compared():
    """Another processor model, C library or kernel is no mismatch: known answers decide."""
    profiles.apply_profile(change(profiles.build_profile(), about__processor="Other CPU", about__libc="musl 1.2"))


def test_a_missing_setting_is_a_difference():
    """A profile that leaves out a required setting is not accepted in silence."""
    profile = profiles.build_profile()
    shorter = msgspec.structs.replace(profile, settings=tuple(s for s in profile.settings if s.name != "torch.git"))
    assert [name for name, _, _ in profiles.get_differences(shorter)] == ["torch.git"]


def test_a_setting_given_twice_is_malformed():
    """Settings are sorted by unique names."""
    profile = profiles.build_profile()
    with pytest.raises(MalformedEvidence):
        profiles.apply_profile(msgspec.structs.replace(profile, settings=(*profile.settings, profile.settings[-1])))


def test_another_kind_is_unproven():
    """A kind of profile that this version does not know is neither accepted nor refuted."""
    with pytest.raises(profiles.ProfileMismatch, match="exact"):
        profiles.apply_profile(msgspec.structs.replace(profiles.build_profile(), kind="exact"))


def test_a_subprocess_can_have_other_vector_instructions():
    """A process started with `environment_for` has the instructions and threads of the profile; this one has not."""
    here = profiles.build_profile()
    other = "DEFAULT" if torch.backends.cpu.get_cpu_capability() != "DEFAULT" else environments.get_best_capability()
    assert other != torch.backends.cpu.get_cpu_capability()
    profile = change(here, cpu__capability=other, threads="2")
    assert run_child(profile, environments.environment_for(profile)) == ["applied", other, 2]
    code, text = run_child(profile, environments.environment_for(here))
    assert code == "profile.mismatch"
    assert f"cpu.capability={other}" in text


def test_environment_holds_the_recorded_variables():
    """Variables are set as recorded and removed where the recording had none; others stay."""
    profile = change(profiles.build_profile(threads=2), env__MKL_CBWR="COMPATIBLE", env__ONEDNN_MAX_CPU_ISA="unset")
    environment = environments.environment_for(profile, {"ONEDNN_MAX_CPU_ISA": "SSE41", "PATH": "/bin"})
    assert environment["MKL_CBWR"] == "COMPATIBLE"
    assert "ONEDNN_MAX_CPU_ISA" not in environment
    assert (environment["OMP_NUM_THREADS"], environment["MKL_NUM_THREADS"]) == ("2", "2")
    assert environment["PATH"] == "/bin"


def test_instructions_that_the_processor_lacks_are_refused_before_the_start(monkeypatch):
    """Torch believes ATEN_CPU_CAPABILITY without checking; such a process would be killed."""
    monkeypatch.setitem(environments._FLAGS, "AVX512", frozenset({"instructions of tomorrow"}))
    with pytest.raises(profiles.ProfileMismatch, match="cannot judge"):
        environments.environment_for(change(profiles.build_profile(), cpu__capability="AVX512"))


def test_allocator_can_be_left_alone(monkeypatch):
    """With the opt-out set nothing is called."""
    monkeypatch.setenv("ASSAY_NO_MALLOPT", "1")
    monkeypatch.setattr(profiles.ctypes, "CDLL", lambda _: pytest.fail("mallopt was looked up"))
    assert profiles.tune_allocator() is False


def test_allocator_is_tuned_on_glibc(monkeypatch):
    """On glibc both thresholds are accepted; elsewhere nothing happens."""
    monkeypatch.delenv("ASSAY_NO_MALLOPT", raising=False)
    assert profiles.tune_allocator() is (profiles.platform.libc_ver()[0] == "glibc")
