"""Scripts in the style of widely read repositories and tutorials: their steps, unchanged."""

# ruff: noqa: N806, N812 - names as in the scripts

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.foreign_scripts import Batch, Script, draw, every, script


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.c_attn, self.c_proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16), nn.Dropout(0.1))
        self.flash = hasattr(torch.nn.functional, "scaled_dot_product_attention")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.size()
        q, k, v = (part.view(B, T, 2, C // 2).transpose(1, 2) for part in self.c_attn(self.ln_1(x)).split(16, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.1 if self.training else 0, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))
        return x + self.mlp(self.ln_2(x))


def _nanogpt(*, rate_in_the_step: bool) -> Script:
    """`nanoGPT/train.py`: decay for matrices alone, clipping, accumulation, a rate by hand."""
    model = nn.ModuleDict(
        {"wte": nn.Embedding(30, 16), "wpe": nn.Embedding(8, 16), "h": nn.ModuleList([_Block(), _Block()]),
         "lm_head": nn.Linear(16, 30, bias=False)}
    )  # fmt: skip
    model["wte"].weight = model["lm_head"].weight
    decay = [p for p in model.parameters() if p.dim() >= 2]
    no_decay = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 1e-1}, {"params": no_decay, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    ctx = torch.amp.autocast("cpu", torch.bfloat16)
    iter_num = 0

    def get_lr(it: int) -> float:
        if it < 5:
            return 1e-3 * (it + 1) / 6
        return 1e-4 + 0.5 * (1.0 + math.cos(math.pi * (it - 5) / 20)) * 9e-4

    def set_lr(it: int) -> None:
        for param_group in optimizer.param_groups:
            param_group["lr"] = get_lr(it)

    def forward(idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        pos = torch.arange(0, idx.size(1), dtype=torch.long)
        x = model["wte"](idx) + model["wpe"](pos)
        for block in model["h"]:  # type: ignore[attr-defined]
            x = block(x)
        logits = model["lm_head"](x)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)

    def train(batch: Batch) -> torch.Tensor:
        nonlocal iter_num
        if rate_in_the_step:
            set_lr(iter_num)
        for micro_step in range(2):
            part = batch[0][2 * micro_step : 2 * micro_step + 2]
            with ctx:
                loss = forward(part[:, :-1], part[:, 1:]) / 2
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if rate_in_the_step:
            iter_num += 1
        return loss

    before: Any = (lambda _: None) if rate_in_the_step else set_lr
    return Script([model], [optimizer], train, draw((9,), words=30), before)


@script("nanoGPT")
def nanogpt() -> Script:
    """`nanoGPT/train.py`, whose loop sets the rate."""
    return _nanogpt(rate_in_the_step=False)


@script("nanoGPT with its rate in the step")
def nanogpt_with_its_rate_in_the_step() -> Script:
    """`nanoGPT/train.py` with everything of an iteration in the step."""
    return _nanogpt(rate_in_the_step=True)


@script("diffusion from scratch")
def diffusion() -> Script:
    """A denoising diffusion model as tutorials write it: times drawn in the step, tables of noise by `gather`."""
    betas = torch.linspace(1e-4, 0.02, 20)
    products = torch.cumprod(1.0 - betas, 0)
    net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.SiLU(), nn.GroupNorm(2, 8), nn.Conv2d(8, 1, 3, padding=1))
    opt = optim.AdamW(net.parameters(), lr=1e-3)

    def extract(a: torch.Tensor, t: torch.Tensor, x_shape: torch.Size) -> torch.Tensor:
        return a.gather(-1, t).reshape(t.shape[0], *((1,) * (len(x_shape) - 1)))

    def train(batch: Batch) -> torch.Tensor:
        x0 = batch[0]
        t = torch.randint(0, 20, (len(x0),))
        noise = torch.randn_like(x0)
        x_t = extract(products.sqrt(), t, x0.shape) * x0 + extract((1 - products).sqrt(), t, x0.shape) * noise
        time = (t / 20).view(-1, 1, 1, 1).expand(-1, 1, *x0.shape[2:])
        loss = F.smooth_l1_loss(net(torch.cat([x_t, time], 1)), noise)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        return loss

    schedule = OneCycleLR(opt, 1e-2, total_steps=40)
    return Script([net], [opt], train, draw((1, 8, 8)), every(1, schedule))


@script("SimCLR")
def simclr() -> Script:
    """`SimCLR/simclr.py`: the pairs of a batch, chosen by boolean masks."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
    optimizer = torch.optim.Adam(model.parameters(), 3e-4, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()

    def info_nce_loss(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.cat([torch.arange(4) for _ in range(2)], dim=0)
        labels = (labels.unsqueeze(0) == labels.unsqueeze(1)).float()
        features = F.normalize(features, dim=1)
        similarity_matrix = torch.matmul(features, features.T)
        mask = torch.eye(labels.shape[0], dtype=torch.bool)
        labels = labels[~mask].view(labels.shape[0], -1)
        similarity_matrix = similarity_matrix[~mask].view(labels.shape[0], -1)
        positives = similarity_matrix[labels.bool()].view(labels.shape[0], -1)
        negatives = similarity_matrix[~labels.bool()].view(labels.shape[0], -1)
        return torch.cat([positives, negatives], dim=1) / 0.07, torch.zeros(8, dtype=torch.long)

    def train(batch: Batch) -> torch.Tensor:
        features = model(torch.cat([batch[0], batch[0] + 0.1 * torch.randn_like(batch[0])]))
        logits, labels = info_nce_loss(features)
        loss = criterion(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Script([model], [optimizer], train, draw((8,)))


@script("BYOL")
def byol() -> Script:
    """Bootstrapped representations: a target that follows by exponential average, and is not trained."""
    online = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    target = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    target.load_state_dict(online.state_dict())
    for param in target.parameters():
        param.requires_grad = False
    predictor = nn.Linear(8, 8)
    optimizer = optim.SGD([*online.parameters(), *predictor.parameters()], lr=0.05, momentum=0.9)

    def regression_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, y = F.normalize(x, dim=-1, p=2), F.normalize(y, dim=-1, p=2)
        return 2 - 2 * (x * y).sum(dim=-1)

    def train(batch: Batch) -> torch.Tensor:
        one, two = (batch[0] + 0.1 * torch.randn_like(batch[0]) for _ in range(2))
        with torch.no_grad():
            proj_one, proj_two = target(one), target(two)
        loss = regression_loss(predictor(online(one)), proj_two) + regression_loss(predictor(online(two)), proj_one)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        with torch.no_grad():
            for param_q, param_k in zip(online.parameters(), target.parameters(), strict=True):
                param_k.data = param_k.data * 0.99 + param_q.data * (1.0 - 0.99)
        return loss.mean()

    return Script([online, target, predictor], [optimizer], train, draw((8,)))


def _wgan(critic_steps: int) -> Script:
    netG, netD = (
        nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8)),
        nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1)),
    )
    optimizerD = optim.RMSprop(netD.parameters(), lr=5e-5)
    optimizerG = optim.RMSprop(netG.parameters(), lr=5e-5)

    def train(batch: Batch) -> Any:
        for p in netD.parameters():
            p.requires_grad = True
        for _ in range(critic_steps):
            for p in netD.parameters():
                p.data.clamp_(-0.01, 0.01)
            netD.zero_grad()
            errD_real = netD(batch[0]).mean()
            errD_real.backward()
            with torch.no_grad():
                fake = netG(torch.randn(4, 4))
            errD_fake = netD(fake).mean()
            (-errD_fake).backward()
            optimizerD.step()
        for p in netD.parameters():
            p.requires_grad = False
        netG.zero_grad()
        errG = netD(netG(torch.randn(4, 4))).mean()
        errG.backward()
        optimizerG.step()
        return errD_real - errD_fake, errG

    return Script([netG, netD], [optimizerD, optimizerG], train, draw((8,)))


@script("WGAN with clipping")
def wgan() -> Script:
    """`WassersteinGAN/main.py`: the critic's gradients are switched on and off, its weights are clamped."""
    return _wgan(1)


@script("WGAN with five critic steps")
def wgan_with_five_critic_steps() -> Script:
    """The same with its usual ratio: one optimizer steps five times in a step."""
    return _wgan(5)


@script("mixup by NumPy")
def mixup_by_numpy() -> Script:
    """`mixup-cifar10/train.py`: the weight is drawn by NumPy in the step."""
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()

    def train(batch: Batch) -> torch.Tensor:
        lam = np.random.beta(1.0, 1.0)  # noqa: NPY002 - as in the script
        index = torch.randperm(len(batch[0]))
        pred = net(lam * batch[0] + (1 - lam) * batch[0][index])
        loss = lam * criterion(pred, batch[1]) + (1 - lam) * criterion(pred, batch[1][index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Script([net], [optimizer], train, draw((8,)))


@script("skip-gram")
def skip_gram() -> Script:
    """word2vec with negative samples, which are drawn by weight in the step."""
    inputs, outputs = nn.Embedding(30, 8), nn.Embedding(30, 8)
    optimizer = optim.Adagrad([*inputs.parameters(), *outputs.parameters()], lr=0.1)
    frequencies = torch.arange(30, 0, -1).float() ** 0.75

    def train(batch: Batch) -> torch.Tensor:
        centre, context = batch[0][:, 0], batch[0][:, 1]
        negative = torch.multinomial(frequencies, len(centre) * 5, replacement=True).view(len(centre), 5)
        v = inputs(centre)
        positive = F.logsigmoid((v * outputs(context)).sum(1))
        others = F.logsigmoid(-torch.bmm(outputs(negative), v.unsqueeze(2)).squeeze(2)).sum(1)
        loss = -(positive + others).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Script([inputs, outputs], [optimizer], train, draw((2,), words=30))


@script("REINFORCE")
def reinforce() -> Script:
    """A policy gradient over a batch of states: actions are sampled in the step by a distribution."""
    policy = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.6), nn.ReLU(), nn.Linear(16, 4))
    optimizer = optim.Adam(policy.parameters(), lr=1e-2)

    def train(batch: Batch) -> torch.Tensor:
        m = torch.distributions.Categorical(F.softmax(policy(batch[0]), dim=1))
        action = m.sample()
        reward = (action == batch[1]).float()
        reward = (reward - reward.mean()) / (reward.std() + 1e-6)
        loss = (-m.log_prob(action) * reward).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Script([policy], [optimizer], train, draw((8,), classes=4))
