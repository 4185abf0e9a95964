"""A small causal transformer on Python's own documentation, recorded: `python -m assay.demonstration.text FOLDER`."""

from __future__ import annotations

import math
import sys
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.utils.data import TensorDataset

import assay

CONTEXT, WIDTH, HEADS, LAYERS = 48, 64, 4, 2
STEPS, BATCH, WARM_UP = 120, 8, 12


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape, (batch, time, width)."""
        b, t, c = x.shape
        q, k, v = (part.view(b, t, HEADS, c // HEADS).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(c, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.dropout(self.out(y))
        return x + self.dropout(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


class LanguageModel(nn.Module):
    """Characters in, logits of the next character out; input and output embedding are tied."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=1 / math.sqrt(WIDTH))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, time, vocabulary), of ids, shape (batch, time)."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


def make_data() -> tuple[int, TensorDataset, TensorDataset]:
    """Return the size of the vocabulary, and sets of (ids, next ids) from separate parts of the text."""
    text = "\n".join(topics[name] for name in sorted(topics))
    letters = sorted(set(text))
    code = {letter: index for index, letter in enumerate(letters)}
    ids = torch.tensor([code[letter] for letter in text[: (STEPS * BATCH + 240) * CONTEXT + 1]])
    inputs, targets = ids[:-1].view(-1, CONTEXT), ids[1:].view(-1, CONTEXT)
    train, test = slice(None, STEPS * BATCH), slice(STEPS * BATCH, None)
    return len(letters), TensorDataset(inputs[train], targets[train]), TensorDataset(inputs[test], targets[test])


def main(folder: str) -> None:
    """Train, or go on with the training that a killed process left in `folder`."""
    vocabulary, train_set, test_set = make_data()
    run = assay.start(folder, seed=2, checkpoint_every=10, key="recorder")
    with run.init():
        net = LanguageModel(vocabulary)
    decayed = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in net.parameters() if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM_UP))
    loader = run.loader(train_set, batch_size=BATCH)

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch: list[torch.Tensor]) -> torch.Tensor:
        ids, following = batch
        loss = F.cross_entropy(net(ids).flatten(0, 1), following.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for epoch in run.epochs(1):
        net.train()
        for batch in loader:
            loss = train_step(batch)
            scheduler.step()
            print(f"step {run.step_number} of {STEPS}", flush=True)
        run.log(epoch=epoch, last_loss=loss.item())
    run.evaluate(net, test_set, metrics=["perplexity"], batch_size=BATCH)
    run.finish()


if __name__ == "__main__":
    main(sys.argv[1])
