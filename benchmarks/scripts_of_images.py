"""Scripts about images in the style of `pytorch/examples`: their steps, unchanged."""

# ruff: noqa: N806, N812 - names as in the scripts

from __future__ import annotations

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.optim.lr_scheduler import StepLR

from benchmarks.foreign_scripts import Batch, Script, draw, every, script


class MnistNet(nn.Module):
    """The network of `mnist/main.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1)
        self.conv2 = nn.Conv2d(8, 16, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(576, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = torch.flatten(self.dropout1(x), 1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


def _mnist(*, log_interval: int) -> Script:
    args = argparse.Namespace(log_interval=log_interval, dry_run=False)
    model = MnistNet()
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)

    def train(batch: Batch) -> torch.Tensor:
        data, target = batch[0].to("cpu"), batch[1].to("cpu")
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        if args.log_interval:
            print(f"Loss: {loss.item():.6f}")
        return loss

    return Script([model], [optimizer], train, draw((1, 16, 16)), every(3, scheduler))


@script("mnist")
def mnist() -> Script:
    """`mnist/main.py` without its log."""
    return _mnist(log_interval=0)


@script("mnist that prints")
def mnist_that_prints() -> Script:
    """`mnist/main.py` as it is: the step prints the loss."""
    return _mnist(log_interval=10)


@script("mnist_rnn")
def mnist_rnn() -> Script:
    """`mnist_rnn/main.py`: the rows of an image as a sequence."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(input_size=8, hidden_size=16, batch_first=True)
            self.batchnorm = nn.BatchNorm1d(16)
            self.dropout1 = nn.Dropout2d(0.25)
            self.fc1 = nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output, _ = self.rnn(x.reshape(-1, 8, 8))
            output = self.batchnorm(output[:, -1, :])
            output = self.dropout1(output.unsqueeze(-1)).squeeze(-1)
            return F.log_softmax(self.fc1(output), dim=1)

    model = Net()
    optimizer = optim.Adadelta(model.parameters(), lr=0.1)

    def train(batch: Batch) -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.nll_loss(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    return Script([model], [optimizer], train, draw((1, 8, 8)), every(3, StepLR(optimizer, step_size=1, gamma=0.7)))


@script("vae")
def vae() -> Script:
    """`vae/main.py`: the sum of both terms over the batch."""

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(64, 40)
            self.fc21, self.fc22 = nn.Linear(40, 8), nn.Linear(40, 8)
            self.fc3, self.fc4 = nn.Linear(8, 40), nn.Linear(40, 64)

        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h1 = F.relu(self.fc1(x))
            return self.fc21(h1), self.fc22(h1)

        def reparameterize(self, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
            std = torch.exp(0.5 * logvar)
            eps = torch.randn_like(std)
            return mu + eps * std

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            mu, logvar = self.encode(x.view(-1, 64))
            return self.decode(self.reparameterize(mu, logvar)), mu, logvar

    model = VAE()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def loss_function(recon_x: torch.Tensor, x: torch.Tensor, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        BCE = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
        KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return BCE + KLD

    def train(batch: Batch) -> torch.Tensor:
        data = torch.sigmoid(batch[0])
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(data)
        loss = loss_function(recon_batch, data, mu, logvar)
        loss.backward()
        optimizer.step()
        return loss

    return Script([model], [optimizer], train, draw((1, 8, 8)))


def _weights_init(m: nn.Module) -> None:
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight, 0.0, 0.02)  # type: ignore[arg-type]
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight, 1.0, 0.02)  # type: ignore[arg-type]
        nn.init.zeros_(m.bias)  # type: ignore[arg-type]


def _dcgan(*, reads: bool) -> Script:
    netG = nn.Sequential(
        nn.ConvTranspose2d(8, 16, 4, 1, 0, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    netD = nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(16, 1, 4, 1, 0, bias=False), nn.Sigmoid(),
    )  # fmt: skip
    netG.apply(_weights_init)
    netD.apply(_weights_init)
    criterion = nn.BCELoss()
    real_label, fake_label = 1, 0
    optimizerD = optim.Adam(netD.parameters(), lr=0.0002, betas=(0.5, 0.999))
    optimizerG = optim.Adam(netG.parameters(), lr=0.0002, betas=(0.5, 0.999))

    def train(data: Batch) -> Any:
        netD.zero_grad()
        real = data[0]
        batch_size = real.size(0)
        label = torch.full((batch_size,), real_label, dtype=real.dtype)
        errD_real = criterion(netD(real).view(-1, 1).squeeze(1), label)
        errD_real.backward()
        fake = netG(torch.randn(batch_size, 8, 1, 1))
        label.fill_(fake_label)
        output = netD(fake.detach()).view(-1, 1).squeeze(1)
        errD_fake = criterion(output, label)
        errD_fake.backward()
        D_G_z1 = output.mean().item() if reads else output.mean()
        optimizerD.step()
        netG.zero_grad()
        label.fill_(real_label)
        errG = criterion(netD(fake).view(-1, 1).squeeze(1), label)
        errG.backward()
        optimizerG.step()
        return errD_real + errD_fake, errG, torch.as_tensor(D_G_z1)

    return Script([netG, netD], [optimizerD, optimizerG], train, draw((3, 16, 16)))


@script("dcgan")
def dcgan() -> Script:
    """`dcgan/main.py`, which returns what it would print."""
    return _dcgan(reads=False)


@script("dcgan that reads")
def dcgan_that_reads() -> Script:
    """`dcgan/main.py` as it is: the step reads averages for its log."""
    return _dcgan(reads=True)


@script("super_resolution")
def super_resolution() -> Script:
    """`super_resolution/main.py`: sub-pixel convolution, orthogonal start."""

    class Net(nn.Module):
        def __init__(self, upscale_factor: int) -> None:
            super().__init__()
            self.relu = nn.ReLU()
            self.conv1 = nn.Conv2d(1, 16, (5, 5), (1, 1), (2, 2))
            self.conv2 = nn.Conv2d(16, upscale_factor**2, (3, 3), (1, 1), (1, 1))
            self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
            nn.init.orthogonal_(self.conv1.weight, nn.init.calculate_gain("relu"))
            nn.init.orthogonal_(self.conv2.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.pixel_shuffle(self.conv2(self.relu(self.conv1(x))))

    model = Net(upscale_factor=2)
    criterion = nn.MSELoss()
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def train(batch: Batch) -> torch.Tensor:
        target = batch[0]
        input = F.interpolate(target, scale_factor=0.5, mode="bicubic")  # noqa: A001 - as in the script
        optimizer.zero_grad()
        loss = criterion(model(input), target)
        loss.backward()
        optimizer.step()
        return loss

    return Script([model], [optimizer], train, draw((1, 16, 16)))


class _Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel_size: int, stride: int, upsample: int | None = None) -> None:
        super().__init__()
        self.upsample = upsample
        self.reflection_pad = nn.ReflectionPad2d(kernel_size // 2)
        self.conv2d = nn.Conv2d(inputs, outputs, kernel_size, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.upsample:
            x = F.interpolate(x, mode="nearest", scale_factor=self.upsample)
        return self.conv2d(self.reflection_pad(x))


def _gram_matrix(y: torch.Tensor) -> torch.Tensor:
    (b, ch, h, w) = y.size()
    features = y.view(b, ch, w * h)
    return features.bmm(features.transpose(1, 2)) / (ch * h * w)


@script("fast_neural_style")
def fast_neural_style() -> Script:
    """`fast_neural_style/neural_style.py`: a transformer net under a frozen network of features."""
    transformer = nn.Sequential(
        _Conv(3, 8, 9, 1), nn.InstanceNorm2d(8, affine=True), nn.ReLU(),
        _Conv(8, 16, 3, 2), nn.InstanceNorm2d(16, affine=True), nn.ReLU(),
        _Conv(16, 8, 3, 1, upsample=2), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), _Conv(8, 3, 9, 1),
    )  # fmt: skip
    vgg = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1))
    for param in vgg.parameters():
        param.requires_grad = False
    optimizer = optim.Adam(transformer.parameters(), 1e-3)
    mse_loss = nn.MSELoss()
    style = torch.linspace(-1, 1, 64).view(8, 8)

    def normalize_batch(batch: torch.Tensor) -> torch.Tensor:
        mean = batch.new_tensor([0.485, 0.456, 0.406]).view(-1, 1, 1)
        std = batch.new_tensor([0.229, 0.224, 0.225]).view(-1, 1, 1)
        return (batch - mean) / std

    def train(batch: Batch) -> torch.Tensor:
        x = batch[0]
        optimizer.zero_grad()
        y = normalize_batch(transformer(x))
        x = normalize_batch(x)
        features_y, features_x = vgg(y), vgg(x)
        content_loss = 1e5 * mse_loss(features_y, features_x)
        style_loss = 1e10 * mse_loss(_gram_matrix(features_y), style.expand(len(x), 8, 8))
        total_loss = content_loss + style_loss
        total_loss.backward()
        optimizer.step()
        return total_loss

    return Script([transformer, vgg], [optimizer], train, draw((3, 16, 16)))


@script("siamese_network")
def siamese_network() -> Script:
    """`siamese_network/main.py`: two inputs through one trunk, weights made by `apply`."""
    trunk = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.Flatten())
    head = nn.Sequential(nn.Linear(144, 16), nn.ReLU(inplace=True), nn.Linear(16, 1))

    def init_weights(m: nn.Module) -> None:
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
            m.bias.data.fill_(0.01)

    trunk.apply(init_weights)
    head.apply(init_weights)
    model = nn.ModuleList([trunk, head])
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    criterion = nn.BCELoss()

    def train(batch: Batch) -> torch.Tensor:
        images_1, images_2, label = batch
        optimizer.zero_grad()
        output = torch.cat([trunk(images_1).view(len(label), -1), trunk(images_2).view(len(label), -1)], 1)
        outputs = torch.sigmoid(head(output)).squeeze()
        loss = criterion(outputs, label.float())
        loss.backward()
        optimizer.step()
        return loss

    return Script([model], [optimizer], train, draw((1, 16, 16), (1, 16, 16), classes=2))


