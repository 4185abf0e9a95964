"""The losses of `torch.nn` that have a fixed shape, one by one: recorded beside plain PyTorch, then audited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from assay.errors import CaptureRefused
from assay.verification.tasks import Task
from assay.verification.worker import Worker
from tests.training.pytorch.sessions import make_net, record, record_beside_plain, sgd

torch.set_num_threads(1)

SAMPLES, CLASSES, STEPS = 12, 3, 6


def floats(*shape):
    """Targets that are numbers."""
    return torch.randn(SAMPLES, *shape, generator=torch.Generator().manual_seed(1))


def labels(*shape, classes=CLASSES):
    """Targets that are classes."""
    return torch.randint(0, classes, (SAMPLES, *shape), generator=torch.Generator().manual_seed(2))


def chances(*shape):
    """Targets between 0 and 1."""
    return torch.rand(SAMPLES, *shape, generator=torch.Generator().manual_seed(3))


def signs(*shape):
    """Targets that are -1 or 1."""
    return 2.0 * labels(*shape, classes=2) - 1.0


def soft():
    """A distribution over the classes for each sample."""
    return functional.softmax(floats(CLASSES), dim=1)


def lists_of_labels():
    """For each sample its classes, and -1 after them."""
    rows = torch.tensor([[0, -1, -1], [2, 1, -1], [1, 0, 2], [-1, -1, -1]])
    return rows[torch.arange(SAMPLES) % len(rows)]


def apart(first, second):
    """A distance that is no norm."""
    return (first - second).square().sum(1)


def shifted(scores):
    """Other scores of the same samples, so that losses of pairs and triplets have something to compare."""
    return scores.flip(1) + 0.1


@dataclass(frozen=True)
class Loss:
    """A loss, what it is called with, and the targets of the data."""

    loss: Any
    targets: Any
    call: Any = None


def over_pairs(loss, scores, target):
    """Compare two scores of each sample."""
    return loss(scores, shifted(scores), target)


def over_columns(loss, scores, target):
    """Compare two numbers of each sample."""
    return loss(scores[:, 0], scores[:, 1], target)


def over_triplets(loss, scores, target):
    """Pull two scores together and push a third away."""
    return loss(scores, shifted(scores), target)


def over_logarithms(loss, scores, target):
    """Give the logarithms of probabilities."""
    return loss(functional.log_softmax(scores, dim=1), target)


def over_pixels(loss, scores, target):
    """Give scores for each of four places."""
    return loss(functional.log_softmax(scores.view(-1, CLASSES, 1, 1).expand(-1, -1, 2, 2), dim=1), target)


def over_chances(loss, scores, target):
    """Give probabilities."""
    return loss(torch.sigmoid(scores), target)


def with_variance(loss, scores, target):
    """Give a variance that the model computes."""
    return loss(scores[:, :1], target, functional.softplus(scores[:, 1:2]) + 0.01)


def over_time(loss, scores, target):
    """Four places in time, two labels each."""
    steps = functional.log_softmax(torch.stack([scores, 2 * scores, -scores, scores.flip(1)]), dim=2)
    return loss(steps, target, (4,) * len(scores), (2,) * len(scores))


WEIGHTS = torch.tensor([0.2, 1.0, 0.5])

LOSSES = {
    "L1": Loss(nn.L1Loss(), lambda: floats(CLASSES)),
    "L1, sum": Loss(nn.L1Loss(reduction="sum"), lambda: floats(CLASSES)),
    "MSE": Loss(nn.MSELoss(), lambda: floats(CLASSES)),
    "SmoothL1": Loss(nn.SmoothL1Loss(beta=0.5), lambda: floats(CLASSES)),
    "Huber": Loss(nn.HuberLoss(delta=0.7), lambda: floats(CLASSES)),
    "CrossEntropy": Loss(nn.CrossEntropyLoss(), labels),
    "CrossEntropy, weights": Loss(nn.CrossEntropyLoss(weight=WEIGHTS), labels),
    "CrossEntropy, smoothed": Loss(nn.CrossEntropyLoss(label_smoothing=0.1), labels),
    "CrossEntropy, smoothed with weights": Loss(nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), labels),
    "CrossEntropy, ignoring": Loss(nn.CrossEntropyLoss(ignore_index=1), labels),
    "CrossEntropy, soft": Loss(nn.CrossEntropyLoss(), soft),
    "CrossEntropy, soft and smoothed": Loss(nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2), soft),
    "CrossEntropy, sum": Loss(nn.CrossEntropyLoss(reduction="sum"), labels),
    "NLL": Loss(nn.NLLLoss(weight=WEIGHTS, ignore_index=2), labels, over_logarithms),
    "NLL2d": Loss(nn.NLLLoss(weight=WEIGHTS), lambda: labels(2, 2), over_pixels),
    "PoissonNLL": Loss(nn.PoissonNLLLoss(full=True), lambda: labels(CLASSES, classes=5).float()),
    "PoissonNLL, rates": Loss(nn.PoissonNLLLoss(log_input=False), lambda: labels(CLASSES).float(), over_chances),
    "GaussianNLL": Loss(nn.GaussianNLLLoss(full=True), lambda: floats(1), with_variance),
    "KLDiv": Loss(nn.KLDivLoss(reduction="batchmean"), soft, over_logarithms),
    "KLDiv, logarithms": Loss(nn.KLDivLoss(reduction="sum", log_target=True), lambda: soft().log(), over_logarithms),
    "BCE": Loss(nn.BCELoss(weight=WEIGHTS), lambda: chances(CLASSES), over_chances),
    "BCEWithLogits": Loss(nn.BCEWithLogitsLoss(), lambda: chances(CLASSES)),
    "BCEWithLogits, weights": Loss(
        nn.BCEWithLogitsLoss(weight=WEIGHTS, pos_weight=1 + WEIGHTS), lambda: chances(CLASSES)
    ),
    "MarginRanking": Loss(nn.MarginRankingLoss(margin=0.3), signs, over_columns),
    "HingeEmbedding": Loss(nn.HingeEmbeddingLoss(margin=0.7), lambda: signs(CLASSES)),
    "MultiLabelMargin": Loss(nn.MultiLabelMarginLoss(), lists_of_labels),
    "MultiLabelMargin, each": Loss(
        nn.MultiLabelMarginLoss(reduction="none"), lists_of_labels, lambda loss, x, y: loss(x, y).square().mean()
    ),
    "MultiLabelSoftMargin": Loss(
        nn.MultiLabelSoftMarginLoss(weight=WEIGHTS), lambda: labels(CLASSES, classes=2).float()
    ),
    "SoftMargin": Loss(nn.SoftMarginLoss(), lambda: signs(CLASSES)),
    "MultiMargin": Loss(nn.MultiMarginLoss(), labels),
    "MultiMargin, squared": Loss(nn.MultiMarginLoss(p=2, margin=0.5, weight=WEIGHTS), labels),
    "MultiMargin, each": Loss(
        nn.MultiMarginLoss(reduction="none"), labels, lambda loss, x, y: loss(x, y).square().mean()
    ),
    "CosineEmbedding": Loss(nn.CosineEmbeddingLoss(margin=0.2), signs, over_pairs),
    "TripletMargin": Loss(nn.TripletMarginLoss(swap=True), lambda: floats(CLASSES), over_triplets),
    "TripletMarginWithDistance": Loss(
        nn.TripletMarginWithDistanceLoss(distance_function=apart), lambda: floats(CLASSES), over_triplets
    ),
}  # fmt: skip


def make_session(case):
    """Return a net, its optimizer, and a step under a loss."""
    net = make_net()
    optimizer = sgd(net)
    call = case.call or (lambda loss, scores, target: loss(scores, target))

    def body(batch):
        value = call(case.loss, net(batch[0]), batch[1])
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value

    return net, optimizer, body


def make_data(case):
    """Samples of four floats, and the targets of a loss."""
    return TensorDataset(torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(0)), case.targets())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_the_bits_of_plain_pytorch_and_are_replayed(name, tmp_path):
    """Losses and weights are bit-equal over six steps, and an audit replays every interval."""
    case = LOSSES[name]
    closing, differing = record_beside_plain(
        tmp_path / "run", lambda: make_session(case), steps=STEPS, data=make_data(case), checkpoint_every=2
    )
    assert (differing, closing.steps) == ([], STEPS)
    worker = Worker(str(tmp_path / "run"))
    answers = [worker.carry_out(Task("interval", index)) for index in range(worker.run.intervals)]
    assert [answer.result for answer in answers] == ["matches"] * (STEPS // 2)


def test_an_adaptive_softmax_is_refused(tmp_path):
    """It chooses the rows of each cluster of classes, so that shapes depend on the targets."""
    loss = nn.AdaptiveLogSoftmaxWithLoss(CLASSES, 6, cutoffs=[2, 4], div_value=1.0)
    net = nn.ModuleList([make_net(), loss])
    optimizer = sgd(net)

    def body(batch):
        value = loss(net[0](batch[0]), batch[1]).loss
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value

    case = Loss(loss, lambda: labels(classes=6))
    with pytest.raises(CaptureRefused, match=rf"{__file__}:\d+: .*depends on values") as refusal:
        record(tmp_path / "run", net, optimizer, body, data=make_data(case))
    assert "fixed shape" in refusal.value.next_step


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("_ctc_loss", Loss(nn.CTCLoss(blank=0), lambda: 1 + labels(2, classes=2), over_time)),
        (
            "histc",
            Loss(nn.MSELoss(), lambda: floats(CLASSES), lambda loss, x, y: loss(x, y) + x.detach().histc(4).sum()),
        ),
    ],
)
def test_what_is_not_covered_is_refused_with_its_line(name, case, tmp_path):
    """Operators outside the closed list, with file and line."""
    net, optimizer, body = make_session(case)
    with pytest.raises(CaptureRefused, match=rf"{__file__}:\d+: .*{name}") as refusal:
        record(tmp_path / "run", net, optimizer, body, data=make_data(case))
    assert refusal.value.next_step
