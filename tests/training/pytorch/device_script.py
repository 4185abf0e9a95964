"""A user's script that trains on another device than the CPU, as another process runs it; prints what came out.

Arguments: the folder of the run or `-` (the same loop without Assay), then `name=value`: device=NAME, model=NAME,
kill=STEP, move=outside|inside, start=init|declared, dropout=P, optimizer=NAME, foreach=0|1.
"""

import hashlib
import json
import os
import signal
import sys

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import assay

torch.backends.mha.set_fastpath_enabled(value=False)  # evaluation by operators of the closed list

SAMPLES, BATCH, EPOCHS = 40, 8, 3


class Words(nn.Module):
    """A transformer over short texts."""

    def __init__(self, dropout):
        super().__init__()
        self.embed = nn.Embedding(17, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=dropout, batch_first=True)
        self.out = nn.Linear(16, 3)
        self.register_buffer("places", torch.linspace(-1.0, 1.0, 6 * 16).reshape(6, 16))

    def forward(self, x):
        """From words (batch, 6) to classes (batch, 3)."""
        return self.out(self.layer(self.embed(x) + self.places).mean(1))


def make_net(options):
    """Return the model that was asked for."""
    dropout = float(options.get("dropout", 0))
    if options.get("model") == "transformer":
        return Words(dropout)
    norm = [nn.BatchNorm2d(6)] if options.get("model") == "norm" else []
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), *norm, nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU(), nn.Dropout(dropout),
        nn.Flatten(), nn.Linear(54, 3),
    )  # fmt: skip


def make_data(options):
    """Return samples with a class that can be learnt."""
    generator = torch.Generator().manual_seed(0)
    if options.get("model") == "transformer":
        x = torch.randint(17, (SAMPLES, 6), generator=generator)
        return TensorDataset(x, x.sum(1) % 3)
    x = torch.randn(SAMPLES, 1, 8, 8, generator=generator)
    return TensorDataset(x, x[:, 0, 0].argmax(-1) % 3)


def make_optimizer(net, options):
    """Return the optimizer that was asked for."""
    kind = {"adam": torch.optim.AdamW, "sgd": torch.optim.SGD}[options.get("optimizer", "adam")]
    extra = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    if "foreach" in options:
        extra["foreach"] = bool(int(options["foreach"]))
    if "fused" in options:
        extra["fused"] = True
    return kind(net.parameters(), lr=0.01, **extra)


def update(net, optimizer, x, y):
    """One step: forward, backward, clip, update."""
    loss = functional.cross_entropy(net(x), y)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def describe(net, losses):
    """Return what came out, for a comparison bit by bit."""
    state = b"".join(value.detach().cpu().contiguous().numpy().tobytes() for value in net.state_dict().values())
    return {"state": hashlib.sha256(state).hexdigest(), "losses": [float(loss).hex() for loss in losses]}


def train_alone(options, device):
    """The loop without Assay, under the flags of a recording."""
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.backends.cuda.enable_flash_sdp(enabled=False)
    torch.backends.cuda.enable_mem_efficient_sdp(enabled=False)
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    torch.manual_seed(0)
    net = make_net(options).to(device)
    optimizer = make_optimizer(net, options)
    losses = []
    loader = torch.utils.data.DataLoader(make_data(options), batch_size=BATCH)
    for _ in range(EPOCHS):
        losses += [update(net, optimizer, x.to(device), y.to(device)).detach() for x, y in loader]
    return describe(net, losses)


def record(path, options, device):
    """The same loop, recorded; goes on where it was killed."""
    run = assay.start(path, seed=3, checkpoint_every=4, root_period=1)
    torch.manual_seed(0)
    if options.get("start") == "init":
        with run.init():
            net = make_net(options).to(device)
    else:
        net = make_net(options).to(device)
    optimizer = make_optimizer(net, options)
    loader = run.loader(make_data(options), batch_size=BATCH, shuffle=False)
    losses = []

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(x, y):
        return update(net, optimizer, x.to(device), y.to(device))

    for _ in run.epochs(EPOCHS):
        for x, y in loader:
            batch = (x.to(device), y.to(device)) if options.get("move") == "outside" else (x, y)
            losses.append(train_step(*batch))
            assert losses[-1].device.type == device.type
            if run.step_number == int(options.get("kill", 0)):
                run.sync()
                os.kill(os.getpid(), signal.SIGKILL)
    found = run.evaluate(net, make_data(options), metrics=["accuracy"], batch_size=16)
    run.finish()
    return describe(net, losses) | {"accuracy": found["accuracy"]}


def main():
    """Carry out the order."""
    path, *changes = sys.argv[1:]
    options = dict(change.split("=") for change in changes)
    device = torch.device(options["device"], 0)
    done = train_alone(options, device) if path == "-" else record(path, options, device)
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main()
