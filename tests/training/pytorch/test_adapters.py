"""The callbacks for Hugging Face's and Lightning's trainers, on tiny models that are made from configurations."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import assay
from assay.verification.observation import summarise_observed

warnings.filterwarnings("ignore", category=DeprecationWarning, module="lightning|transformers|accelerate")


@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_trainer_is_watched(tmp_path):
    """A tiny GPT-2 from a configuration: every step is seen, what the trainer logs is declared."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    config = GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=16, vocab_size=32)
    model = GPT2LMHeadModel(config)
    tokens = torch.randint(0, 32, (24, 16), generator=torch.Generator().manual_seed(1))
    samples = [{"input_ids": row, "labels": row} for row in tokens]
    run = assay.start(tmp_path / "run")
    settings = TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=6, per_device_train_batch_size=4, logging_steps=2,
        report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    callback = assay.HuggingFaceCallback(run, every=2)
    Trainer(model=model, args=settings, train_dataset=samples, callbacks=[callback]).train()
    seen = summarise_observed(tmp_path / "run")
    assert (seen.level, seen.finished, seen.steps, seen.roots) == ("observed", True, 6, 3)
    assert seen.log_lines >= 3


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_trainer_is_watched(tmp_path):
    """A small module: every step is seen, what it logs is declared, the level is observed."""
    from lightning.pytorch import LightningModule, Trainer

    class Small(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 2)

        def training_step(self, batch, _number):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01)

    data = TensorDataset(torch.randn(16, 4), torch.randint(0, 2, (16,)))
    run = assay.start(tmp_path / "run")
    trainer = Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        callbacks=[assay.LightningCallback(run, every=1)], default_root_dir=str(tmp_path), enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Small(), DataLoader(data, batch_size=4))
    seen = summarise_observed(tmp_path / "run")
    assert (seen.level, seen.finished, seen.steps, seen.roots) == ("observed", True, 8, 8)
    assert seen.log_lines == 2
