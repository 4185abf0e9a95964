"""`assay run`: what it prints, what it returns, what survives Ctrl-C and kills, and what it needs installed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256

import pytest

from assay.cli.__main__ import main
from assay.cli.run import SizeRefused, parse_size
from tests.verification import runs

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from assay.cli.__main__ import main
code = main(sys.argv[1:])
assert not [name for name in sys.modules if name.startswith("torch.")]
sys.exit(code)
"""


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """The folder of a finished run of 12 intervals."""
    path = tmp_path_factory.mktemp("cli") / "digits"
    runs.record_apart(path, ASSAY_HOME=str(tmp_path_factory.mktemp("recorder")))
    return path


@pytest.fixture
def run(honest, tmp_path):
    """A copy of the honest run that a test may change."""
    return runs.copy(honest, tmp_path / "runs" / "digits")


def call(*words, **options):
    """Start `assay run` as a process."""
    command = [sys.executable, "-m", "assay", "run", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def read_json(capsys):
    """Return the object that was printed."""
    return json.loads(capsys.readouterr().out)


def test_list_shows_finished_and_damaged_runs(run, capsys, monkeypatch):
    """Level, steps, state and size; a run that cannot be read is listed with why; without a folder, `runs`."""
    shutil.copytree(run, run.parent / "deep" / "broken")
    (run.parent / "deep" / "broken" / "plan.bin").write_bytes(b"no plan")
    monkeypatch.chdir(run.parent.parent)
    assert main(["run", "list", "--json"]) == 0
    broken, whole = read_json(capsys)["runs"]
    assert (whole["path"], whole["level"], whole["steps"], whole["finished"]) == ("runs/digits", "replayable", 48, True)
    assert whole["bytes"] > 10_000
    assert "evidence.malformed" in broken["problem"] or "encoding" in broken["problem"]
    assert main(["run", "list", "runs"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3
    assert "48 of 48" in shown[2]
    assert "finished" in shown[2]


def test_list_of_nothing(tmp_path, monkeypatch, capsys):
    """No folder `runs` is no error; a named folder that is not there is."""
    monkeypatch.chdir(tmp_path)
    assert main(["run", "list"]) == 0
    assert "no run below runs" in capsys.readouterr().out
    assert main(["run", "list", "elsewhere"]) == 2
    assert "elsewhere is not a folder" in capsys.readouterr().err


def test_show_begins_with_the_level(run, capsys):
    """The first word is the level of evidence; plan, data, programs, metrics, disk follow; JSON says the same."""
    assert main(["run", "show", str(run)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("replayable: 48 steps in 12 intervals, finished (completed)")
    for part in ("plan", "data", "start", "roots", "profile", "programs", "rates", "stored states", "disk"):
        assert f"\n{part}\n" in shown
    assert "accuracy" in shown
    assert main(["run", "show", str(run), "--json"]) == 0
    summary = read_json(capsys)
    assert (summary["level"], summary["steps"], summary["data"]["samples"]) == ("replayable", 48, 96)
    assert [program["kind"] for program in summary["programs"]].count("initialiser") == 1
    assert sum(summary["disk"].values()) > 10_000
    assert summary["evaluations"][0]["step"] == 48


def test_verify_and_export_say_what_they_found(run, tmp_path, capsys):
    """`verify` checks the structure; `export` writes a file whose digest it prints, and replaces an older one."""
    assert main(["run", "verify", str(run), "--json"]) == 0
    assert read_json(capsys)["structure"]["intervals"] == 12
    assert main(["run", "verify", str(run)]) == 0
    assert "no step was recomputed" in capsys.readouterr().out
    out = tmp_path / "model.safetensors"
    out.write_bytes(b"older")
    assert main(["run", "export", str(run), "--out", str(out), "--json"]) == 0
    exported = read_json(capsys)
    assert exported["sha256"] == sha256(out.read_bytes()).hexdigest()
    assert exported["bytes"] == out.stat().st_size
    assert main(["run", "show", str(run), "--json"]) == 0
    assert read_json(capsys)["roots"]["model"] == exported["modelRoot"]
    assert main(["run", "export", str(run), "--out", str(tmp_path / "none" / "model")]) == 3


@pytest.mark.parametrize("verb", ["show", "verify", "audit", "report", "export"])
def test_what_is_no_run_is_wrong_usage(verb, tmp_path, capsys):
    """Each verb says that the folder holds no run."""
    assert main(["run", verb, str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.parametrize("words", [
    "--workers 0", "--workers x", "--sample 0", "--sample 13", "--memory much", "--time-limit 0", "--time-limit nan",
    "--key nobody", "--out none/at/all", "--nope",
])  # fmt: skip
def test_arguments_that_cannot_be_are_refused_at_once(run, words, capsys):
    """Wrong numbers, an unknown key, a file in no folder: exit 2, before anything is recomputed."""
    assert main(["run", "audit", str(run), *words.split()]) == 2
    assert capsys.readouterr().err.startswith("assay: ")


def test_sizes():
    """Powers of 1024, or a number of bytes; nothing else."""
    assert [parse_size(text) for text in ("0", "17", "2k", "3M", "4G", "1t")] == [
        0,
        17,
        2048,
        3 << 20,
        4 << 30,
        1 << 40,
    ]
    for text in ("", "M", "-1", "1.5G", "1GB", "1e3", "9" * 20, "²"):
        with pytest.raises(SizeRefused):
            parse_size(text)


def test_audit_writes_a_certificate_that_verifies(run, tmp_path, capsys):
    """One object says what matches and what the check can miss; the certificate holds for whoever trusts the key."""
    out = tmp_path / "digits.assay.json"
    assert main(["key", "new", "mine"]) == 0
    capsys.readouterr()
    words = ["run", "audit", str(run), "--key", "mine", "--sample", "4", "--workers", "1", "--out", str(out), "--json"]
    assert main(words) == 0
    said = read_json(capsys)
    report = said["report"]
    assert (report["matching"], report["sampled"], report["intervals"], report["others"]) == (4, 4, 12, [])
    assert report["missOne"] == "8/11"
    assert said["certificate"] == str(out)
    assert next((run / "audit").glob("*.assay.json")).read_bytes() == out.read_bytes()
    model = tmp_path / "digits.safetensors"
    assert main(["run", "export", str(run), "--out", str(model)]) == 0
    assert main(["verify", str(out), str(model), "--trust", report["auditor"]]) == 0
    assert main(["verify", str(out), str(model)]) == 3
    capsys.readouterr()
    assert main(["run", "show", str(run)]) == 0
    assert "4-of-12.assay.json" in capsys.readouterr().out


def test_a_false_run_exits_with_one_and_is_certified(run, tmp_path, capsys):
    """What differs is printed with its cause; the certificate that says so is written, and refutes."""
    from assay.training.pytorch.backend import TorchBackend
    from assay.training.recorded import RecordedRun
    from assay.verification.forgery import forge, interpolate

    opened = RecordedRun(run)
    first, last = opened.get_interval(6)
    forged = tmp_path / "forged"
    skipped = frozenset(range(first + 1, last + 1))
    forge(run, forged, TorchBackend(opened.start.aliases), edit=interpolate(first, last, 1.01), skip=skipped)
    assert main(["run", "verify", str(forged)]) == 0
    out = tmp_path / "forged.assay.json"
    assert main(["run", "audit", str(forged), "--out", str(out), "--workers", "1"]) == 1
    shown = capsys.readouterr()
    assert "11 of 12 intervals match bit for bit · not all match" in shown.out
    assert "interval 6 (steps 25 to 28): differs" in shown.out
    assert "likely cause: the state was replaced or edited" in shown.out
    assert "ULP" in shown.out
    assert "what was recomputed is not what the run claims" in shown.err
    key = shown.out.split("signed by ")[-1].split()[0]
    assert main(["verify", str(out), "--trust", key]) == 1


@pytest.mark.parametrize("limit", [("--memory", "1"), ("--time-limit", "0.05")])
def test_a_machine_that_is_too_small_finds_nothing(run, limit, capsys):
    """Workers without memory or time: exit 3, the reason, and no certificate."""
    assert main(["run", "audit", str(run), "--workers", "1", "--json", *limit]) == 3
    said = read_json(capsys)
    assert said["error"] == "audit.cannot-judge"
    assert list((run / "audit").glob("*.assay.json")) == []
    assert runs.find_workers(run) == []


def test_known_answers_of_another_machine_exit_with_three(run, capsys):
    """A run that is signed rightly and was recorded where programs give other bits is not refuted here."""
    runs.change_closing(run, runs.change_answers)
    assert main(["run", "audit", str(run), "--workers", "1", "--json"]) == 3
    said = read_json(capsys)
    assert said["error"] == "audit.cannot-judge"
    assert "this machine cannot judge this profile" in said["message"]


def wait_for_findings(home, least):
    """Wait until an audit has kept some findings."""
    for _ in range(1200):
        files = list((home / "audits").glob("*.jsonl")) if (home / "audits").exists() else []
        if files and files[0].read_bytes().count(b"\n") > least:
            return
        time.sleep(0.05)
    raise AssertionError("the audit found nothing in a minute")


def wait_until_gone(run):
    """Wait until no worker of a run is left."""
    for _ in range(100):
        if not runs.find_workers(run):
            return
        time.sleep(0.1)
    raise AssertionError("workers outlived the audit")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_audit_goes_on(run, home, ending, capsys):
    """Ctrl-C or a kill in the middle: no worker is left, what was found is kept, the next call completes it."""
    slow = run.parent / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW)  # workers that take their time
    process = call(
        "audit", run, "--workers", "2", env=os.environ | {"PYTHONPATH": os.pathsep.join([str(slow), *sys.path])}
    )
    wait_for_findings(home, 4)
    assert runs.find_workers(run)
    process.send_signal(ending)
    _, said = process.communicate(timeout=60)
    wait_until_gone(run)
    if ending == signal.SIGINT:
        assert process.returncode == 3
        assert "goes on where it stopped" in said
    assert list((run / "audit").glob("*.assay.json")) == []
    assert main(["run", "audit", str(run), "--json"]) == 0
    report = read_json(capsys)["report"]
    assert report["resumed"] >= 3
    assert report["matching"] == 12
    assert list((home / "audits").glob("*.jsonl")) == []


SLOW = """
import sys, time
if "assay.verification.worker" in sys.orig_argv:
    import msgspec.json
    decode = msgspec.json.decode
    def decode_late(*arguments, **options):
        time.sleep(1.0)
        return decode(*arguments, **options)
    msgspec.json.decode = decode_late
"""


@pytest.mark.parametrize("verb", ["list", "show", "verify", "export"])
def test_all_but_audit_run_without_torch(run, verb, tmp_path):
    """Reading, checking and exporting a run need the base install only."""
    words = ["run", verb, str(run), *(["--out", str(tmp_path / "model")] if verb == "export" else [])]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_audit_without_torch_says_what_to_install(run):
    """It computes, and says what it needs."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "run", "audit", str(run)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'assay[torch]'" in done.stderr
