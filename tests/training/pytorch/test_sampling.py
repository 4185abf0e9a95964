"""Sampling in the step: draws by torch's calls, in whatever form, are counter-based, recorded and replayed."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import assay
from assay.errors import CaptureRefused
from assay.protocol.evidence.randomness import STEP, derive_key
from benchmarks.reference import InjectedDraws
from benchmarks.traps import replay
from tests.training.pytorch.sessions import make_data, make_net, record, sgd

DRAWS = {
    "bernoulli of probabilities": lambda x: torch.bernoulli(x.sigmoid().detach()),
    "bernoulli in place": lambda x: torch.empty_like(x).bernoulli_(x.sigmoid().detach()),
    "exponential": lambda x: torch.empty_like(x).exponential_(2.0),
    "normal of tensors": lambda x: torch.normal(x.detach(), torch.ones_like(x)),
    "normal of means": lambda x: torch.normal(x.detach(), 0.5),
    "integers like": lambda x: torch.randint_like(x, 1, 4),
    "gumbel": lambda x: functional.gumbel_softmax(x, tau=0.5),
    "a distribution": lambda x: torch.distributions.Normal(x, x.square() + 1).rsample(),
    "permutation": lambda x: x[torch.randperm(len(x))],
    "a category": lambda x: torch.multinomial(x.detach().softmax(1), 1),
    "categories with replacement": lambda x: torch.multinomial(x.detach().exp(), 4, replacement=True),
    "categories without replacement": lambda x: torch.multinomial(x.detach().exp(), 4),
    "negative samples": lambda x: torch.multinomial(torch.tensor([0.1, 3.0, 0.0, 1.0]), len(x)).unsqueeze(1),
    "categories of short weights": lambda x: torch.multinomial(x.detach().softmax(1).bfloat16(), 1),
    "a categorical distribution": lambda x: torch.distributions.Categorical(logits=x.detach()).sample().unsqueeze(1),
    "a multinomial distribution": lambda x: torch.distributions.Multinomial(3, logits=x.detach()).sample(),
    "one hot": lambda x: functional.one_hot(torch.randint(0, 4, (len(x),)), 4),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_recorded_and_replayed(name, tmp_path):
    """Two runs of one seed have the same losses, another seed has others, and a replay gives the same bits."""
    losses = []
    for folder, seed in (("one", 1), ("two", 1), ("three", 2)):
        net = make_net()
        optimizer = sgd(net)

        def body(batch, net=net, optimizer=optimizer):
            drawn = DRAWS[name](batch[0])
            loss = functional.cross_entropy(net(batch[0] + 0.1 * drawn), batch[1])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        run = assay.start(tmp_path / folder, seed=seed)
        loader = run.loader(make_data(8), batch_size=4, shuffle=False)
        step = run.step(models=[net], optimizers=[optimizer])(body)
        losses.append([step(batch).item() for _ in run.epochs(3) for batch in loader])
        if folder == "one":
            run.finish()
            assert replay(tmp_path / folder) == []
        else:
            run.close()
    assert losses[0] == losses[1] != losses[2]


def test_classes_must_be_counted(tmp_path):
    """`one_hot` without a number of classes has a shape that depends on values."""
    net = nn.Linear(4, 3)
    optimizer = sgd(net)

    def body(batch):
        loss = (net(batch[0]) - functional.one_hot(batch[1])).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    with pytest.raises(CaptureRefused, match="counts the classes"):
        record(tmp_path / "run", net, optimizer, body)


WEIGHTS = torch.tensor([[0.5, 0.0, 3.0, 1.5], [1.0, 1.0, 0.0, 8.0]])


def sample(weights, count, *, replacement=False, step=1):
    """Sample as a recorded step does."""
    with InjectedDraws(derive_key(bytes(32), STEP, step)):
        return torch.multinomial(weights, count, replacement)


@pytest.mark.parametrize(("count", "replacement"), [(1, False), (1, True), (3, True)])
def test_categories_are_as_frequent_as_their_weights(count, replacement):
    """Over 40,000 samples each share is within five deviations of its probability, and weight 0 never comes."""
    tall = WEIGHTS.repeat_interleave(20_000, 0)
    drawn = sample(tall, count, replacement=replacement)
    assert drawn.shape == (40_000, count)
    for row, place in ((0, slice(0, 20_000)), (1, slice(20_000, None))):
        shares = torch.bincount(drawn[place].flatten(), minlength=4) / (20_000 * count)
        wanted = WEIGHTS[row] / WEIGHTS[row].sum()
        assert ((shares - wanted).abs() <= 5 * (wanted * (1 - wanted) / (20_000 * count)).sqrt()).all()


def test_categories_without_replacement():
    """All differ, the first is as frequent as its weight, and so is the second where the first is taken away."""
    weights = torch.tensor([1.0, 2.0, 5.0])
    drawn = sample(weights.expand(20_000, 3), 3)
    assert (drawn.sort(1).values == torch.arange(3)).all()
    shares = torch.bincount(drawn[:, 0], minlength=3) / 20_000
    assert torch.allclose(shares, weights / 8, atol=0.015)
    after = drawn[drawn[:, 0] == 2, 1]
    assert abs((after == 1).float().mean().item() - 2 / 3) < 0.03


@pytest.mark.parametrize("bad", [[0.0, 0.0], [-1.0, 2.0], [math.nan, 1.0], [math.inf, 1.0]])
@pytest.mark.parametrize(("count", "replacement"), [(1, False), (2, True), (2, False)])
def test_weights_that_torch_refuses_give_no_category(bad, count, replacement):
    """PyTorch raises; a recorded step goes on with an index beyond the last, which no table has."""
    weights = torch.tensor([[3.0, 1.0], bad])
    with pytest.raises(RuntimeError):
        torch.multinomial(weights, count, replacement)
    drawn = sample(weights, count, replacement=replacement)
    assert (drawn[0] < 2).all()
    assert (drawn[1] == 2).all()
    with pytest.raises(IndexError):
        functional.embedding(drawn, torch.zeros(2, 3))


@pytest.mark.parametrize(("shape", "count"), [((2, 3), 0), ((3,), 4), ((2, 3, 4), 1)])
def test_samples_that_torch_refuses(shape, count):
    """What PyTorch refuses whatever the weights, a recorded step refuses with the same error."""
    with pytest.raises(RuntimeError) as plain:
        torch.multinomial(torch.ones(shape), count)
    with pytest.raises(RuntimeError) as recorded:
        sample(torch.ones(shape), count)
    assert str(plain.value) == str(recorded.value)
