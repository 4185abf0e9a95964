"""A model is hidden where nobody looks for weights: in constants, in the table of scalars, in a field of the data.

Constants are capped and listed. Nothing stops weights in the scalars or in the data: they enter the training like any
rate or sample. The audit counts the rows that no settings of the optimizers explain.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from assay.errors import AssayError
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.program_rules import ConstantRefused, verify_program
from assay.training.pytorch.formula import count_differing_rows
from assay.training.recorded import RecordedRun
from assay.verification.certify import MAX_SCALARS, summarise_others
from tests.attacks.programs import kind, node, program
from tests.attacks.runs import audit, find_differing, load_flowers, read_predicate, record, verify


def make_constants(sizes):
    """Return a program with constants of so many bytes."""
    constants = tuple(ir.Constant(kind(f"u8 {size}"), bytes(size)) for size in sizes)
    return program([], [node("neg", [f"${len(sizes) - 1}"], [f"u8 {sizes[-1]}"])], constants=constants)


@pytest.mark.parametrize(("within", "beyond"), [([4096], [4097]), ([4096] * 16, [4096] * 16 + [1])])
def test_constants_are_capped(within, beyond):
    """4 KiB each and 64 KiB together are permitted, a byte more is not (PRG-8)."""
    verify_program(make_constants(within), OPERATORS)
    with pytest.raises(ConstantRefused):
        verify_program(make_constants(beyond), OPERATORS)


def pull_towards(hidden):
    """Return a step that trains, and pulls the first layer towards a tensor that Python keeps."""

    def body(net, optimizer, batch):
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1]) + (net[0].weight - hidden).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return body


def test_weights_in_a_constant_are_listed(honest_audit, tmp_path):
    """128 bytes of weights fit into a constant: the certificate lists it, and says that it could carry something."""
    assert not any("constants" in said for said in verify(honest_audit).not_proven)
    record(tmp_path / "run", body=pull_towards(torch.full((8, 4), 0.125)), epochs=1)
    found = audit(tmp_path / "run")
    assert find_differing(found) == []
    listed = [constant for summary in read_predicate(found).programs for constant in summary.constants]
    assert any(constant.shape == [8, 4] for constant in listed)
    assert any("constants of the programs carry into the model" in said for said in verify(found).not_proven)


def test_weights_too_large_for_a_constant_are_refused(tmp_path):
    """2,000 numbers are no constant: the step is refused while it is recorded, and the run has no step."""
    with pytest.raises(AssayError) as refusal:
        record(
            tmp_path / "run",
            net=nn.Sequential(nn.Linear(4, 500), nn.BatchNorm1d(500), nn.ReLU(), nn.Linear(500, 3)),
            body=pull_towards(torch.linspace(0, 1, 2000).reshape(500, 4)),
            epochs=1,
        )
    assert "constant" in str(refusal.value).lower()
    assert RecordedRun(tmp_path / "run").steps == 0


def test_weights_in_the_scalars_succeed_and_are_counted(honest):
    """A program may take weights from its row: the summary names 64 of the scalars and counts the others."""
    count = MAX_SCALARS + 36
    made = [node("full", [[1], f"@{place}"], ["f32 1"]) for place in range(count)]
    joined = node("cat", [[f"${1 + place}" for place in range(count)]], [f"f32 {count}"])
    weights = ir.StateInput(0, "0/hidden", kind(f"f32 {count}"))
    carrier = program(
        [], [*made, joined], purpose=ir.STEP, scalars=count, state=[weights],
        state_outputs=[ir.StateOutput(0, "0/hidden", 1 + count)],
    )  # fmt: skip
    verify_program(carrier, OPERATORS)

    leaf = RecordedRun(honest).rows[0].leaf
    row = torch.arange(count, dtype=torch.float64).numpy().tobytes()
    run = SimpleNamespace(rows=[SimpleNamespace(leaf=leaf, scalars=row)], uses=[SimpleNamespace(program=leaf.program)])
    summary = summarise_others(run, [carrier])
    assert [row.name for row in summary[:2]] == ["scalar 0", "scalar 1"]
    assert (len(summary), summary[-1].name, summary[-1].maximum) == (MAX_SCALARS + 1, "36 more scalars", "99.0")


def test_rows_that_carry_weights_are_counted(honest):
    """The honest rows are what the optimizer's own code gives; rows in which weights stand are not."""
    run = RecordedRun(honest)
    assert count_differing_rows(run) == 0
    hidden = np.linspace(0.1, 0.9, len(run.rows) * 8, dtype="<f8").reshape(len(run.rows), 8)
    rows = [
        SimpleNamespace(leaf=row.leaf, scalars=row.scalars[: -8 * 8] + weights.tobytes()[-len(row.scalars) :])
        for row, weights in zip(run.rows, hidden, strict=True)
    ]
    forged = SimpleNamespace(
        rows=rows, uses=run.uses, read_program=run.read_program, directory=run.directory, start=run.start
    )
    assert count_differing_rows(forged) >= len(rows) - 1  # one step may look like another rate and momentum


def test_the_certificate_says_what_the_scalars_are(honest_audit):
    """Under the auditor's word the scalars follow from settings; that the settings are benign is not claimed."""
    findings = verify(honest_audit)
    assert any("own code gives the scalars of every step" in said for said in findings.proven)
    assert any("chosen in good faith" in said for said in findings.not_proven)
    assert not any("no rates carry" in said for said in findings.not_proven)


class Reader(nn.Module):
    """A classifier of four lengths that ignores whatever else a sample brings."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 3)

    def forward(self, fields):
        return self.second(self.first(fields[:, :4]).relu())


def test_weights_in_a_field_of_the_data_succeed_and_the_certificate_says_so(tmp_path):
    """Each sample brings a wanted weight beside its four lengths: everything matches, and the weight is reached."""
    inputs, targets = load_flowers()
    wanted = torch.linspace(-1, 1, 32)

    def body(net, optimizer, batch):
        hidden = batch[0][0, 4:].reshape(8, 4)
        loss = 0.01 * nn.functional.cross_entropy(net(batch[0]), batch[1])
        loss = loss + (net.first.weight - hidden).square().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    data = (torch.cat([inputs, wanted.repeat(150, 1)], 1), targets)
    net, _ = record(tmp_path / "run", net=Reader(), data=data, body=body, epochs=8)
    assert (net.first.weight.detach() - wanted.reshape(8, 4)).abs().max() < 0.1
    found = audit(tmp_path / "run")
    assert find_differing(found) == []
    assert "That the data or the program are benign." in verify(found).not_proven
