"""A table of measurements, and a training that stops when a held-out part of it gets no better.

Usage: python tabular_early_stop.py FOLDER [--tiny]
"""

import sys
from pathlib import Path

import torch
from ending import certify_and_report
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.utils.data import TensorDataset

import assay

EPOCHS, PATIENCE, BATCH = 60, 3, 32


def load_table() -> tuple[TensorDataset, torch.Tensor, torch.Tensor, TensorDataset]:
    """Return training set, held-out inputs and labels, and test set; scaled by the training part."""
    table = load_breast_cancer()
    order = torch.randperm(len(table.target), generator=torch.Generator().manual_seed(7))
    inputs, labels = torch.tensor(table.data, dtype=torch.float32)[order], torch.tensor(table.target)[order]
    mean, spread = inputs[:360].mean(0), inputs[:360].std(0)
    inputs = (inputs - mean) / spread
    train, test = TensorDataset(inputs[:360], labels[:360]), TensorDataset(inputs[460:], labels[460:])
    return train, inputs[360:460], labels[360:460], test


def main(folder: Path, *, tiny: bool) -> None:
    """Train until the held-out loss gets no better; then certify and report."""
    train_set, held_inputs, held_labels, test_set = load_table()
    run = assay.start(folder, seed=3, checkpoint_every=12)
    with run.init():
        net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    loader = run.loader(train_set, batch_size=BATCH)

    @run.step(models=[net], optimizers=[optimizer])
    def train_step(batch: list[torch.Tensor]) -> torch.Tensor:
        loss = F.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    best, waited = float("inf"), 0
    for epoch in run.epochs(2 if tiny else EPOCHS):
        net.train()
        for batch in loader:
            train_step(batch)
        net.eval()
        with torch.no_grad():
            held = F.cross_entropy(net(held_inputs), held_labels).item()
        run.log(epoch=epoch, held_out_loss=held)
        best, waited = (held, 0) if held < best else (best, waited + 1)
        if waited == PATIENCE:
            run.early_stop(f"held-out loss no better for {PATIENCE} epochs")  # a declared event: reports show it
            print(f"stopped after epoch {epoch}: no better for {PATIENCE} epochs")
            break
    print(run.evaluate(net, test_set, metrics=["accuracy", "cross_entropy"]))
    closing = run.finish()  # fewer steps than were intended: the closing record says early-stop
    print(f"{closing.steps} steps, {closing.reason}")
    certify_and_report(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tiny="--tiny" in sys.argv)
