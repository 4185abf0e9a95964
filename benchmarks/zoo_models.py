"""More models of the zoo: small, and written as their users would write them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

from benchmarks.zoo import Decoder


class Depthwise(nn.Module):
    """Separable convolutions with squeeze and excitation, as in mobile networks."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.depth = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.squeeze, self.excite = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)
        self.point = nn.Conv2d(width, 2 * width, 1)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.hardswish(self.norm(self.depth(self.stem(x))))
        gate = torch.sigmoid(self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(F.relu6(self.point(x * gate)).mean((2, 3)))


class Grouped(nn.Module):
    """Grouped and dilated convolutions with group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4), nn.GroupNorm(8, 32), nn.LeakyReLU(0.1),
            nn.Conv2d(32, 32, 3, padding=2, dilation=2), nn.ELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


class UNet(nn.Module):
    """Down, up by transposed convolution and by interpolation, with skip connections; gives an image."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())

        self.first, self.second = block(1, width), block(width, 2 * width)
        self.bottom = block(2 * width, 4 * width)
        self.up = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.third, self.fourth = block(4 * width, 2 * width), block(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.first(x)
        two = self.second(F.max_pool2d(one, 2))
        three = self.up(self.bottom(F.max_pool2d(two, 2)))
        three = self.third(torch.cat([three, two], 1))
        four = F.interpolate(three, scale_factor=2, mode="bilinear", align_corners=False)
        return self.head(self.fourth(torch.cat([four, one], 1)))


class Recurrent(nn.Module):
    """A character GRU or plain RNN."""

    def __init__(self, kind: type[nn.Module] = nn.GRU, vocabulary: int = 96, width: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, 24)
        self.rnn = kind(24, width, num_layers=2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.tokens(ids))[0])


class Tagger(nn.Module):
    """A bidirectional LSTM that tags every token; index 0 is padding."""

    def __init__(self, tags: int = 5) -> None:
        super().__init__()
        self.tokens = nn.Embedding(96, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 12, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, tags)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.tokens(ids))[0])


class VisionTransformer(nn.Module):
    """Patches, a class token, torch's encoder layers."""

    def __init__(self, width: int = 32, layers: int = 2, size: int = 8, patch: int = 2, drop_path: float = 0.0) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm, self.head, self.drop_path = nn.LayerNorm(width), nn.Linear(width, 10), drop_path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        for layer in self.layers:
            out = layer(x)
            if self.drop_path and self.training:  # stochastic depth: whole samples skip the layer
                keep = torch.rand(len(x), 1, 1, dtype=x.dtype) >= self.drop_path
                out = torch.where(keep, (out - x) / (1 - self.drop_path) + x, x)
            x = out
        return self.head(self.norm(x[:, 0]))


class Mixer(nn.Module):
    """An MLP mixer over the rows of a digit."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, width), nn.Linear(width, 10)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.channels = nn.Sequential(nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x.squeeze(1))
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        return self.head(x.mean(1))


class Autoencoder(nn.Module):
    """A convolutional autoencoder; `variational` samples its code."""

    def __init__(self, variational: bool = False) -> None:
        super().__init__()
        self.variational = variational
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten())
        self.code = nn.Linear(128, 16 if variational else 8)
        self.up = nn.Sequential(
            nn.Linear(8, 128), nn.ReLU(), nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, spread = self.code(self.down(x)).repeat(1, 1 if self.variational else 2).chunk(2, 1)
        code = mean + torch.randn_like(spread) * (0.5 * spread).exp() if self.variational else mean
        return self.up(code), mean, spread


class Gan(nn.Module):
    """Generator and discriminator."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 64), nn.Sigmoid()
        )
        self.discriminator = nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(width, 1)
        )


class ConvolutionalGan(nn.Module):
    """The same of convolutions."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(8, 2 * width * 16), nn.Unflatten(1, (2 * width, 4, 4)), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1), nn.Sigmoid(), nn.Flatten(),
        )  # fmt: skip
        self.discriminator = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, width, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Flatten(),
            nn.Linear(2 * width * 16, 1),
        )  # fmt: skip


class Bag(nn.Module):
    """The mean of the embeddings of all characters, gathered and averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(96, 16), nn.Linear(16, 96)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(ids).mean(1))


