"""The step of Hugging Face's `Trainer` as a recorded step: the bits of its own, an audit that matches, refusals."""

import json
import re
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

import assay
from assay.errors import CaptureRefused, UsageError
from assay.training.pytorch.home import StateChanged
from assay.training.pytorch.run_errors import WrongOrder
from assay.training.pytorch.trainer_levels import TrainerUnfit
from assay.training.recorded import RecordedRun

pytestmark = pytest.mark.filterwarnings("ignore")

COUNT, SIZE = 22, 4
"""22 samples in batches of 4: six batches an epoch, the last with two samples."""


class Rows:
    """Sentences of 12 tokens, some of them not counted; and four numbers with a class for a plain module."""

    def __len__(self):
        return COUNT

    def __getitem__(self, place):
        generator = torch.Generator().manual_seed(place)
        tokens = torch.randint(0, 32, (12,), generator=generator)
        labels = torch.where(torch.arange(12) < 3 + place % 5, -100, tokens)
        return {"input_ids": tokens, "labels": labels, "attention_mask": torch.ones_like(tokens)}


class Tiny(nn.Module):
    """A module that is no model of transformers: the mean of a batch is its loss."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(32, 6), nn.Linear(6, 32)

    def forward(self, input_ids, labels, attention_mask):
        logits = self.head(self.table(input_ids))
        return {"loss": functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def make_gpt():
    """A GPT-2 of one layer, from a configuration."""
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=1, n_head=2, n_embd=8, n_positions=12, vocab_size=32, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, attn_implementation="eager", use_cache=False,
        )
    )  # fmt: skip


def make_settings(folder, **options):
    """Return quiet settings on the CPU."""
    settings = {
        "num_train_epochs": 2, "per_device_train_batch_size": SIZE, "optim": "adamw_torch", "learning_rate": 0.01,
        "logging_steps": 1, "report_to": [], "use_cpu": True, "save_strategy": "no", "disable_tqdm": True,
        "lr_scheduler_type": "cosine", "warmup_steps": 2, **options,
    }  # fmt: skip
    return TrainingArguments(output_dir=str(folder / "out"), **settings)


class Watch(TrainerCallback):
    """Keeps the logs."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **given):
        self.logs.append({name: logs[name] for name in ("loss", "learning_rate", "grad_norm") if name in logs})


def record(folder, make=Tiny, kind=Trainer, *, further=(), batch_size=SIZE, take=True, **options):
    """Record a training; return model, logs and microbatches."""
    run = assay.start(folder, seed=1, checkpoint_every=4)
    torch.manual_seed(3)
    model, watch, batches = make(), Watch(), []
    callback = assay.HuggingFaceCallback(run, level="replayable")
    trainer = kind(model=model, args=make_settings(folder.parent, **options), callbacks=[callback, watch, *further])
    try:
        if take:
            callback.take_over(trainer, run.loader(Rows(), batch_size=batch_size))
            given = trainer.get_train_dataloader()

            class Kept:
                def __len__(self):
                    return len(given)

                def __iter__(self):
                    for batch in given:
                        batches.append({name: value.clone() for name, value in batch.items()})
                        yield batch

            trainer.get_train_dataloader = Kept
        else:
            trainer.train_dataset = Rows()
        trainer.train()
        run.finish()
    finally:
        run.close()
    return model, watch.logs, batches


def train_plainly(folder, batches, make=Tiny, kind=Trainer, **options):
    """Give the recorded batches to the `Trainer`'s own loop, from the same start."""

    class Given:
        place = 0

        def __len__(self):
            return 6

        def __iter__(self):
            for _ in range(6):
                self.place += 1
                yield batches[self.place - 1]

    torch.manual_seed(3)
    model, watch, given = make(), Watch(), Given()
    trainer = kind(model=model, args=make_settings(folder, **options), callbacks=[watch])
    trainer.get_train_dataloader = lambda: given
    trainer.train()
    return model, watch.logs


def get_bits(module):
    """Return the bytes of everything that a module holds."""
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in module.state_dict().items()}


class Weighted(Trainer):
    """A trainer with a loss of its own."""

    def compute_loss(self, model, inputs, **given):
        outputs = model(**inputs)
        return outputs["loss"] + 0.1 * outputs["logits"].square().mean()


@pytest.mark.parametrize(
    ("make", "kind", "options"),
    [
        (Tiny, Trainer, {}),
        (Tiny, Weighted, {"gradient_accumulation_steps": 4, "max_grad_norm": 0.05}),
        (Tiny, Trainer, {"max_grad_norm": 0.0, "optim": "sgd", "max_steps": 9}),
        (Tiny, Trainer, {"optim": "adamw_torch_fused"}),
        (make_gpt, Trainer, {}),
        (make_gpt, Trainer, {"gradient_accumulation_steps": 4, "weight_decay": 0.1}),
        (make_gpt, Trainer, {"label_smoothing_factor": 0.1}),
    ],
    ids=[
        "module",
        "own loss, accumulated",
        "sgd without clipping",
        "fused",
        "gpt",
        "gpt, accumulated",
        "gpt, smoothed",
    ],
)
def test_the_recorded_run_has_the_bits_of_the_trainers_own_loop(tmp_path, make, kind, options):
    """Weights, rates and norms are those of `trainer.train()` alone; accumulated losses nearly so."""
    model, logs, batches = record(tmp_path / "run", make, kind, **options)
    other, plain = train_plainly(tmp_path, batches, make, kind, **options)
    assert get_bits(model) == get_bits(other)
    assert len(logs) == len(plain) > 2
    for mine, own in zip(logs, plain, strict=True):
        assert mine.keys() == own.keys()
        assert mine.get("grad_norm") == own.get("grad_norm")
        assert mine.get("learning_rate") == own.get("learning_rate")
        assert mine.get("loss", 0.0) == pytest.approx(own.get("loss", 0.0), rel=1e-6)
    run = RecordedRun(tmp_path / "run")
    assert len(run.uses) <= 4  # the first step makes slots; the last batch of an epoch is smaller
    run.close()


