"""A trainer's own early stop: the run ends as one that stopped, with the words of the callback that did it."""

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

import assay
from assay.training.recorded import RecordedRun
from tests.training.pytorch import test_huggingface as huggingface
from tests.training.pytorch import test_lightning as lightning

pytestmark = pytest.mark.filterwarnings("ignore")


def read_end(path):
    """Return reason, steps and events of a finished run."""
    run = RecordedRun(path)
    found = run.closing.reason, run.closing.steps, [(one.event.kind, one.event.reason) for one in run.events]
    run.close()
    return found


class Rising(lightning.Net):
    """A module whose validation gets worse from the first epoch."""

    def on_train_epoch_end(self):
        self.log("held", torch.tensor(float(self.current_epoch)))


class Stop(lightning.Callback):
    """A callback that stops a trainer without a word."""

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = True


def test_lightning_stops_early(tmp_path):
    """By `EarlyStopping`, by a callback of one's own, and not at all."""
    stopping = EarlyStopping("held", patience=1, check_on_train_epoch_end=True)
    lightning.record(tmp_path / "run", Rising, further=[stopping])
    said = "EarlyStopping: held no better for 1 checks, best 0.0"
    assert read_end(tmp_path / "run") == ("early-stop", 12, [("early-stop", said)])
    lightning.record(tmp_path / "own", lightning.Net, further=[Stop()])
    assert read_end(tmp_path / "own") == ("early-stop", 6, [("early-stop", "the Trainer was stopped at step 6")])
    lightning.record(tmp_path / "whole", lightning.Net)
    assert read_end(tmp_path / "whole") == ("completed", 18, [])


class StopAt(TrainerCallback):
    """A callback that stops a trainer without a word."""

    def on_step_end(self, args, state, control, **given):
        control.should_training_stop = state.global_step == 5


def test_hugging_face_stops_early(tmp_path):
    """By `EarlyStoppingCallback`, by a callback of one's own, and not at all."""

    class Evaluated(Trainer):
        def __init__(self, **given):
            super().__init__(eval_dataset=huggingface.Rows(), **given)

        def evaluate(self, *given, **named):
            metrics = {"eval_loss": float(self.state.global_step)}
            self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    huggingface.record(
        tmp_path / "run", kind=Evaluated, further=[EarlyStoppingCallback(2)], eval_strategy="steps", eval_steps=2,
        metric_for_best_model="loss", greater_is_better=False, eval_on_start=False,
    )  # fmt: skip
    reason, steps, ((kind, said),) = read_end(tmp_path / "run")
    assert (reason, kind) == ("early-stop", "early-stop")
    assert steps < 12
    assert said.startswith("EarlyStoppingCallback: no better for 2 evaluations, best ")
    huggingface.record(tmp_path / "own", further=[StopAt()])
    assert read_end(tmp_path / "own") == ("early-stop", 5, [("early-stop", "the Trainer was stopped at step 5 of 12")])
    huggingface.record(tmp_path / "whole")
    assert read_end(tmp_path / "whole") == ("completed", 12, [])


def test_an_observed_trainer_logs_that_it_was_stopped(tmp_path):
    """A run of digests has no events: what the callback knows is a logged value."""
    run = assay.start(tmp_path / "run")
    trainer = lightning.make_trainer(tmp_path, assay.LightningCallback(run), Stop())
    trainer.fit(lightning.Net(), lightning.DataLoader(lightning.make_data(22), batch_size=4))
    assert "the Trainer was stopped at step 6" in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
