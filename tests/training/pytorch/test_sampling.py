"""Sampling in the step: draws by torch's calls, in whatever form, are counter-based, recorded and replayed."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import assay
from assay.errors import CaptureRefused
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
    "one hot": lambda x: functional.one_hot(torch.randint(0, 4, (len(x),)), 4),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_recorded_and_replayed(name, tmp_path):
    """Two runs of one seed have the same losses, another seed has others, and the state can be recomputed."""
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