@script("imagenet")
def imagenet() -> Script:
    """`imagenet/main.py`: SGD with momentum, a meter that the step updates."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = StepLR(optimizer, step_size=2, gamma=0.1)

    def accuracy(output: torch.Tensor, target: torch.Tensor, topk: tuple[int, ...] = (1,)) -> list[torch.Tensor]:
        with torch.no_grad():
            _, pred = output.topk(max(topk), 1, True, True)
            correct = pred.t().eq(target.view(1, -1).expand_as(pred.t()))
            return [correct[:k].reshape(-1).float().sum(0, keepdim=True).mul_(100.0 / len(target)) for k in topk]

    def train(batch: Batch) -> Any:
        images, target = batch
        output = model(images)
        loss = criterion(output, target)
        acc1, acc5 = accuracy(output, target, topk=(1, 5))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, acc1, acc5

    return Script([model], [optimizer], train, draw((3, 16, 16)), every(3, scheduler))


@script("mnist_forward_forward")
def mnist_forward_forward() -> Script:
    """`mnist_forward_forward/main.py`: each layer has an optimizer, and a loss without a way back through the net."""

    class Layer(nn.Linear):
        def __init__(self, in_features: int, out_features: int) -> None:
            super().__init__(in_features, out_features)
            self.relu = nn.ReLU()
            self.threshold = 2.0

        def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as in the script
            x_direction = input / (input.norm(2, 1, keepdim=True) + 1e-4)
            return self.relu(torch.mm(x_direction, self.weight.T) + self.bias.unsqueeze(0))

    layers = nn.ModuleList([Layer(16, 12), Layer(12, 12)])
    opts = [optim.Adam(layer.parameters(), lr=0.02) for layer in layers]

    def train(batch: Batch) -> torch.Tensor:
        x_pos = batch[0].clone()
        x_pos[:, :10] = F.one_hot(batch[1], 10).float()
        rnd = torch.randperm(len(batch[1]))
        x_neg = batch[0].clone()
        x_neg[:, :10] = F.one_hot(batch[1][rnd], 10).float()
        total = torch.zeros(())
        for layer, opt in zip(layers, opts, strict=True):
            g_pos = layer(x_pos).pow(2).mean(1)
            g_neg = layer(x_neg).pow(2).mean(1)
            loss = torch.log(1 + torch.exp(torch.cat([-g_pos + 2.0, g_neg - 2.0]))).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            x_pos, x_neg = layer(x_pos).detach(), layer(x_neg).detach()
            total = total + loss.detach()
        return total

    return Script([layers], list(opts), train, draw((16,)))
