"""The cases of `benchmarks/capture.py` beyond the first ones: optimizers, models, losses, and what steps do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import zoo, zoo_models
from benchmarks.zoo import Case, Decoder, adam, adamw, make_mlp, sgd, text_batches

Step = Callable[[Any], torch.Tensor]
Batch = tuple[torch.Tensor, ...]
Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]
texts = partial(text_batches, size=8, context=12)


def use(name: str, **options: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Return a maker of an optimizer of torch by name."""
    return lambda net: getattr(torch.optim, name)(net.parameters(), **{"lr": 0.005, **options})


def muon(net: nn.Module) -> Sequence[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for the rest."""
    matrices = [p for p in net.parameters() if p.dim() == 2]
    rest = [p for p in net.parameters() if p.dim() != 2]
    return torch.optim.Muon(matrices, lr=0.01), torch.optim.AdamW(rest, lr=1e-3)


def trained_alone(net: nn.Module) -> torch.optim.Optimizer:
    """Adam for what is not frozen."""
    return torch.optim.Adam(parameter for parameter in net.parameters() if parameter.requires_grad)


OPTIMIZERS = (
    Case("mlp adamax", make_mlp, use("Adamax")),
    Case("mlp nadam", make_mlp, use("NAdam")),
    Case("mlp radam", make_mlp, use("RAdam")),
    Case("mlp adagrad", make_mlp, use("Adagrad")),
    Case("mlp adadelta", make_mlp, use("Adadelta", lr=1.0)),
    Case("mlp rmsprop centered", make_mlp, use("RMSprop", centered=True, momentum=0.9)),
    Case("mlp rprop", make_mlp, use("Rprop")),
    Case("mlp adam amsgrad", make_mlp, use("Adam", amsgrad=True)),
    Case("mlp muon", make_mlp, muon),
    Case("cnn sgd foreach", zoo.ConvNet, use("SGD", foreach=True, momentum=0.9, nesterov=True, weight_decay=1e-4)),
    Case("cnn adam foreach", zoo.ConvNet, use("Adam", foreach=True)),
    Case("decoder adamw foreach", Decoder, use("AdamW", foreach=True, lr=1e-3), batches=texts, clip=1.0),
    Case("cnn nadam foreach", zoo.ConvNet, use("NAdam", foreach=True)),
    Case("mlp rmsprop foreach", make_mlp, use("RMSprop", foreach=True, momentum=0.9)),
    Case("cnn sgd fused", zoo.ConvNet, use("SGD", fused=True, momentum=0.9, nesterov=True, weight_decay=1e-4)),
    Case("mlp adam amsgrad fused", make_mlp, use("Adam", fused=True, amsgrad=True)),
    Case("decoder adamw fused", Decoder, use("AdamW", fused=True, lr=1e-3), batches=texts, clip=1.0),
    Case("mlp adafactor", make_mlp, use("Adafactor", lr=1e-2)),
    Case("mlp adagrad fused", make_mlp, use("Adagrad", fused=True)),
)  # fmt: skip


def last_character(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the character after the window."""
    return F.cross_entropy(net(batch[0]), batch[1][:, -1])


def reconstruction(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Squared error of a smoothed copy against the image."""
    return F.mse_loss(net(F.avg_pool2d(batch[0], 3, stride=1, padding=1)), batch[0])


def tags(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of tags, without padding."""
    wanted = (batch[1] % 5).masked_fill(batch[0] == 0, -100)
    return F.cross_entropy(net(batch[0]).flatten(0, 1), wanted.flatten(), ignore_index=-100)


def elbo(net: nn.Module, batch: Batch) -> torch.Tensor:
    """The loss of a variational autoencoder."""
    image, mean, spread = net(batch[0])
    divergence = -0.5 * (1 + spread - mean.square() - spread.exp()).sum(1).mean()
    return F.binary_cross_entropy_with_logits(image, batch[0], reduction="sum") / len(image) + divergence


def autoencoding(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Absolute error of an autoencoder that sees an image with hidden pixels."""
    hidden = batch[0] * torch.bernoulli(torch.full_like(batch[0], 0.7))
    return F.l1_loss(net(hidden)[0], batch[0])


def triplet(net: nn.Module, batch: Batch) -> torch.Tensor:
    """A triplet loss over thirds of the batch."""
    anchor, positive, negative = net(batch[0][:27]).chunk(3)
    return F.triplet_margin_loss(anchor, positive, negative)


def siamese(net: nn.Module, batch: Batch) -> torch.Tensor:
    """A cosine loss over halves of the batch."""
    half = len(batch[0]) // 2
    one, other = net(batch[0][: 2 * half]).chunk(2)
    same = (batch[1][:half] == batch[1][half : 2 * half]).to(one.dtype) * 2 - 1
    return F.cosine_embedding_loss(one, other, same, margin=0.2)


def mixup(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Mixed pairs of samples."""
    share = torch.rand((), dtype=batch[0].dtype)
    other = torch.randperm(len(batch[0]))
    logits = net(share * batch[0] + (1 - share) * batch[0][other])
    return share * F.cross_entropy(logits, batch[1]) + (1 - share) * F.cross_entropy(logits, batch[1][other])


def augmented(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Random flips, shifts and brightness, as torch operations."""
    image = torch.where(torch.rand(len(batch[0]), 1, 1, 1) < 0.5, batch[0].flip(3), batch[0])
    rows = (torch.arange(8) + torch.randint(-1, 2, (len(image), 1))).clamp(0, 7)
    image = image.gather(2, rows.view(-1, 1, 8, 1).expand_as(image))
    return F.cross_entropy(net(image * (0.8 + 0.4 * torch.rand_like(image[:, :1, :1, :1]))), batch[1])


def gumbel(net: nn.Module, batch: Batch) -> torch.Tensor:
    """A relaxed choice by Gumbel noise."""
    choice = F.gumbel_softmax(net(batch[0]), tau=0.8)
    return F.mse_loss(choice, F.one_hot(batch[1], 10).to(choice.dtype))


def smoothed(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy with smoothing and weights of classes."""
    logits = net(batch[0])
    return F.cross_entropy(logits, batch[1], torch.linspace(0.5, 1.5, 10, dtype=logits.dtype), label_smoothing=0.1)


def many_losses(net: nn.Module, batch: Batch) -> torch.Tensor:
    """The sum of many losses of fixed shape."""
    logits = net(batch[0])
    wanted = F.one_hot(batch[1], 10).to(logits.dtype)
    positive = F.softplus(logits)
    return (
        F.kl_div(logits.log_softmax(1), (wanted + 0.1) / 2, reduction="batchmean")
        + F.smooth_l1_loss(logits, wanted) + F.huber_loss(logits, wanted, delta=0.5)
        + F.poisson_nll_loss(logits, wanted) + F.gaussian_nll_loss(logits, wanted, positive + 0.1)
        + F.soft_margin_loss(logits, 2 * wanted - 1) + F.hinge_embedding_loss(logits, 2 * wanted - 1)
        + F.multilabel_soft_margin_loss(logits, wanted)
        + F.margin_ranking_loss(logits[:, 0], logits[:, 1], 2 * wanted[:, 0] - 1, margin=0.1)
        + F.nll_loss(logits.log_softmax(1), batch[1]) + F.binary_cross_entropy(logits.sigmoid(), wanted)
    )  # fmt: skip


def autocast(net: nn.Module, batch: Batch) -> torch.Tensor:
    """bf16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(batch[0])
    return F.cross_entropy(logits.float().flatten(0, -2), batch[1].flatten())


MODELS = (
    Case("depthwise adamw", zoo_models.Depthwise, adamw),
    Case("grouped sgd", zoo_models.Grouped, sgd(momentum=0.9)),
    Case("unet adam", zoo_models.UNet, adam, loss=reconstruction),
    Case("gru adam clip", zoo_models.Recurrent, adam, batches=texts, clip=1.0),
    Case("rnn rmsprop", partial(zoo_models.Recurrent, nn.RNN), use("RMSprop", lr=1e-3), batches=texts),
    Case("tagger adam", zoo_models.Tagger, adam, loss=tags, batches=texts),
    Case("vit adamw", zoo_models.VisionTransformer, adamw, clip=1.0),
    Case("vit stochastic depth", partial(zoo_models.VisionTransformer, drop_path=0.2), adamw),
    Case("mixer adam", zoo_models.Mixer, adam),
    Case("autoencoder adam", zoo_models.Autoencoder, adam, loss=autoencoding),
    Case("vae adam", partial(zoo_models.Autoencoder, variational=True), adam, loss=elbo),
    Case("bag adagrad", zoo_models.Bag, use("Adagrad", lr=0.05), loss=last_character, batches=texts),
    Case("embedding bag sgd", zoo_models.TorchBag, sgd(), loss=last_character, batches=texts),
    Case("translator adam", zoo_models.Translator, adam, batches=texts),
    Case("text convolution adam", zoo_models.TextConvolution, adam, loss=last_character, batches=texts),
    Case("temporal weight norm", zoo_models.Temporal, adam, batches=texts),
    Case("spectral norm sgd", zoo_models.Spectral, sgd(momentum=0.9)),
    Case("low rank adam", zoo_models.LowRank, trained_alone),
    Case("graph convolution adam", zoo_models.GraphConvolution, adam),
    Case("triplet adam", zoo_models.Siamese, adam, loss=triplet),
    Case("siamese sgd", zoo_models.Siamese, sgd(momentum=0.9), loss=siamese),
    Case("volume adam", zoo_models.Volume, adam),
    Case("shuffled nll", zoo_models.Shuffled, sgd(), loss=lambda net, batch: F.nll_loss(net(batch[0]), batch[1])),
    Case("mlp mixup", make_mlp, sgd(momentum=0.9), loss=mixup),
    Case("cnn augmented", zoo.ConvNet, sgd(momentum=0.9), loss=augmented),
    Case("mlp gumbel", make_mlp, adam, loss=gumbel),
    Case("mlp smoothed", make_mlp, adam, loss=smoothed),
    Case("mlp many losses", make_mlp, adam, loss=many_losses),
    Case("decoder autocast", Decoder, adamw, loss=autocast, batches=texts, clip=1.0),
    Case("mlp autocast", make_mlp, adam, loss=autocast),
)  # fmt: skip


def gan_optimizers(net: nn.Module) -> Sequence[torch.optim.Optimizer]:
    """Adam for each side."""
    sides = (net.generator, net.discriminator)
    return [torch.optim.Adam(side.parameters(), lr=2e-3, betas=(0.5, 0.99)) for side in sides]


def gan_step(net: nn.Module, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> Step:
    """One update of the discriminator, one of the generator."""

    def step(batch: Batch) -> torch.Tensor:
        noise = torch.randn(len(batch[0]), 8, dtype=batch[0].dtype)
        ones = torch.ones(len(batch[0]), 1, dtype=batch[0].dtype)
        second.zero_grad()
        made = net.generator(noise)
        judged = net.discriminator(torch.cat([batch[0].flatten(1), made.detach()]))
        loss = F.binary_cross_entropy_with_logits(judged, torch.cat([ones, torch.zeros_like(ones)]))
        loss.backward()
        second.step()
        first.zero_grad()
        second.zero_grad()
        fooled = F.binary_cross_entropy_with_logits(net.discriminator(made), ones)
        fooled.backward()
        first.step()
        first.zero_grad()
        second.zero_grad()
        return loss + fooled.detach()

    return step


class Averaging(nn.Module):
    """A small net and the average of its weights."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.net = make_mlp()
        self.average = AveragedModel(self.net, **options)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the net says."""
        found: torch.Tensor = self.net(inputs)
        return found


def swa_step(net: Averaging, optimizer: torch.optim.Optimizer) -> Step:
    """The usual step, and then one more model in the average."""

    def step(batch: Batch) -> torch.Tensor:
        loss = F.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        net.average.update_parameters(net.net)
        return loss

    return step


def trained_with_average(net: Averaging) -> torch.optim.Optimizer:
    """SGD for the net alone."""
    return torch.optim.SGD(net.net.parameters(), lr=0.05, momentum=0.9)


def accumulating_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    """Four microbatches, one update."""

    def step(batch: Batch) -> torch.Tensor:
        total = torch.zeros((), dtype=batch[0].dtype)
        for part in range(4):
            inputs, labels = batch[0][part::4], batch[1][part::4]
            loss = F.cross_entropy(net(inputs), labels) / 4
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_value_(net.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return step


class Averaged(nn.Module):
    """A perceptron and an exponential average of its weights, kept by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.average = make_mlp(), make_mlp()
        self.average.load_state_dict(self.net.state_dict())
        self.average.requires_grad_(False)


def averaging_step(net: Averaged, optimizer: torch.optim.Optimizer) -> Step:
    """An update, then the average; the average teaches (mean teacher)."""

    def step(batch: Batch) -> torch.Tensor:
        logits = net.net(batch[0])
        taught = F.mse_loss(logits.softmax(1), net.average(batch[0]).softmax(1))
        loss = F.cross_entropy(logits, batch[1]) + 0.1 * taught
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for kept, new in zip(net.average.parameters(), net.net.parameters(), strict=True):
                kept.lerp_(new, 0.05)
        return loss

    return step


def penalised_step(net: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    """A penalty on the gradient of the loss by its inputs: a second backward pass through the first."""

    def step(batch: Batch) -> torch.Tensor:
        inputs = batch[0].clone().requires_grad_(True)
        loss = F.cross_entropy(net(inputs), batch[1])
        (slope,) = torch.autograd.grad(loss, inputs, create_graph=True)
        loss = loss + 0.1 * slope.square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


STEPS = (
    Case("gan adam", zoo_models.Gan, gan_optimizers, step=gan_step),
    Case("convolutional gan adam", zoo_models.ConvolutionalGan, gan_optimizers, step=gan_step),
    Case("mlp swa averaged model", Averaging, trained_with_average, step=swa_step),
    Case(
        "mlp ema averaged model",
        lambda: Averaging(multi_avg_fn=get_ema_multi_avg_fn(0.99)),
        trained_with_average,
        step=swa_step,
    ),
    Case("mlp accumulating clip value", make_mlp, sgd(momentum=0.9), step=accumulating_step),
    Case("mean teacher adam", Averaged, lambda net: torch.optim.Adam(net.net.parameters()), step=averaging_step),
    Case("gradient penalty sgd", make_mlp, sgd(momentum=0.9), step=penalised_step),
)
