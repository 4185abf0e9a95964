"""Image classification with augmentation: random shifts and noise are drawn in the step, where they are recorded.

Usage: python augment_digits.py FOLDER [--tiny]
"""

import sys
from pathlib import Path

import torch
from ending import certify_and_report
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.utils.data import DataLoader, TensorDataset

import assay

EPOCHS, BATCH = 6, 48


class Net(nn.Module):
    """Two convolutions with batch norm, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Linear(32 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, 10), of images, shape (batch, 1, 8, 8)."""
        return self.head(self.features(images).flatten(1))


def shift_and_blur(images: torch.Tensor) -> torch.Tensor:
    """Return images, each moved by up to a pixel in both directions, with a little noise: tensor operations alone."""
    padded = F.pad(images, (1, 1, 1, 1))
    moved = torch.stack([padded[:, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)], dim=1)
    chosen = F.one_hot(torch.rand(images.shape[0], 9).argmax(1), 9).to(images.dtype)
    return (moved * chosen.view(-1, 9, 1, 1, 1)).sum(1) + 0.05 * torch.randn_like(images)


def main(folder: Path, *, tiny: bool) -> None:
    """Train, or go on with what a killed process left in `folder`; then certify and report."""
    digits = load_digits()
    images, labels = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)
    count = 192 if tiny else 1440
    existing = DataLoader(TensorDataset(images[:count], labels[:count]), batch_size=BATCH, shuffle=True)

    run = assay.start(folder, seed=1)
    with run.init():
        net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    loader = run.loader(existing)  # the DataLoader that was there

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch: list[torch.Tensor]) -> torch.Tensor:
        loss = F.cross_entropy(net(shift_and_blur(batch[0])), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for epoch in run.epochs(2 if tiny else EPOCHS):
        net.train()
        for batch in loader:
            loss = train_step(batch)
        run.log(epoch=epoch, last_loss=loss.item())
    print(run.evaluate(net, TensorDataset(images[1440:], labels[1440:]), metrics=["accuracy"]))
    run.finish()
    certify_and_report(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tiny="--tiny" in sys.argv)
