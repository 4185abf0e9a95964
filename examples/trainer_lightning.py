"""Lightning's `Trainer`: its automatic step recorded, its `EarlyStopping` declared. `pip install 'assay[lightning]'`.

Usage: python trainer_lightning.py FOLDER [--tiny]
"""

import sys
from pathlib import Path

import torch
from ending import certify_and_report
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.utils.data import DataLoader, TensorDataset

import assay

EPOCHS, PATIENCE, BATCH = 40, 2, 64


class Digits(LightningModule):
    """A perceptron with dropout; nothing in it knows of Assay."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (batch, 10), of images, shape (batch, 64)."""
        return self.net(images)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return the loss of a batch."""
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        """Log the held-out loss, which `EarlyStopping` watches."""
        self.log("held_out_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main(folder: Path, *, tiny: bool) -> None:
    """Train, or go on with what a killed process left in `folder`; then certify and report."""
    digits = load_digits()
    images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    train, held, test = (TensorDataset(images[part], labels[part]) for part in (slice(1200), slice(1200, 1500),
                                                                                  slice(1500, None)))  # fmt: skip
    run = assay.start(folder, seed=6, checkpoint_every=19)  # one epoch
    with run.init():
        module = Digits()
    callbacks = [assay.LightningCallback(run, level="replayable"), EarlyStopping("held_out_loss", patience=PATIENCE)]
    trainer = Trainer(
        max_epochs=2 if tiny else EPOCHS, accelerator="cpu", callbacks=callbacks, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, run.loader(train, batch_size=BATCH), DataLoader(held, batch_size=300))
    print(run.evaluate(module, test, metrics=["accuracy", "cross_entropy"]))
    closing = run.finish()
    print(f"{closing.steps} steps, {closing.reason}")
    certify_and_report(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tiny="--tiny" in sys.argv)
