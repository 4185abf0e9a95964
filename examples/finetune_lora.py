"""Low-rank adapters on a certified model: `pretrain_text.py` comes first.

`run.adopt` fills the network from the parent's model file, and the plan of this run names the parent's certificate: its
start is *certified*. The adapters are a module of their own beside the network, which stays what it is.

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


class Adapter(nn.Module):
    """A product of two thin matrices, whose output is added to that of a frozen linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(WIDTH, RANK, bias=False), nn.Linear(RANK, WIDTH, bias=False)
        nn.init.zeros_(self.up.weight)

    def adapt(self, layer: nn.Linear) -> None:
        """Stand beside a layer from now on."""
        layer.register_forward_hook(lambda _, inputs, output: output + self.up(self.down(inputs[0])))


def add_adapters(net: GPT) -> nn.ModuleList:
    """Freeze a network, and put adapters beside query and value of each block; return them."""
    net.requires_grad_(requires_grad=False)
    adapters = nn.ModuleList()
    for block in net.blocks:
        for layer in (block.attention.query, block.attention.value):
            adapters.append(Adapter())
            adapters[-1].adapt(layer)
    return adapters


def main(parent: Path, folder: Path, *, tiny: bool) -> None:
    """Fine-tune on other text, or go on with what a killed process left in `folder`; then certify and report."""
    steps = 20 if tiny else STEPS
    letters, train_set, test_set = make_sets("backwards", steps * BATCH)
    certificate, model = parent.with_suffix(".assay.json"), parent.with_suffix(".safetensors")
    key = call("key", "show", "auditor")["keys"]["auditor"]  # yours, since you audited it; else the one you were told
    findings = call("verify", certificate, model, "--trust", key)["findings"]
    print(f"parent: {findings['level']}, {findings['recomputed']} of {findings['intervals']} intervals")

    run = assay.start(folder, seed=4)
    net = GPT(letters)
    run.adopt(net, certificate=certificate, model=model)
    torch.manual_seed(0)  # of the adapters: their start is declared, so it is stored and not made again
    adapters = add_adapters(net)
    optimizer = torch.optim.AdamW(adapters.parameters(), lr=3e-3)
    loader = run.loader(train_set, batch_size=BATCH)

    @run.step(models=[net, adapters], optimizers=[optimizer])
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
    certify_and_report(folder, parents=(certificate,))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), tiny="--tiny" in sys.argv)
