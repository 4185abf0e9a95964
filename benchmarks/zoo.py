"""The models that the benchmarks and tests train: small, ordinary, written as their users would write them.

Each case gives models, a loss over a batch, and a maker of batches. Nothing here knows Assay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses


class ConvNet(nn.Module):
    """Two convolutions with batch norm and dropout, for 8 × 8 digits."""

    def __init__(self, width: int = 16, classes: int = 10, dropout: float = 0.25) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width * 16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(x).flatten(1)))


class Residual(nn.Module):
    """Two residual blocks with in-place activations and global pooling."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            )
            for _ in range(2)
        )  # fmt: skip
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            out = block(x)
            out += x
            x = self.relu(out)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Block(nn.Module):
    """A pre-norm transformer block with SDPA or attention written by hand."""

    def __init__(self, width: int, heads: int, dropout: float, hand_written: bool) -> None:
        super().__init__()
        self.heads, self.hand_written, self.p = heads, hand_written, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(c, 2)
        )
        if self.hand_written:
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(c // self.heads)
            mask = torch.ones(t, t, dtype=torch.bool).tril()
            y = self.dropout(scores.masked_fill(~mask, float("-inf")).softmax(-1)) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.proj(y.transpose(1, 2).contiguous().view(b, t, c)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Decoder(nn.Module):
    """A small causal language model."""

    def __init__(
        self, vocabulary: int = 96, width: int = 64, layers: int = 2, heads: int = 4, context: int = 32,
        dropout: float = 0.1, hand_written: bool = False, tied: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, hand_written) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Encoder(nn.Module):
    """torch's own encoder over the rows of a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(x.squeeze(1))).mean(1))


class Lstm(nn.Module):
    """A character LSTM."""

    def __init__(self, vocabulary: int = 96, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, 32)
        self.lstm = nn.LSTM(32, width, layers, batch_first=True, dropout=0.1)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.tokens(ids))[0])


def make_mlp() -> nn.Module:
    """A multi-layer perceptron."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Dropout(0.2), nn.Linear(64, 10))


def image_batches(seed: int, size: int = 32) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of digits from scikit-learn's set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randint(0, len(images), (size,), generator=generator)
        yield images[order].contiguous(), labels[order].contiguous()


def text_batches(seed: int, size: int = 16, context: int = 32) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of real text on disk (a source file of torch) as characters."""
    text = Path(torch.__file__).read_text(encoding="utf-8")[:60_000]
    ids = torch.tensor([min(max(ord(c) - 32, 0), 95) for c in text])
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(0, len(ids) - context - 1, (size,), generator=generator)
        window = torch.stack([ids[s : s + context + 1] for s in starts.tolist()])
        yield window[:, :-1].contiguous(), window[:, 1:].contiguous()


def cross_entropy(net: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Cross-entropy of logits (…, classes) against labels."""
    logits = net(batch[0])
    return F.cross_entropy(logits.flatten(0, -2), batch[1].flatten())


def binary_cross_entropy(net: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """BCE with logits against one-hot labels."""
    logits = net(batch[0])
    return F.binary_cross_entropy_with_logits(logits, (batch[1][:, None] == torch.arange(10)).to(logits.dtype))


def mean_squared_error(net: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """MSE against the label as a number."""
    values = net(batch[0])[:, 0]
    return F.mse_loss(values, batch[1].to(values.dtype))


@dataclass(frozen=True)
class Case:
    """One model × optimizer; `step` makes the step where it is not the usual one."""

    name: str
    make: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer | Sequence[torch.optim.Optimizer]]
    loss: Callable[[nn.Module, tuple[torch.Tensor, ...]], torch.Tensor] = cross_entropy
    batches: Callable[[int], Iterator[tuple[torch.Tensor, ...]]] = image_batches
    clip: float | None = None
    step: Callable[..., Callable[[tuple[torch.Tensor, ...]], torch.Tensor]] | None = None


def list_optimizers(
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of a case as a list."""
    return [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)


def sgd(**options: float | bool) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """SGD with these options."""
    return lambda net: torch.optim.SGD(net.parameters(), **{"lr": 0.05, **options})  # type: ignore[arg-type]


def adam(net: nn.Module) -> torch.optim.Optimizer:
    """Adam in its default form."""
    return torch.optim.Adam(net.parameters(), lr=1e-3)


def adamw(net: nn.Module, *, fused: bool = False) -> torch.optim.Optimizer:
    """AdamW in its default form, or fused, with two groups as language models have."""
    decay = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, fused=fused or None)


CASES = (
    Case("mlp sgd", make_mlp, sgd()),
    Case("mlp momentum decay", make_mlp, sgd(momentum=0.9, weight_decay=1e-4)),
    Case("mlp adam", make_mlp, adam),
    Case("mlp bce", make_mlp, sgd(momentum=0.9), loss=binary_cross_entropy),
    Case("mlp mse", make_mlp, adam, loss=mean_squared_error),
    Case("cnn nesterov", ConvNet, sgd(momentum=0.9, nesterov=True, weight_decay=5e-4)),
    Case("cnn adam", ConvNet, adam),
    Case("cnn adamw clip", ConvNet, adamw, clip=1.0),
    Case("residual nesterov", Residual, sgd(momentum=0.9, nesterov=True)),
    Case("residual adamw", Residual, adamw),
    Case("encoder adam", Encoder, adam),
    Case("encoder sgd clip", Encoder, sgd(momentum=0.9), clip=1.0),
    Case("decoder sdpa adamw clip", Decoder, adamw, batches=text_batches, clip=1.0),
    Case("decoder hand adamw", lambda: Decoder(hand_written=True), adamw, batches=text_batches),
    Case("decoder tied adam", lambda: Decoder(tied=True), adam, batches=text_batches),
    Case("lstm adam clip", Lstm, adam, batches=text_batches, clip=1.0),
    Case("lstm sgd", Lstm, sgd(momentum=0.9), batches=text_batches),
)


def make_step(
    case: Case, net: nn.Module, optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer]
) -> Callable[[tuple[torch.Tensor, ...]], torch.Tensor]:
    """Return the training step of a case as its user would write it."""
    optimizers = list_optimizers(optimizer)
    if case.step is not None:
        return case.step(net, *optimizers)

    def step(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        loss = case.loss(net, batch)
        loss.backward()
        if case.clip is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), case.clip)
        for each in optimizers:
            each.step()
        net.zero_grad()
        return loss

    return step
