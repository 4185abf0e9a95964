"""Low-rank adapters on a certified model: `pretrain_text.py` comes first.

The parent's certificate is verified before a weight of it is used. The start of this run is *declared*: its certificate
says that nobody proved where the weights came from, and whoever wants to know compares them with the parent's file.

Usage: python finetune_lora.py PARENT FOLDER [--tiny]
"""

import sys
from pathlib import Path

import torch
from ending import call, certify_and_report
from pretrain_text import BATCH, GPT, WIDTH, make_sets
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

import assay

RANK, STEPS = 4, 120


class Adapted(nn.Module):
    """A frozen linear layer, and a product of two thin matrices beside it that is learned."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.down, self.up = nn.Linear(WIDTH, RANK, bias=False), nn.Linear(RANK, WIDTH, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output and the adapter's."""
        return self.layer(x) + self.up(self.down(x))


def load_parent(parent: Path, letters: int) -> GPT:
    """Return the model of a run whose certificate holds for the file beside it.

    Raises:
        SystemExit: it does not.
    """
    certificate, model = parent.with_suffix(".assay.json"), parent.with_suffix(".safetensors")
    key = call("key", "show", "auditor")["keys"]["auditor"]  # yours, since you audited it; else the one you were told
    findings = call("verify", certificate, model, "--trust", key)["findings"]
    print(f"parent: {findings['level']}, {findings['recomputed']} of {findings['intervals']} intervals")
    net = GPT(letters)
    assay.load(net, model)
    return net


def main(parent: Path, folder: Path, *, tiny: bool) -> None:
    """Fine-tune on other text, or go on with what a killed process left in `folder`; then certify and report."""
    steps = 20 if tiny else STEPS
    letters, train_set, test_set = make_sets("backwards", steps * BATCH)
    torch.manual_seed(0)  # of the adapters: a declared start is stored, not made again
    net = load_parent(parent, letters)
    net.requires_grad_(requires_grad=False)
    for block in net.blocks:
        block.attention.query, block.attention.value = Adapted(block.attention.query), Adapted(block.attention.value)
    adapters = [parameter for name, parameter in net.named_parameters() if ".down." in name or ".up." in name]
    for parameter in adapters:
        parameter.requires_grad_(requires_grad=True)

    run = assay.start(folder, seed=4)
    optimizer = torch.optim.AdamW(adapters, lr=3e-3)
    loader = run.loader(train_set, batch_size=BATCH)

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch: list[torch.Tensor]) -> torch.Tensor:
        loss = F.cross_entropy(net(batch[0]).flatten(0, 1), batch[1].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for _ in run.epochs(1):
        for batch in loader:
            loss = train_step(batch)
    run.log(last_loss=loss.item(), parent=str(parent))
    print(run.evaluate(net, test_set, metrics=["perplexity"], batch_size=BATCH))
    run.finish()
    certify_and_report(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), tiny="--tiny" in sys.argv)
