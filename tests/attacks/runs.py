"""Small honest runs, forged ones and their audits, in this process: what the stories about runs share.

An audit is carried out by the worker itself, without a process of its own; a story that is about processes starts them.
"""

import io
import shutil
from dataclasses import replace
from hashlib import sha256

import msgspec
import torch
from sklearn.datasets import load_iris
from torch import nn
from torch.utils.data import TensorDataset

import assay
from assay.certificate.dsse import open_envelope
from assay.certificate.policy import TrustPolicy
from assay.certificate.statement import decode_statement
from assay.certificate.verify import verify_certificate
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.plan import ClosingRecord, compute_profile_id
from assay.protocol.evidence.transcript import StepParts
from assay.protocol.signatures import get_public_key
from assay.storage.run_directory import RunDirectory
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.profile import apply_profile
from assay.training.recorded import RecordedRun
from assay.training.recorder import RunRecorder, StepResult
from assay.training.replay import Replayer
from assay.training.signing import sign_closing
from assay.verification.audit import Audit, choose_intervals, list_tasks
from assay.verification.certify import certify, export_model, read_final
from assay.verification.forgery import _copy_inputs as copy_inputs
from assay.verification.forgery import forge
from assay.verification.worker import Worker

AUDITOR = sha256(b"auditor of the stories").digest()
TRUSTING = TrustPolicy({get_public_key(AUDITOR): "auditor"})
STEPS, INTERVAL, BATCH = 40, 4, 15
"""The honest run: 4 epochs of 10 batches of 15 flowers, in 10 intervals of 4 steps."""


def load_flowers():
    """Return scikit-learn's 150 flowers: four lengths, one of three classes."""
    flowers = load_iris()
    return torch.tensor(flowers.data, dtype=torch.float32), torch.tensor(flowers.target)


def make_net():
    """Return a small classifier with batch norm, so that there are parameters, buffers and a counter."""
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def record(path, *, net=None, rate=0.05, seed=1, data=None, epochs=4, body=None, each=None, between=None, **options):
    """Record a run with momentum; return (net, closing record).

    Args:
        path: its folder.
        net: a module whose start is then merely declared; None: made under `run.init()`.
        rate: of all steps, or a function from the step to its rate.
        seed: of the run.
        data: (inputs, targets); None: the flowers.
        epochs: how many.
        body: from (net, optimizer, batch) to the loss; None: the usual step.
        each: called with (net, optimizer, step) before each step.
        between: called with (run, net, step) before each step.
        options: of `assay.start`.
    """
    inputs, targets = data or load_flowers()
    run = assay.start(path, seed=seed, checkpoint_every=options.pop("checkpoint_every", INTERVAL), **options)
    if net is None:
        with run.init():
            net = make_net()
    rates = rate if callable(rate) else lambda step: rate
    optimizer = torch.optim.SGD(net.parameters(), lr=rates(1), momentum=0.9)
    loader = run.loader(TensorDataset(inputs, targets), batch_size=BATCH)

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch):
        if body is not None:
            return body(net, optimizer, batch)
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    try:
        for _ in run.epochs(epochs):
            net.train()
            for batch in loader:
                optimizer.param_groups[0]["lr"] = rates(run.step_number + 1)
                if each is not None:
                    each(net, optimizer, run.step_number + 1)
                if between is not None:
                    between(run, net, run.step_number + 1)
                train_step(batch)
        run.evaluate(net, TensorDataset(inputs, targets), metrics=["accuracy"])
        return net, run.finish()
    finally:
        run.close()


def audit(path, *, sample=None, randomness=bytes(32)):
    """Audit a run in this process."""
    worker = Worker(str(path))
    ready = worker.check_machine()
    assert ready.ready, ready.reason
    selection = choose_intervals(worker.run.intervals, sample, randomness)
    tasks = list_tasks(worker.run, selection)
    return Audit(worker.run, selection, {(task.kind, task.index): worker.carry_out(task) for task in tasks})


def find_differing(found):
    """Return what differs, as "start", "evaluation 0" or the number of an interval; nothing may have failed."""
    assert not found.failed, found.failed
    return [a.index if a.kind == "interval" else f"{a.kind} {a.index}" for a in found.differing]


