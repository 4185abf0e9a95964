"""Steps that use Hugging Face's `accelerate`: recorded, or refused with what to write instead."""

import pytest
from accelerate import Accelerator
from torch.nn import functional

import assay
from assay.errors import CaptureRefused
from assay.training.pytorch.call_numbers import OptimizerRefused
from benchmarks.traps import replay
from tests.training.pytorch.sessions import line_of, make_data, make_net, record_beside_plain, sgd


def test_prepared_models_are_recorded(tmp_path):
    """A prepared model and `accelerator.backward` have the bits of the same loop without recording."""
    accelerator = Accelerator(cpu=True)

    def make():
        plain = make_net()
        net, optimizer = accelerator.prepare(plain, sgd(plain))

        def body(batch):
            loss = functional.cross_entropy(net(batch[0]), batch[1])
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return net, optimizer.optimizer, body

    _, differing = record_beside_plain(tmp_path / "run", make, checkpoint_every=2)
    assert differing == []
    assert replay(tmp_path / "run") == []


def test_a_wrapped_optimizer_is_refused(tmp_path):
    """The wrapper that `prepare` gives does no update itself; the refusal says which optimizer does."""
    net, optimizer = Accelerator(cpu=True).prepare((plain := make_net()), sgd(plain))
    with assay.start(tmp_path / "run", seed=1) as run:
        run.loader(make_data(), batch_size=4)
        with pytest.raises(OptimizerRefused, match="wraps another optimizer") as refusal:
            run.step(models=[net], optimizers=[optimizer])
    assert "its attribute optimizer" in refusal.value.next_step


def test_accumulate_is_refused(tmp_path):
    """`accelerator.accumulate` decides by a count in Python whether a step updates; the run's own way is named."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    net, optimizer = accelerator.prepare((plain := make_net()), sgd(plain))

    def body(batches):
        for batch in batches:
            with accelerator.accumulate(net):  # here
                loss = functional.cross_entropy(net(batch[0]), batch[1])
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        return loss

    with assay.start(tmp_path / "run", seed=1) as run:
        loader = run.loader(make_data(), batch_size=4)
        step = run.step(models=[net], optimizers=[optimizer.optimizer], accumulate=2)(body)
        with pytest.raises(CaptureRefused, match="counts its calls") as refusal:
            step(next(iter(loader)))
    assert refusal.value.message.startswith(line_of(body))
    assert "accumulate=k" in refusal.value.next_step