class TorchBag(nn.Module):
    """The same by torch's EmbeddingBag."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.EmbeddingBag(96, 16, mode="mean"), nn.Linear(16, 96)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(ids))


class Translator(nn.Module):
    """torch's encoder-decoder transformer with a causal mask."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(96, width), nn.Linear(width, 96)
        self.transformer = nn.Transformer(width, 4, 1, 1, 2 * width, 0.1, batch_first=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids)
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], dtype=x.dtype)
        return self.head(self.transformer(x.flip(1), x, tgt_mask=mask, tgt_is_causal=True))


class TextConvolution(nn.Module):
    """Convolutions of several widths over characters, the largest response of each."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(96, 12)
        self.convolutions = nn.ModuleList(nn.Conv1d(12, 8, size) for size in (2, 3, 4))
        self.head = nn.Linear(24, 96)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids).transpose(1, 2)
        return self.head(torch.cat([F.relu(conv(x)).amax(2) for conv in self.convolutions], 1))


class Temporal(nn.Module):
    """Causal dilated convolutions with weight norm, gates and instance norm."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(96, 16)
        norm = nn.utils.parametrizations.weight_norm
        self.convolutions = nn.ModuleList(norm(nn.Conv1d(16, 32, 3, dilation=2**k)) for k in range(2))
        self.norms = nn.ModuleList(nn.InstanceNorm1d(16, affine=True) for _ in range(2))
        self.head = nn.Linear(16, 96)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids).transpose(1, 2)
        for k, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = x + norm(F.glu(convolution(F.pad(x, (2 * 2**k, 0))), 1))
        return self.head(x.transpose(1, 2))


class Spectral(nn.Module):
    """Spectral norm by parametrization."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(nn.Flatten(), norm(nn.Linear(64, 32)), nn.PReLU(), norm(nn.Linear(32, 10)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class LowRank(nn.Module):
    """Low-rank adapters beside frozen layers."""

    def __init__(self, rank: int = 2) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh())
        self.head = nn.Linear(32, 10)
        for parameter in (*self.base.parameters(), *self.head.parameters()):
            parameter.requires_grad_(False)
        self.down, self.up = nn.Linear(64, rank, bias=False), nn.Linear(rank, 32, bias=False)
        nn.init.zeros_(self.up.weight)
        self.out = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.base(x) + 0.5 * self.up(self.down(x.flatten(1)))
        return self.head(hidden) + self.out(hidden)


class Beside(nn.Module):
    """A frozen linear layer and a product of two thin matrices that is learned beside it."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(requires_grad=False)
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.up(self.down(x))


class AdaptedDecoder(Decoder):
    """A frozen causal language model with low-rank adapters in its attention."""

    def __init__(self, width: int = 128, rank: int = 2) -> None:
        super().__init__(width=width)
        self.requires_grad_(requires_grad=False)
        for block in self.blocks:
            block.qkv, block.proj = Beside(block.qkv, rank), Beside(block.proj, rank)


class GraphConvolution(nn.Module):
    """Messages along the edges of an 8 × 8 grid, added up by `index_add`."""

    edges: torch.Tensor

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        places = torch.arange(64).view(8, 8)
        pairs = [(places[:, :-1], places[:, 1:]), (places[:-1], places[1:])]
        edges = torch.cat([torch.stack([a.flatten(), b.flatten()]) for a, b in pairs], 1)
        self.register_buffer("edges", torch.cat([edges, edges.flip(0)], 1))
        self.first, self.second = nn.Linear(1, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 10)

    def spread(self, x: torch.Tensor) -> torch.Tensor:
        """Return for each node the sum over its neighbours."""
        source, target = self.edges
        return torch.zeros_like(x).index_add(1, target, x[:, source])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.spread(self.first(x.flatten(1).unsqueeze(2))))
        return self.head(F.softplus(self.spread(self.second(x))).mean(1))


class Siamese(nn.Module):
    """An embedding of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Mish(), nn.Linear(32, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.layers(x), dim=1)


class Volume(nn.Module):
    """Convolutions in three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 2, stride=2), nn.Hardtanh(),
            nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.view(len(x), 1, 4, 4, 4))


class Shuffled(nn.Module):
    """Pixel shuffle, reflection padding, adaptive pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(1, 8, 3), nn.PixelShuffle(2), nn.Hardsigmoid(), nn.Conv2d(2, 4, 3),
            nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Dropout1d(0.1), nn.Linear(64, 10), nn.LogSoftmax(1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
