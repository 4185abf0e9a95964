"""A small GPT on text that is on your disk: the help texts that ship with Python.

Usage: python pretrain_text.py FOLDER [--tiny]
"""

import math
import sys
from pathlib import Path
from pydoc_data.topics import topics

import torch
from ending import certify_and_report
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.utils.data import TensorDataset

import assay

CONTEXT, WIDTH, HEADS, LAYERS = 64, 64, 4, 3
BATCH, STEPS, WARM_UP = 24, 240, 20


class Attention(nn.Module):
    """Causal attention; `query` and `value` are layers of their own, so that adapters can be put beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape, (batch, time, width)."""
        b, t, c = x.shape
        q, k, v = (
            layer(x).view(b, t, HEADS, c // HEADS).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape, (batch, time, width)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Letters in, logits of the next letter out; input and output embedding are tied."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, letters, bias=False)
        self.head.weight = self.letters.weight
        nn.init.normal_(self.letters.weight, std=1 / math.sqrt(WIDTH))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, time, letters), of ids, shape (batch, time)."""
        x = self.letters(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def make_sets(name: str, count: int) -> tuple[int, TensorDataset, TensorDataset]:
    """Return the number of letters, and sets of (ids, next ids): `count` rows to train on, a tenth as many to test on.

    Args:
        name: "manual", the help texts in the order of their names, or "backwards", in the opposite order.
        count: rows of the training set.
    """
    names = sorted(topics, reverse=name == "backwards")
    text = "\n".join(topics[one] for one in names)
    letters = sorted(set("".join(topics.values())) | {"\n"})
    code = {letter: number for number, letter in enumerate(letters)}
    ids = torch.tensor([code[letter] for letter in text[: (count + count // 10) * CONTEXT + 1]])
    inputs, targets = ids[:-1].view(-1, CONTEXT), ids[1:].view(-1, CONTEXT)
    return len(letters), TensorDataset(inputs[:count], targets[:count]), TensorDataset(inputs[count:], targets[count:])


def main(folder: Path, *, tiny: bool) -> None:
    """Train, or go on with what a killed process left in `folder`; then certify and report."""
    steps = 24 if tiny else STEPS
    letters, train_set, test_set = make_sets("manual", steps * BATCH)
    run = assay.start(folder, seed=2)
    with run.init():
        net = GPT(letters)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM_UP))
    loader = run.loader(train_set, batch_size=BATCH)

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch: list[torch.Tensor]) -> torch.Tensor:
        loss = F.cross_entropy(net(batch[0]).flatten(0, 1), batch[1].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for _ in run.epochs(1):
        for batch in loader:
            loss = train_step(batch)
            scheduler.step()
    run.log(last_loss=loss.item())
    print(run.evaluate(net, test_set, metrics=["perplexity"], batch_size=BATCH))
    run.finish()
    certify_and_report(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tiny="--tiny" in sys.argv)
