"""Runs on another device than the CPU: on a pretend accelerator, and, where one is, on CUDA (`pytest -m gpu`)."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from assay.errors import CaptureRefused, Unproven
from assay.protocol.evidence.plan import Setting
from assay.training import profile_environment as environments
from assay.training.pytorch import device_profile, device_rules, devices, draws, refused_calls
from assay.training.pytorch import profile as profiles
from assay.training.pytorch.tape import Recorder

HERE = Path(__file__).parent
SCRIPT = HERE / "device_script.py"
PRETEND = str(HERE / "pretend")
CPU_PATH = os.pathsep.join(path for path in sys.path if path)
PATHS = {"pretend": os.pathsep.join([PRETEND, CPU_PATH]), "cuda": CPU_PATH, "cpu": CPU_PATH}
aten = torch.ops.aten


def start(arguments, home, device):
    """Run Python in a process of its own, which has the device; return the finished process."""
    environment = os.environ | {
        "ASSAY_HOME": str(home), "PYTHONPATH": PATHS[device], "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


def run_script(path, home, device, *options):
    """Run the script of a user; return what it printed."""
    done = start([SCRIPT, path, f"device={device}", *options], home, device)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tell_story(folder, device, *options):
    """Record, be killed, resume (not on the CPU), audit, export, verify; return what the resumed script printed."""
    run, certificate, model = folder / "run", folder / "c.assay.json", folder / "m.safetensors"
    killed = start([SCRIPT, run, f"device={device}", "kill=6", *options], folder, device)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    elsewhere = start([SCRIPT, run, "device=cpu", *options], folder, device)
    assert elsewhere.returncode != 0
    assert "differs from the one that began the run" in elsewhere.stderr
    resumed = run_script(run, folder, device, *options)
    assert len(resumed["losses"]) == 11  # from the checkpoint after step 4
    audit = start(["-m", "assay", "run", "audit", run, "--workers", "1", "--out", certificate], folder, device)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "4 of 4 intervals match bit for bit" in audit.stdout
    assert "evaluation 0: matches" in audit.stdout
    assert start(["-m", "assay", "run", "export", run, "--out", model], folder, "cpu").returncode == 0
    key = audit.stdout.split("--trust ")[1].split()[0]
    verified = start(["-m", "assay", "verify", certificate, model, "--trust", key], folder, "cpu")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return resumed


def test_a_run_on_a_device_is_recorded_resumed_audited_and_certified(tmp_path):
    """It has the bits of the loop without Assay; a machine without the device abstains and finds nothing (PLN-18)."""
    plain = run_script("-", tmp_path, "pretend")
    told = tell_story(tmp_path, "pretend")
    assert told["state"] == plain["state"]
    assert told["losses"] == plain["losses"][-len(told["losses"]) :]
    assert plain == run_script("-", tmp_path, "cpu")  # the pretend device computes as the CPU does
    elsewhere = start(["-m", "assay", "run", "audit", tmp_path / "run", "--workers", "1", "--json"], tmp_path, "cpu")
    assert elsewhere.returncode == 3
    assert "this machine has no pretend device" in elsewhere.stdout + elsewhere.stderr


def test_a_transformer_that_draws_is_recorded_resumed_audited_and_certified(tmp_path):
    """Start and dropout come from the seed; killed and resumed or not, the run ends in the same state."""
    options = ("model=transformer", "dropout=0.1", "start=init", "move=outside")
    told = tell_story(tmp_path, "pretend", *options)
    assert told["state"] == run_script(tmp_path / "other", tmp_path, "pretend", *options)["state"]


DOCTORED = """
import assay, torch
device = torch.device("pretend")
run = assay.start("run", seed=1)
with run.init():
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Dropout(0.1)).to(device)
optimizer = torch.optim.AdamW(net.parameters())
data = torch.utils.data.TensorDataset(torch.arange(120.0).reshape(20, 6), torch.arange(20) % 4)
loader = run.loader(data, batch_size=4)
@run.step(models=[net], optimizers=[optimizer])
def train_step(x, y):
    loss = torch.nn.functional.cross_entropy(net(x.to(device)), y.to(device))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss
for epoch in run.epochs(10):
    for batch in loader:
        train_step(*batch)
