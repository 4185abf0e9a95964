"""A convolutional net on scikit-learn's digits, recorded: `python -m assay.demonstration.digits FOLDER`."""

from __future__ import annotations

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import assay

EPOCHS = 5


class ConvNet(nn.Module):
    """Two convolutions with batch norm, and dropout before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.dropout = nn.Dropout(0.25)
        self.head = nn.Linear(24 * 16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, 10), of images, shape (batch, 1, 8, 8)."""
        return self.head(self.dropout(self.features(images).flatten(1)))  # type: ignore[no-any-return]


def make_data() -> tuple[TensorDataset, TensorDataset]:
    """Return a training and a test set of (image, label)."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target)
    return TensorDataset(images[:1440], labels[:1440]), TensorDataset(images[1440:], labels[1440:])


def main(folder: str) -> None:
    """Train, or go on with the training that a killed process left in `folder`."""
    train_set, test_set = make_data()
    run = assay.start(folder, seed=1, checkpoint_every=10, key="recorder")
    with run.init():
        net = ConvNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * 23)
    criterion = nn.CrossEntropyLoss()
    loader = run.loader(train_set, batch_size=64)

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch: list[torch.Tensor]) -> torch.Tensor:
        images, labels = batch
        loss: torch.Tensor = criterion(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    for epoch in run.epochs(EPOCHS):
        net.train()
        for batch in loader:
            loss = train_step(batch)
            scheduler.step()
            print(f"step {run.step_number} of {EPOCHS * len(loader)}", flush=True)
        run.log(epoch=epoch, last_loss=loss.item())
    run.evaluate(net, test_set, metrics=["accuracy"])
    run.finish()


if __name__ == "__main__":
    main(sys.argv[1])
