"""A user's script as another process runs it: records, is killed or interrupted where asked, prints the roots.

Each line of the input is one order: the file for the output, the seconds after which it is killed or 0, the run, then
`name=value` changes: kill=STEP, sync=1 (before the kill), interrupt=STEP, batch=N, seed=N, width=N, data=N,
optimizer=NAME, body=NAME, epochs=N, schedule=0, start=declared, every=N. Each order is carried out by a fork of this
process, so that torch is imported once; the answer is a line with the exit status.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import assay
from assay.training.pytorch.initialiser import InitialiserTape

SAMPLES = 42


def make_data(change):
    """Real numbers in two classes; `change` alters one sample."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, 6, generator=generator)
    x[change] += 1.0 if change else 0.0
    return TensorDataset(x, (x[:, 0] > 0).long())


def make_net(width):
    """Batch norm and dropout, so that buffers and draws must come back."""
    return nn.Sequential(
        nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 2)
    )  # fmt: skip


def disturb(run, options):
    """Kill or interrupt the process after a step, where asked."""
    if run.step_number == int(options.get("kill", 0)):
        if options.get("sync"):
            run.sync()
        os.kill(os.getpid(), signal.SIGKILL)
    if run.step_number == int(options.get("interrupt", 0)):
        os.kill(os.getpid(), signal.SIGINT)


def main(path, options):
    """Record, or go on."""
    seed, every = int(options.get("seed", 3)), int(options.get("every", 4))
    run = assay.start(path, seed=seed, checkpoint_every=every, root_period=1)
    width, smooth = int(options.get("width", 8)), options.get("body") == "smooth"
    if options.get("start") == "declared":
        net = make_net(width)  # other weights in every process
    else:
        with run.init():
            net = make_net(width)
    if options.get("optimizer") == "adam":
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = None
    if options.get("schedule") != "0":
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=40)
    per_epoch = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    loader = run.loader(make_data(int(options.get("data", 0))), batch_size=int(options.get("batch", 7)))

    @run.step(models=[net], optimizers=[optimizer])
    def step(batch):
        smoothing = 0.1 if smooth else 0.0
        loss = functional.cross_entropy(net(batch[0]), batch[1], label_smoothing=smoothing)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for epoch in run.epochs(int(options.get("epochs", 3))):
        net.train()
        for batch in loader:
            step(batch)
            if schedule is not None:
                schedule.step()
            disturb(run, options)
        per_epoch.step()
        run.log(epoch=epoch)
    run.evaluate(net, make_data(0), metrics=["accuracy"], batch_size=16)
    closing = run.finish()
    print(closing.transcript.root.hex(), closing.final_state.hex(), closing.model_root.hex())  # noqa: T201


def carry_out(words):
    """Run the script in this process, its output in a file; return its exit status."""
    output, _, path, *changes = words
    sys.stdout = Path(output).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115 - until the process ends
    try:
        main(path, dict(change.split("=") for change in changes))
    except KeyboardInterrupt:
        return 130
    except assay.AssayError as error:
        print(type(error).code, error)  # noqa: T201
        return 4
    return 0


def serve():
    """Carry out orders, each in a fork."""
    torch.set_num_threads(1)
    tape = InitialiserTape(bytes(32))
    with tape:
        net = make_net(8)
    tape.build([net])  # what torch imports late is imported once; a process that has run backward cannot fork
    for line in sys.stdin:
        words = line.split()
        child = os.fork()
        if not child:
            sys.exit(carry_out(words))
        if float(words[1]):
            threading.Timer(float(words[1]), os.kill, (child, signal.SIGKILL)).start()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