run.finish()
"""


def test_doctor_and_estimate_try_scripts_on_a_device(tmp_path):
    """The one finds a script reproducible, resume-safe and replayable, the other says what it costs."""
    (tmp_path / "train.py").write_text(DOCTORED)
    doctor = start(["-m", "assay", "doctor", tmp_path / "train.py"], tmp_path, "pretend")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert [line.split()[1] for line in doctor.stdout.splitlines()[:3]] == ["yes", "yes", "yes"]
    estimate = start(["-m", "assay", "estimate", tmp_path / "train.py"], tmp_path, "pretend")
    assert estimate.returncode == 0, estimate.stdout + estimate.stderr
    assert "without Assay" in estimate.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process with the pretend device says of many scripts."""
    folder = tmp_path_factory.mktemp("cases")
    done = start([HERE / "device_cases.py", folder], folder, "pretend")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", ["Case", "MovedOutside", "Pictures", "Draws", "Edited", "Adam"])
def test_usual_scripts_are_recorded_and_replayed(found, case):
    """State and results stay on the device, and a replay of all ten steps gives the same bits."""
    assert found[case].get("replayed") == 10, found[case]
    assert found[case]["places"] == found[case]["state"] == ["pretend:0"]


def test_where_the_batch_is_moved_makes_no_difference(found):
    """Before the step or in it: the same losses, which are those of the CPU here."""
    assert found["MovedOutside"]["losses"] == found["Case"]["losses"] == found["OnTheCpu"]["losses"]


def test_microbatches_may_be_moved(found):
    """Ten batches are five steps, each on two batches that the loop moved."""
    assert found["Microbatches"].get("replayed") == 6, found["Microbatches"]


def test_results_stay_where_the_step_left_them(found):
    """A loss that the step returns in the processor's memory lies there also when the program runs in its place."""
    assert found["ResultElsewhere"]["places"] == ["cpu"]
    assert found["ResultElsewhere"]["losses"] == found["Case"]["losses"]


def test_a_run_on_the_cpu_after_others_is_one_on_the_cpu(found):
    """The device of a run is that of its own models."""
    assert found["OnTheCpu"]["places"] == found["OnTheCpu"]["state"] == ["cpu"]
    assert found["OnTheCpu"]["replayed"] == 10


