"""Small runs and changed copies of them: what the tests of this folder share.

`python -m tests.verification.runs FOLDER [edited]` records one, under whatever instructions its environment chooses.
"""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import msgspec

from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.plan import ClosingRecord
from assay.protocol.signatures import get_public_key
from assay.storage.run_directory import RunDirectory
from assay.training.signing import sign_closing

ROOT = Path(__file__).resolve().parents[2]
AUDITOR = sha256(b"auditor of the tests of verification").digest()
AUDITOR_KEY = get_public_key(AUDITOR)
STEPS, LENGTH = 48, 4
INTERVALS = STEPS // LENGTH
EDITED = 26


def record(path, *, edited=False):
    """Record a small network with dropout for 48 steps in 12 intervals, and measure it on a test set.

    `edited`: its weights are halved by a declared edit in the middle of interval 6, after step 26.
    """
    import torch
    from torch import nn
    from torch.utils.data import TensorDataset

    import assay

    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(128, 20, generator=generator), torch.randint(0, 3, (128,), generator=generator)
    run = assay.start(path, seed=1, checkpoint_every=LENGTH, root_period=1)
    with run.init():
        net = nn.Sequential(nn.Linear(20, 16), nn.GELU(), nn.Dropout(0.2), nn.LayerNorm(16), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = run.loader(TensorDataset(images[:96], labels[:96]), batch_size=16)

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch):
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    done = 0
    for _ in run.epochs(STEPS // len(loader)):
        net.train()
        for batch in loader:
            train_step(batch)
            done += 1
            if edited and done == EDITED:
                with run.edit("halved"), torch.no_grad():
                    net[0].weight.mul_(0.5)
                    net[0].bias.mul_(0.5)
    run.evaluate(net, TensorDataset(images[96:], labels[96:]), metrics=["accuracy", "cross_entropy"])
    run.finish()


def record_apart(path, *words, **environment):
    """Record in a process of its own, with further words and environment variables."""
    command = [sys.executable, "-m", "tests.verification.runs", str(path), *words]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | environment)


def copy(source, target):
    """Copy a run."""
    shutil.copytree(source, target)
    return target


def change_closing(path, change, key="default"):
    """Replace the closing record by `change(closing)` and sign it again with a key of this home."""
    closing = change(decode((path / "closing.bin").read_bytes(), ClosingRecord))
    (path / "closing.bin").write_bytes(encode(closing))
    (path / "signature.bin").unlink()
    with RunDirectory.open(path, write=True) as run:
        sign_closing(run, closing, key)


def change_answers(closing):
    """Return a closing record whose programs have other known answers."""
    return msgspec.structs.replace(
        closing,
        programs=tuple(
            msgspec.structs.replace(use, known_answer=sha256(use.known_answer).digest())
            if any(use.known_answer)
            else use
            for use in closing.programs
        ),
    )


def find_workers(path):
    """Return the ids of the worker processes of a run that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if b"assay.verification.worker" in words and str(path).encode() in words:
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    record(sys.argv[1], edited="edited" in sys.argv[2:])