def test_assay_run_audit_carries_it_out_again(tmp_path):
    """Every interval matches, in processes that know nothing of the `Trainer`."""
    record(tmp_path / "run", make_gpt, gradient_accumulation_steps=2)
    command = [sys.executable, "-m", "assay", "run", "audit", tmp_path / "run", "--out", tmp_path / "certificate"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)["report"]
    assert (report["matching"], report["intervals"], report["start"]) == (2, 2, "not recomputed")


class OwnStep(Trainer):
    def training_step(self, model, inputs, num_items_in_batch=None):
        return super().training_step(model, inputs, num_items_in_batch)


class LooksAtGradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, **given):
        next(given["model"].parameters()).grad.zero_()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": OwnStep}, r"OwnStep\.training_step"),
        ({"further": [LooksAtGradients()]}, r"LooksAtGradients\.on_pre_optimizer_step"),
        ({"bf16": True}, "mixed precision bf16"),
        ({"batch_size": 2}, "batches of 2"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size"),
        ({"load_best_model_at_end": True, "eval_strategy": "no", "save_strategy": "no"}, "load_best_model_at_end"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_recorded_is_refused_before_the_first_step(tmp_path, options, reason):
    """Reason and cure; nothing was recorded."""
    with pytest.raises(TrainerUnfit, match="cannot be recorded as replayable") as refused:
        record(tmp_path / "run", **options)
    assert re.search(reason, str(refused.value.actual))
    assert refused.value.next_step


class ReadsStep(Trainer):
    def compute_loss(self, model, inputs, **given):
        return model(**inputs)["loss"] * (1 + self.state.global_step)


class Catches(Trainer):
    def compute_loss(self, model, inputs, **given):
        try:
            factor = self.state.epoch
        except Exception:  # noqa: BLE001 - as careless users do
            factor = 1
        return model(**inputs)["loss"] * factor


class ReadsRate(Trainer):
    def compute_loss(self, model, inputs, **given):
        return model(**inputs)["loss"] * self.lr_scheduler.get_last_lr()[0]


class AsksAccelerator(Trainer):
    def compute_loss(self, model, inputs, **given):
        return self.accelerator.gather(model(**inputs)["loss"]).mean()


class Counts(Trainer):
    seen = 0

    def compute_loss(self, model, inputs, **given):
        self.seen += 1
        return model(**inputs)["loss"]


@pytest.mark.parametrize("kind", [ReadsStep, Catches, ReadsRate, AsksAccelerator, Counts])
def test_a_loss_that_is_no_function_of_model_and_batch_is_refused(tmp_path, kind):
    """What it asks of the trainer is never a constant of the program."""
    with pytest.raises(CaptureRefused) as refused:
        record(tmp_path / "run", kind=kind)
    assert refused.value.next_step
    if kind is not Counts:
        assert f"{__file__}:" in refused.value.message


class Anneal(TrainerCallback):
    """Changes a number of the trainer that its loss reads, after the third step."""

    def __init__(self):
        self.trainer = None

    def on_step_end(self, args, state, control, **given):
        if state.global_step == 3:
            self.trainer.factor = 2.0


class Annealed(Trainer):
    factor = 1.0

    def __init__(self, *args, callbacks=(), **options):
        super().__init__(*args, callbacks=callbacks, **options)
        for callback in callbacks:
            if isinstance(callback, Anneal):
                callback.trainer = self

    def compute_loss(self, model, inputs, **given):
        return model(**inputs)["loss"] * self.factor


def test_a_number_that_changes_between_steps_gives_another_program(tmp_path):
    """The loss of the fourth step is twice that of a trainer whose number stays."""
    _, logs, _ = record(tmp_path / "run", kind=Annealed, further=[Anneal()], max_steps=4)
    _, steady, _ = record(tmp_path / "steady", kind=Annealed, max_steps=4)
    assert [log["loss"] for log in logs[:3]] == [log["loss"] for log in steady[:3]]
    assert logs[3]["loss"] == pytest.approx(2 * steady[3]["loss"])


class ChangesClipping(TrainerCallback):
    def on_step_end(self, args, state, control, **given):
        args.max_grad_norm = 0.5


class ChangesWeights(TrainerCallback):
    def on_step_end(self, args, state, control, **given):
        with torch.no_grad():
            next(given["model"].parameters()).mul_(0.5)


@pytest.mark.parametrize(("callback", "error"), [(ChangesClipping(), TrainerUnfit), (ChangesWeights(), StateChanged)])
def test_a_callback_that_changes_step_or_weights_is_refused(tmp_path, callback, error):
    """The training ends with a refusal, not with a run that hides it."""
    with pytest.raises(error):
        record(tmp_path / "run", further=[callback])


class Stops(TrainerCallback):
    def on_step_end(self, args, state, control, **given):
        if state.global_step == 6:
            raise KeyboardInterrupt


def test_a_begun_run_and_a_trainer_without_batches_are_refused(tmp_path):
    """The trainer's counters begin at 0, and its own batches are not those of the run."""
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "begun", further=[Stops()])
    with pytest.raises(TrainerUnfit, match="cannot be gone on with"):
        record(tmp_path / "begun")
    with pytest.raises(WrongOrder, match="no batches of the run"):
        record(tmp_path / "other", take=False)
    with assay.start(tmp_path / "level") as run, pytest.raises(UsageError, match="no such level"):
        assay.HuggingFaceCallback(run, level="certified")
