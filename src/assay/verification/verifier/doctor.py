"""What this machine can judge, found before any stake: its profile, its speed, its memory; a run's profile by trying.

The speed is that of a worker: one step of a small transformer, recorded here and replayed by the executor.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.protocol.evidence.plan import compute_profile_id
from assay.training.profile_environment import environment_for
from assay.training.recorded import RecordedRun
from assay.verification.memory_bound import get_available
from assay.verification.pool import CannotJudge, RunRefuted
from assay.verification.worker_process import WorkerProcess

Progress = Callable[[str, int, int], None]

_PROBE = """
import json, time
import torch
from assay.protocol.encoding import encode
from assay.training.pytorch.profile import apply_profile, build_profile, tune_allocator
tune_allocator()
found = []
for mkldnn in (True, False):
    profile = build_profile(threads=1, mkldnn=mkldnn)
    apply_profile(profile)
    found.append(encode(profile).hex())
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
batch = torch.randn(16, 64, 128)
def step():
    layer.zero_grad()
    layer(batch).square().mean().backward()
for _ in range(3):
    step()
times = []
for _ in range(10):
    begun = time.perf_counter()
    step()
    times.append(time.perf_counter() - begun)
a, b = torch.randn(512, 512), torch.randn(512, 512)
a @ b
begun = time.perf_counter()
for _ in range(10):
    a @ b
rate = 10 * 2 * 512**3 / (time.perf_counter() - begun)
print(json.dumps({"profiles": found, "step": sorted(times)[5], "rate": rate}))
"""


def examine(run: Path | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Return what this machine can judge; nothing is sent or staked.

    Args:
        run: a run whose known answers are tried; None: none.
        progress: is told what is under way.

    Raises:
        CannotJudge: torch cannot be started at all.
    """
    import msgspec

    from assay.protocol.encoding import decode
    from assay.protocol.evidence.plan import Profile

    say = progress or (lambda _what, _done, _total: None)
    say("measuring this machine", 0, 2)
    begun = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-P", "-c", _PROBE], capture_output=True, check=False, timeout=600
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise CannotJudge(
            "torch does not run here", actual=done.stderr.decode(errors="replace")[-500:], next_step="assay[torch]"
        )
    measured = msgspec.json.decode(done.stdout.splitlines()[-1])
    profiles = [decode(bytes.fromhex(text), Profile) for text in measured["profiles"]]
    say("measuring this machine", 1, 2)
    answer = None if run is None else _try_run(run)
    say("measuring this machine", 2, 2)
    return {
        "profiles": [{"id": compute_profile_id(each).hex(), "summary": _summarise(each)} for each in profiles],
        "memoryFree": get_available(),
        "startSeconds": round(seconds, 1),
        "stepMilliseconds": round(measured["step"] * 1000, 2),
        "gigaflops": round(measured["rate"] / 1e9, 1),
        "run": answer,
    }


def _summarise(profile: Any) -> str:
    settings = {setting.name: setting.value for setting in profile.settings}
    return (
        f"torch {settings['torch.version']}, {settings['cpu.capability']}, {settings['threads']} thread(s), "
        f"mkldnn {settings['mkldnn']}, numpy {settings['numpy.version']}"
    )


def _try_run(path: Path) -> dict[str, Any]:
    """Start a worker for a run: it compares the known answers of all of its programs."""
    run = RecordedRun(path)
    identity = compute_profile_id(run.profile).hex()
    try:
        worker = WorkerProcess(path, environment_for(run.profile), 0, 600.0)
        try:
            ready = worker.await_ready()
            died = worker.describe_death() if ready is None else ""
        finally:
            worker.close()
    except (CannotJudge, RunRefuted) as error:
        return {"path": str(path), "profile": identity, "canJudge": False, "answer": error.message}
    if ready is None or not ready.ready:
        reason = died if ready is None else ready.reason
        return {"path": str(path), "profile": identity, "canJudge": False, "answer": f"cannot be judged here: {reason}"}
    answer = "this machine gives the known answers of all of its programs"
    return {"path": str(path), "profile": identity, "canJudge": True, "answer": answer}
