"""Fine-tuning from a certificate: the first model of a run is the certified one, byte for byte."""

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional

import assay
from assay.demonstration.digits import ConvNet, make_data
from assay.errors import MalformedEvidence
from assay.protocol.evidence.plan import CertifiedStart
from assay.training.pytorch.files import FileUnfit
from assay.training.pytorch.parent import ParentUnfit
from assay.training.pytorch.run_errors import WrongOrder
from assay.training.recorded import RecordedRun, RunContradicts, verify_parent
from assay.verification.certify import export_file
from tests.training.pytorch.test_batches_of_all_kinds import replay

SHIPPED = Path(assay.__file__).parent / "demo_data"
CERTIFICATE, MODEL = SHIPPED / "demo.assay.json", SHIPPED / "demo.safetensors"


class Adapter(nn.Module):
    """A low-rank addition to the head of a frozen net."""

    def __init__(self, net):
        super().__init__()
        self.down, self.up = nn.Linear(384, 2, bias=False), nn.Linear(2, 10, bias=False)
        nn.init.zeros_(self.up.weight)
        self.net = [net]

    def forward(self, images):
        hidden = self.net[0].features(images).flatten(1)
        return self.net[0].head(hidden) + self.up(self.down(hidden))


def fine_tune(path, *, steps=6, swap=False, seed=0):
    """Train an adapter on the certified net for some steps; finish after six."""
    run = assay.start(path, seed=2, checkpoint_every=2)
    torch.manual_seed(seed)
    net = ConvNet()
    run.adopt(net, certificate=CERTIFICATE, model=MODEL)
    net.eval().requires_grad_(False)
    adapter = Adapter(net)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.01)
    loader = run.loader(torch.utils.data.Subset(make_data()[0], range(48)), batch_size=16)

    @run.step(models=[adapter, net] if swap else [net, adapter], optimizers=[optimizer])
    def step(batch):
        loss = functional.cross_entropy(adapter(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    try:
        for _ in run.epochs(2):
            for batch in loader:
                if run.step_number == steps:
                    return None
                step(batch)
        return run.finish()
    finally:
        run.close()


def test_a_run_from_a_certificate_names_it(tmp_path):
    """The plan holds digest and model root, the start is stored, the run resumes and replays (PLN-17)."""
    whole = fine_tune(tmp_path / "whole")
    run = RecordedRun(tmp_path / "whole")
    start = run.plan.start
    assert isinstance(start, CertifiedStart)
    assert start.certificate == sha256(CERTIFICATE.read_bytes()).digest()
    frozen = [record for record in run.start.records if record.name.startswith("0/")]
    run.close()
    assert frozen
    assert replay(tmp_path / "whole") == []
    assert fine_tune(tmp_path / "resumed", steps=3) is None
    assert fine_tune(tmp_path / "resumed", seed=9).final_state == whole.final_state


def test_the_model_of_a_child_is_loaded_into_both_its_modules(tmp_path):
    """The file of a run with two models fits the list of them, in the order of the step, and nothing else."""
    fine_tune(tmp_path / "run")
    file = tmp_path / "child.safetensors"
    export_file(tmp_path / "run", file)
    net = ConvNet()
    adapter = Adapter(net)
    parts = assay.load([net, adapter], file)
    assert parts == [net, adapter]
    assert adapter.up.weight.abs().sum() > 0
    parent = assay.load(ConvNet(), MODEL)
    assert all(torch.equal(one, other) for one, other in zip(net.parameters(), parent.parameters(), strict=True))
    for wrong in (ConvNet(), [adapter, net]):
        with pytest.raises(FileUnfit, match=r"0/"):
            assay.load(wrong, file)


def test_another_first_model_is_refuted(tmp_path):
    """Evidence whose first model is not the certified one contradicts its plan (PLN-17)."""
    fine_tune(tmp_path / "run")
    run = RecordedRun(tmp_path / "run")
    verify_parent(run.plan.start, run.start.records, run.start.aliases)
    changed = msgspec.structs.replace(run.start.records[0], digest=bytes(32))
    with pytest.raises(RunContradicts, match="not the certified one"):
        verify_parent(run.plan.start, [changed, *run.start.records[1:]], run.start.aliases)
    run.close()


def test_the_certified_model_comes_first(tmp_path):
    """Another order of the models, or a second start, is refused before the first step."""
    with pytest.raises(ParentUnfit, match="not the first one"):
        fine_tune(tmp_path / "run", swap=True)
    with assay.start(tmp_path / "twice") as run:
        run.init()
        with pytest.raises(WrongOrder, match=r"run\.adopt"):
            run.adopt(ConvNet(), certificate=CERTIFICATE, model=MODEL)


class Wrapped(nn.Module):
    """A layer of the certified net, wrapped as adapters of other packages do it."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer, self.extra = layer, nn.Linear(384, 10, bias=False)

    def forward(self, hidden):
        return self.base_layer(hidden) + self.extra(hidden)


def rebuild(net):
    """Put another module in the place of a layer."""
    net.head = Wrapped(net.head)


def shift(net):
    """Write into a weight."""
    with torch.no_grad():
        net.head.bias.add_(1)


@pytest.mark.parametrize(("change", "words"), [(rebuild, "0/head.base_layer"), (shift, "was changed after run.adopt")])
def test_a_model_that_was_changed_after_it_was_filled_is_refused(change, words, tmp_path):
    """Layers put into the certified model, and values written into it: the user is told, with the cure."""
    with assay.start(tmp_path / "run") as run:
        net = ConvNet()
        run.adopt(net, certificate=CERTIFICATE, model=MODEL)
        change(net)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        loader = run.loader(torch.utils.data.Subset(make_data()[0], range(48)), batch_size=16)

        @run.step(models=[net], optimizers=[optimizer])
        def step(batch):
            raise AssertionError

        with pytest.raises(ParentUnfit, match=words) as refused:
            next(iter(loader))
        assert refused.value.expected
        assert refused.value.next_step
    assert not (tmp_path / "run" / "plan.bin").exists()


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    """A model file with one changed byte, and bytes that are no certificate."""
    data = bytearray(MODEL.read_bytes())
    data[-1] ^= 1
    (tmp_path / "changed").write_bytes(data)
    (tmp_path / "no-certificate").write_bytes(b"{}")
    with assay.start(tmp_path / "run") as run:
        with pytest.raises(ParentUnfit):
            run.adopt(ConvNet(), certificate=CERTIFICATE, model=tmp_path / "changed")
        with pytest.raises(MalformedEvidence):
            run.adopt(ConvNet(), certificate=tmp_path / "no-certificate", model=MODEL)
