"""A generative adversarial network on digits: two networks and two optimizers in one recorded step.

The noise is drawn inside the step, so it is recorded as counter-based draws and comes again in an audit.

Usage: python gan_digits.py FOLDER [--tiny]
"""

import sys
from pathlib import Path

import torch
from ending import certify_and_report
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.utils.data import TensorDataset

import assay

EPOCHS, BATCH, NOISE = 8, 64, 16


def make_generator() -> nn.Sequential:
    """Return a network from noise, shape (batch, 16), to images, shape (batch, 64), from 0 to 1."""
    return nn.Sequential(nn.Linear(NOISE, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid())


def make_critic() -> nn.Sequential:
    """Return a network from images to one logit: real or not."""
    return nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(64, 1))


def main(folder: Path, *, tiny: bool) -> None:
    """Train both, or go on with what a killed process left in `folder`; then certify and report."""
    digits = load_digits()
    count = 256 if tiny else 1792
    images = torch.tensor(digits.data[:count] / 16, dtype=torch.float32)

    run = assay.start(folder, seed=5)
    with run.init():
        generator, critic = make_generator(), make_critic()
    for_generator = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    for_critic = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    loader = run.loader(TensorDataset(images), batch_size=BATCH, drop_last=True)

    @run.step(models=[generator, critic], optimizers=[for_critic, for_generator])
    def train_step(batch: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        real = batch[0]
        fake = generator(torch.randn(BATCH, NOISE))
        on_real, on_fake = critic(real), critic(fake.detach())
        loss_critic = F.binary_cross_entropy_with_logits(on_real, torch.ones_like(on_real))
        loss_critic = loss_critic + F.binary_cross_entropy_with_logits(on_fake, torch.zeros_like(on_fake))
        for_critic.zero_grad()
        loss_critic.backward()
        for_critic.step()

        judged = critic(fake)
        loss_generator = F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
        for_generator.zero_grad()
        loss_generator.backward()
        for_generator.step()
        for_critic.zero_grad()
        for_generator.zero_grad()
        return loss_generator, loss_critic

    for epoch in run.epochs(2 if tiny else EPOCHS):
        for batch in loader:
            loss_generator, loss_critic = train_step(batch)
        run.log(epoch=epoch, generator=loss_generator.item(), critic=loss_critic.item())
        print(f"epoch {epoch}: generator {loss_generator.item():.3f}, critic {loss_critic.item():.3f}")
    run.finish()
    certify_and_report(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tiny="--tiny" in sys.argv)