REFUSED = {
    "ChangedOutside": ("run.batch-changed", "was not given the batch"),
    "ComputedBefore": ("capture.device", "computes on cpu, and the run is on pretend:0 (aten.exp.default)"),
    "TouchedOutside": ("state.changed-outside", "through .data"),
    "TwoDevices": ("capture.device", "several devices"),
    "SkewedLists": ("capture.device", "aten._foreach_addcdiv_.ScalarList gives other bits"),
    "Unrepeatable": ("capture.refused", "not repeatable on this device (aten.cumsum.default)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_not_be_right_on_a_device_is_refused(found, case):
    """By code, with the line of the user's script where there is one."""
    code, text = REFUSED[case]
    assert found[case].get("code") == code, found[case]
    assert text in found[case]["text"]
    if case in ("ComputedBefore", "Unrepeatable"):
        assert "device_cases.py:" in found[case]["text"]


# -- without any device -----------------------------------------------------------------------------------------------


def make_device_profile(**settings):
    """Return a profile as a machine with a device might have made it."""
    profile = profiles.build_profile()
    names = {setting.name: setting.value for setting in profile.settings}
    names |= {"device": "cuda", "device.name": "Somebody's", "env.CUBLAS_WORKSPACE_CONFIG": ":4096:8", **settings}
    return msgspec.structs.replace(profile, settings=tuple(Setting(name, names[name]) for name in sorted(names)))


def test_a_machine_without_the_device_abstains(monkeypatch):
    """It says so, finds nothing, and goes on computing on the CPU (PLN-18)."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "mps", "no device at all"):
        with pytest.raises(profiles.ProfileMismatch, match=f"no {device} device") as caught:
            profiles.apply_profile(make_device_profile(device=device))
        assert isinstance(caught.value, Unproven)
        assert "Somebody's" in caught.value.expected
        assert devices.get_device() == devices.CPU


def test_the_environment_of_a_device_is_part_of_its_profiles_alone():
    """Variables of CUDA's libraries are set for a worker as recorded, and left alone for a run on the CPU (PLN-19)."""
    base = {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "NVIDIA_TF32_OVERRIDE": "1"}
    environment = environments.environment_for(make_device_profile(), base)
    assert environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "NVIDIA_TF32_OVERRIDE" not in environment
    assert environments.environment_for(profiles.build_profile(), base).items() >= base.items()


def test_a_profile_of_the_cpu_is_what_it_was():
    """It has none of the settings of a device, whatever PyTorch was built for (PLN-19)."""
    names = {setting.name for setting in profiles.build_profile().settings}
    assert not {name for name in names if name.startswith(("device.", "cu", "attention."))}
    assert not names & {f"env.{name}" for name in environments.DEVICE_VARIABLES}


@pytest.mark.parametrize("value", ["()", "(True, True, True, True)", "True, x", "", "yes"])
def test_a_strangers_flag_of_another_form_is_left_alone(value):
    """A profile may hold any text; what is no value of a flag is for the comparison to name (PLN-19)."""
    before = device_profile.get_flags()
    device_profile.apply_flags(dict.fromkeys(before, value))
    assert device_profile.get_flags() == before


@pytest.mark.parametrize("kind", ["mps", "nn", "cuda:0", "", "meta"])
def test_a_strangers_kind_of_device_is_a_mismatch(kind):
    """Whatever a profile calls a device, this machine says that it has none (PLN-18)."""
    profile = profiles.build_profile()
    others = tuple(Setting("device", kind) if one.name == "device" else one for one in profile.settings)
    with pytest.raises(profiles.ProfileMismatch, match="this machine has no"):
        profiles.apply_profile(msgspec.structs.replace(profile, settings=others))
    assert devices.get_device() == devices.CPU


def test_flags_of_a_device_are_set_and_read():
    """Every flag that a profile names can be put back; values of another form change nothing (PLN-19)."""
    before = device_profile.get_flags()
    try:
        other = {
            "True": "False",
            "False": "True",
            "(True, True)": "(False, True)",
            "tf32": "ieee",
            "none": "ieee",
            "ieee": "tf32",
        }
        changed = {name: other[value] for name, value in before.items()}
        device_profile.apply_flags(changed)
        assert device_profile.get_flags() == changed
        device_profile.apply_flags(dict.fromkeys(before, "perhaps"))
        assert device_profile.get_flags() == changed
    finally:
        device_profile.apply_flags(before)
    assert device_profile.get_flags() == before


def test_a_recording_fixes_only_flags_that_are_recorded():
    """What is set for a recording on CUDA is among the settings that are compared (PLN-19)."""
    known = {*device_profile.get_flags(), "deterministic"}
    assert known >= device_profile.KINDS["cuda"].fixed.keys()


@pytest.mark.parametrize(("value", "is_refused"), [(":4096:8", False), (":16:8", False), (":0:0", True), (None, True)])
def test_cublas_has_to_be_repeatable_from_the_start(monkeypatch, value, is_refused):
    """The variable is read once, when a process starts; without it a recording on CUDA is refused with the cure."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", value)
    if not is_refused:
        device_profile.KINDS["cuda"].verify()
        return
    with pytest.raises(devices.DeviceRefused) as caught:
        device_profile.KINDS["cuda"].verify()
    assert "CUBLAS_WORKSPACE_CONFIG=:4096:8" in caught.value.next_step


def test_a_kind_of_device_that_nobody_described_is_refused():
    """What decides the bits there is not known, so that nothing could be compared."""
    with pytest.raises(devices.DeviceRefused, match="not recorded on xpu"):
        profiles.build_profile(device=torch.device("xpu", 0))


def test_an_observed_loop_names_its_device():
    """What decides the bits there need not be known, since nobody recomputes it; its kind is written down."""
    settings = profiles.read_profile(profiles.describe_profile(torch.device("xpu", 0)))
    assert settings["device"] == "xpu"
    assert profiles.describe_profile(devices.CPU) == profiles.build_profile(threads=torch.get_num_threads())


def test_libraries_are_found_by_their_packages():
    """NumPy stands for a library that is installed as a package."""
    assert device_profile.find_package("numpy").startswith("numpy ")
    assert device_profile.find_package("no such package") == "unknown"


def record(make, *tensors):
    """Return the tape of a function, on fake tensors of any device."""
    recorder = Recorder((1, 2), list(tensors), may_read=True)
    with recorder:
        make()
    return recorder.tape


EXACT = {
    "a move": lambda x: x.to("cuda"),
    "a view and a move": lambda x: x.t()[1:].reshape(-1).to("cuda"),
    "bytes that become numbers": lambda _: torch.zeros(3, dtype=torch.uint8).to("cuda", torch.float32),
    "a number that is filled in": lambda x: torch.where(x.to("cuda") > 0, x.to("cuda"), 0.5),
    "a copy into memory of the device": lambda x: torch.zeros(3, 3, device="cuda").copy_(x),
    "a result that goes back": lambda x: (x.to("cuda") * 2).cpu(),
}
INEXACT = {
    "arithmetic before a move": lambda x: (x * 2).to("cuda"),
    "a function before a move": lambda x: x.exp().to("cuda"),
    "a range": lambda x: torch.linspace(0, 1, 3).to("cuda") + x.to("cuda"),
    "a conversion that rounds": lambda x: x.to("cuda", torch.bfloat16),
    "a product with a tensor of no dimensions": lambda x: x.to("cuda") * torch.ones(()),
    "a result that is used again": lambda x: (x.to("cuda") * 2).cpu() + 1,
}


@pytest.mark.parametrize("case", [*EXACT, *INEXACT])
def test_what_may_be_done_in_the_processors_memory(case):
    """What has the same bits on every device, and nothing else; fake tensors stand for those of a device."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.ones(3, 3)
        tape = record(lambda: (EXACT | INEXACT)[case](x), x)
        if case in EXACT:
            device_rules.verify_devices(tape, tape.calls, torch.device("cuda", 0))
            return
        with pytest.raises(devices.DeviceRefused, match="computes on cpu") as caught:
            device_rules.verify_devices(tape, tape.calls, torch.device("cuda", 0))
        assert "test_devices.py" in str(caught.value)


def test_operators_that_only_a_device_has_are_refused_with_a_cure():
    """Batch norm by cuDNN has another form that is in the list."""
    assert "cudnn.enabled = False" in device_rules.get_cure("cudnn_batch_norm")
    assert device_rules.get_cure("add") is None


def test_an_error_of_torch_about_repeatability_is_a_refusal_with_its_line():
    """Others are passed on."""
    refused_calls.refuse_unrepeatable(aten.exp.default, RuntimeError("out of memory"), "train.py:1")
    error = RuntimeError("histc_cuda does not have a deterministic implementation, but you set ...\nmore")
    with pytest.raises(CaptureRefused, match=r"train\.py:7") as caught:
        refused_calls.refuse_unrepeatable(aten.histc.default, error, "train.py:7")
    assert "histc_cuda" in caught.value.actual


def test_the_dropout_of_devices_has_a_counter_based_form():
    """Values, mask and gradient of `native_dropout` are those of its definition, with the draws of `bernoulli`."""
    x = torch.linspace(-1.0, 1.0, 1000, requires_grad=True)
    with Recorder((5, 6), [x]) as recorder:
        kept, mask = torch.native_dropout(x, 0.25, train=True)
        kept.sum().backward()
    with draws.use_key((5, 6)):
        drawn = draws.bernoulli([1000], draws.compute_threshold(0.75), 0)
    assert torch.equal(mask, drawn.bool())
    assert torch.equal(kept, x.detach() * drawn * (1 / 0.75))
    assert torch.equal(x.grad, drawn * (1 / 0.75))
    assert {call.operator.namespace for call in recorder.tape.calls} == {"aten", "assay"}
    assert not [call for call in recorder.tape.calls if "native_dropout" in call.operator._opname]


# -- with a GPU -------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("options", [("foreach=0",), ("model=transformer", "foreach=0", "move=outside")])
def test_a_run_on_cuda_has_the_bits_of_the_loop_without_assay(tmp_path, options):
    """Recorded, killed, resumed, audited, certified and verified; nobody who wrote this has run it."""
    plain = run_script("-", tmp_path, "cuda", *options)
    told = tell_story(tmp_path, "cuda", *options)
    assert told["state"] == plain["state"]
    assert told["losses"] == plain["losses"][-len(told["losses"]) :]


@pytest.mark.gpu
@pytest.mark.parametrize("options", [("start=init", "dropout=0.2"), ("model=transformer", "dropout=0.1", "start=init")])
def test_draws_on_cuda_are_replayed(tmp_path, options):
    """Start and dropout come from the seed, and the audit recomputes them on the device."""
    tell_story(tmp_path, "cuda", "foreach=0", *options)
