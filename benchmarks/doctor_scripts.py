"""Training scripts with planted blockers, and clean ones, as text.

A line that a blocker must name ends in `#! code`; several codes are separated by commas.
"""

from __future__ import annotations

import re

MARK = re.compile(r"#! ([a-z., -]+)$")

_HEAD = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
"""

_MODEL = """
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
"""

_DATA = """
inputs = torch.arange(512, dtype=torch.float32).reshape(64, 8) / 512
labels = torch.arange(64) % 2
"""

_LOOP = """
for epoch in range(2):
    for batch, target in loader:
        loss = nn.functional.cross_entropy(net(batch), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
"""

_SAMPLES = """
class Samples:
    def __init__(self, noisy=False):
        self.noisy = noisy

    def __len__(self):
        return 64

    def __getitem__(self, index):
        value = torch.arange(8, dtype=torch.float32) + index
        {noise}
        return value / 64, index % 2
"""

_RUN = """
import assay

run = assay.start("runs/example", seed=0)
with run.init():
    net = {net}
optimizer = {optimizer}
loader = run.loader({data}, batch_size=8){mark}
{before}

@run.step(models=[net], optimizers=[optimizer])
def train_step(batch):
    loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
    {inside}
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


for epoch in run.epochs(3):
    for batch in loader:
        {earlier}
        train_step(batch){step_mark}
        {each}
run.finish()
"""


def _record(
    *,
    net: str = "nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))",
    optimizer: str = "torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)",
    data: str = "TensorDataset(inputs, labels)",
    mark: str = "",
    before: str = "",
    inside: str = "",
    earlier: str = "",
    step_mark: str = "",
    each: str = "",
    head: str = "",
) -> str:
    body = _RUN.format(
        net=net,
        optimizer=optimizer,
        data=data,
        mark=mark,
        before=before,
        inside=inside,
        earlier=earlier,
        step_mark=step_mark,
        each=each,
    )
    return _HEAD + head + _DATA + body


_RESUME = """
import os

first_epoch = 0
if os.path.exists("{name}"):
    state = torch.load("{name}", weights_only=True)
    net.load_state_dict(state["net"])
    {load}
"""

PLANTED = {
    "unseeded": _HEAD + _DATA + """
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))  #! unseeded-torch
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True)
""" + _LOOP,
    "seeded by the clock": _HEAD + "import time\n\ntorch.manual_seed(int(time.time() * 1e6))  #! seed-from-clock\n"
    + _DATA + _MODEL + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8)\n" + _LOOP,
    "draws of NumPy in the workers": _HEAD + "import numpy as np\n\ntorch.manual_seed(0)\nnp.random.seed(0)\n"
    + _SAMPLES.format(noise="value += np.random.rand() if self.noisy else 0  #! worker-draws, random-transform")
    + _MODEL + "loader = DataLoader(Samples(noisy=True), batch_size=8, num_workers=2)\n" + _LOOP,
    "unsorted files, a set and hashes": _HEAD + """
import os
from pathlib import Path

torch.manual_seed(0)
names = [name for name in os.listdir("/proc/self") if name.islower()]  #! unsorted-files
files = list(Path("/etc").glob("*.conf"))  #! unsorted-files
classes = {name: number for number, name in enumerate({"cat", "dog", "owl"})}  #! set-order
shift = hash("cat") % 7  #! hash
""" + _DATA + "inputs = inputs + shift + classes['cat']\n" + _MODEL
    + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8)\n" + _LOOP,
    "Python's generator and cuDNN's search": _HEAD + """
import random

torch.manual_seed(0)
torch.backends.cudnn.benchmark = True  #! cudnn-benchmark
""" + _DATA + """
order = list(range(64))
random.shuffle(order)  #! unseeded-python
inputs, labels = inputs[order], labels[order]
""" + _MODEL + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8)\n" + _LOOP,
    "a resume that forgets": _HEAD + "torch.manual_seed(0)\n" + _DATA + _MODEL
    + "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)\n"
    + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True)\n"
    + _RESUME.format(name="none.pt", load='first_epoch = state["epoch"]') + """