def find_parts(path, index):
    """Return (first step that differs, parts of its leaf) of one interval."""
    answer = audit(path).answers["interval", index]
    return answer.step, answer.parts


def make_certificate(found):
    """Return the certificate of an audit."""
    return certify(found, AUDITOR)


def open_feed(path):
    """Return the batches of a run, found from its committed data and its seed."""
    run = RecordedRun(path)
    return Replayer(run, TorchBackend(run.start.aliases)).feed


def export(path):
    """Return the bytes of the model file of a run."""
    parts = []
    export_model(read_final(RecordedRun(path)), lambda data: parts.append(bytes(data)))
    return b"".join(parts)


def verify(found, policy=TRUSTING):
    """Return what the certificate of an audit proves to whoever trusts the auditor, with the model file of the run."""
    return verify_certificate(make_certificate(found), io.BytesIO(export(found.run.path)), policy)


def read_predicate(found):
    """Return what the certificate of an audit says."""
    return decode_statement(open_envelope(make_certificate(found))[0]).predicate


def forge_run(honest, target, **lies):
    """Forge a run from an honest one (see `forgery.forge`) and return its folder."""
    run = RecordedRun(honest)
    apply_profile(run.profile)
    forge(honest, target, TorchBackend(run.start.aliases), **lies)
    return target


def relink_under(honest, target, profile):
    """Write the rows of a run again, unchanged, under a plan that names another profile."""
    plan = msgspec.structs.replace(RecordedRun(honest).plan, profile=compute_profile_id(profile))
    return relink(honest, target, lambda step, result: result, plan=plan, profile=profile)


def relink(honest, target, change, *, plan=None, profile=None, events=None):
    """Write the rows of a run again with other claims, in a chain that fits together, and sign them.

    Args:
        honest: a finished run.
        target: the folder of the copy; states, data and programs are copied as they are.
        change: from step and `StepResult` to the claim.
        plan: in place of the honest one.
        profile: the one that `plan` names.
        events: in place of the honest ones.
    """
    source = RecordedRun(honest)
    with RunDirectory.create(target) as run:
        copy_inputs(source, run)
        if plan is not None:
            run.write_object("plan.bin", encode(plan), replace=True)
            run.write_object("profile.bin", encode(profile), replace=True)
        recorder = RunRecorder(run, plan or source.plan, source.start)
        for use in source.uses:
            program = source.read_program(use.program)
            recorder.add_program(program, first_step=use.first_step, known_answer=use.known_answer)
        recorder.events = list(source.events if events is None else events)
        for row in source.rows:
            declared = recorder.get_events_digest(row.leaf.step - 1)
            recorder.record(replace(change(row.leaf.step, to_result(row.parts, row.scalars)), events=declared))
        closing = recorder.finish(
            reason=source.closing.reason,
            final_root=lambda: source.closing.final_state,
            model_root=source.closing.model_root,
            evaluations=source.closing.evaluations,
        )
        sign_closing(run, closing, "default")
    for folder in ("checkpoints", "packs", "blobs"):
        shutil.copytree(source.path / folder, target / folder, dirs_exist_ok=True)
    return target


def to_result(parts: StepParts, row):
    """Return what a row says of its step, apart from its place in the chain."""
    return StepResult(
        parts.program, parts.membership, parts.content, row, parts.loss, parts.loss_root, parts.state_root
    )


def copy_run(path, target):
    """Copy a run, and return the copy's folder."""
    shutil.copytree(path, target)
    return target


def rewrite_closing(path, **changes):
    """Change a run's closing record in its place, and sign it again: only whoever records can."""
    with RunDirectory.open(path, write=True) as run:
        closing = msgspec.structs.replace(decode(run.read_object("closing.bin"), ClosingRecord), **changes)
        (path / "closing.bin").unlink()
        (path / "signature.bin").unlink()
        run.write_object("closing.bin", encode(closing))
        sign_closing(run, closing, "default")
    return path


def read_files(path):
    """Return the bytes of every file of a run, to see that nothing moved; findings of audits aside."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.parent.name != "audit")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
