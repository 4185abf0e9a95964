"""Hugging Face's `Trainer`: its step recorded, a GPT-2 from scratch on text that is on your disk.

`pip install 'assay[huggingface]'`. The collate function turns rows into what the model takes.

Usage: python trainer_huggingface.py FOLDER [--tiny]
"""

import sys
from pathlib import Path

import torch
from ending import certify_and_report
from pretrain_text import CONTEXT, make_sets
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import assay

BATCH, ACCUMULATED, STEPS = 8, 2, 120


def collate(rows: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return a batch as the model takes it; the model itself shifts the labels."""
    ids = torch.stack([ids for ids, _ in rows])
    return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}


def main(folder: Path, *, tiny: bool) -> None:
    """Train, certify and report."""
    steps = 16 if tiny else STEPS
    letters, train_set, _ = make_sets("manual", steps * BATCH * ACCUMULATED)
    run = assay.start(folder, seed=7)
    with run.init():
        model = GPT2LMHeadModel(GPT2Config(
            n_layer=2, n_head=4, n_embd=64, n_positions=CONTEXT, vocab_size=letters, use_cache=False,
            attn_implementation="eager", bos_token_id=0, eos_token_id=0,
        ))  # fmt: skip
    callback = assay.HuggingFaceCallback(run, level="replayable")
    settings = TrainingArguments(
        str(folder.with_suffix(".trainer")), per_device_train_batch_size=BATCH, gradient_accumulation_steps=ACCUMULATED,
        num_train_epochs=1, learning_rate=2e-3, warmup_steps=4, lr_scheduler_type="cosine", optim="adamw_torch",
        use_cpu=True, report_to=[], save_strategy="no", logging_steps=8, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model=model, args=settings, callbacks=[callback])
    callback.take_over(trainer, run.loader(train_set, batch_size=BATCH, collate_fn=collate))
    trainer.train()
    closing = run.finish()
    print(f"{closing.steps} steps, {closing.reason}")
    certify_and_report(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tiny="--tiny" in sys.argv)