for epoch in range(2):  #! restarted-epochs
    for batch, target in loader:
        loss = nn.functional.cross_entropy(net(batch), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    scheduler.step()
    if epoch == 7:
        state = {"net": net.state_dict(), "epoch": epoch}
        torch.save(state, "x.pt")  #! lost-optimizer, lost-scheduler, lost-generators
""",
    "a value read in the recorded step": _record(
        inside="scale = 2.0 if loss.item() > 1 else 1.0  #! value-read, capture.refused\n    loss = loss * scale"
    ),
    "a random transform under Assay": _record(
        head=_SAMPLES.format(noise="value += torch.rand(8) if self.noisy else 0  #! random-transform"),
        data="Samples(noisy=True)",
        mark="  #! data.random-transform",
    ),
    "Python's generator in the recorded step": _record(
        head="import random\n\nrandom.seed(0)\n",
        inside="loss = loss * random.random()  #! foreign-draws, capture.python",
    ),
    "a schedule that is stepped before the step": _record(
        before="scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 24)",
        earlier="scheduler.step() if run.step_number else None",
        step_mark="  #! resume.differs",
    ),
    "a seed that is drawn": "import random\n" + _HEAD + """
seed = random.randint(1, 10000)  #! unseeded-python
random.seed(seed)
torch.manual_seed(seed)
""" + _DATA + _MODEL + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True)\n" + _LOOP,
    "LBFGS and a compiled model": _HEAD + "torch.manual_seed(0)\n" + _DATA + """
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
fast = torch.compile(net, backend="eager")  #! refused-part
optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1)  #! refused-part
loader = DataLoader(TensorDataset(inputs, labels), batch_size=8)


def closure():
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(inputs), labels)
    loss.backward()
    return loss


for epoch in range(8):
    for batch, target in loader:
        optimizer.step(closure)
""",
}  # fmt: skip
"""Scripts with blockers."""

CLEAN = {
    "plain": _HEAD + "torch.manual_seed(0)\n" + _DATA + _MODEL
    + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True)\n" + _LOOP,
    "plain with generators of its own": _HEAD + """
import random

import numpy as np

torch.manual_seed(1)
np.random.seed(1)
random.seed(1)
""" + _DATA + "inputs = inputs + np.random.rand() + random.random()\n" + _MODEL
    + "g = torch.Generator().manual_seed(3)\n"
    + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True, generator=g)\n" + _LOOP,
    "plain with sorted files and sets": _HEAD + """
import os
from pathlib import Path

torch.manual_seed(0)
names = sorted(os.listdir("/proc/self"))
files = list(Path("/etc").glob("*.conf"))
files.sort()
classes = {name: number for number, name in enumerate(sorted({"cat", "dog", "owl"}))}
known = {"cat", "dog"}
count = len(set(names)) if "cat" in known else 0
""" + _DATA + _MODEL + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8)\n" + _LOOP,
    "plain with a whole checkpoint": _HEAD + "torch.manual_seed(0)\n" + _DATA + _MODEL
    + "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)\n"
    + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True)\n"
    + _RESUME.format(
        name="none.pt",
        load='first_epoch = state["epoch"]\n    optimizer.load_state_dict(state["optimizer"])',
    ) + """
for epoch in range(first_epoch, 2):
    for batch, target in loader:
        loss = nn.functional.cross_entropy(net(batch), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        logged = loss.item()
    scheduler.step()
    if epoch == 7:
        state = {
            "net": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
            "epoch": epoch + 1, "rng_state": torch.get_rng_state(),
        }
        torch.save(state, "x.pt")
""",
    "plain with times that are only printed": _HEAD + """
import time

torch.manual_seed(0)
begun = time.time()
""" + _DATA + _MODEL + "loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, num_workers=0)\n" + _LOOP
    + "print(f'took {time.time() - begun:.1f} s')\n",
    "recorded": _record(),
    "recorded with AdamW and a schedule": _record(
        optimizer="torch.optim.AdamW(net.parameters(), lr=0.01)",
        before="scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 24)",
        each="scheduler.step()",
    ),
    "recorded with noise in the step": _record(
        net="nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))",
        inside="loss = loss + 0.01 * torch.rand(()) * (net[0].weight ** 2).sum()",
    ),
    "recorded with a data set of its own": _record(
        head=_SAMPLES.format(noise="value += 1 if self.noisy else 0"), data="Samples(noisy=True)"
    ),
    "recorded with clipping and a printed loss": _record(
        inside="loss = loss * 1.5", each="print(run.step_number)", head="import time\n\nbegun = time.time()\n"
    ),
}  # fmt: skip
"""Scripts without."""


def get_expected(text: str) -> set[tuple[str, int]]:
    """Return (code, line) of every blocker that a script must be told."""
    return {
        (code.strip(), number)
        for number, line in enumerate(text.splitlines(), 1)
        if (match := MARK.search(line))
        for code in match[1].split(",")
    }
