"""A hostile program hands indices or shapes to native kernels that do not check them.

Called directly, such kernels crash the process or compute with memory that is not their own. No program gets that far:
it is refused when it is read. What torch checks itself ends in an error of torch.
"""

import subprocess
import sys

import pytest
import torch

from assay.protocol.evidence.operand_rules import UnsafeOperand
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.program_rules import verify_program
from assay.training.pytorch.interpreter import TypeMismatch
from tests.attacks.programs import node, program, run

FAR = 2**33

CRASHES = """
import os, torch
aten, outside = torch.ops.aten, torch.tensor([0, 2**33])
pooled, whole = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 4, 4)
calls = [
    lambda: aten.nll_loss_backward(torch.ones(2), torch.zeros(2, 3), outside, None, 0, -100, torch.ones(())),
    lambda: aten.embedding_dense_backward(torch.ones(2, 4), outside, 3, -1, True),
    lambda: aten.max_pool2d_with_indices_backward(
        pooled, whole, [2, 2], [2, 2], [0, 0], [1, 1], False, torch.full((1, 1, 2, 2), 2**33)
    ),
]
for call in calls:
    child = os.fork()
    if not child:
        call()
        os._exit(0)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_the_kernels_do_crash():
    """The danger is real: three kernels, given an index far outside, end in a signal."""
    done = subprocess.run([sys.executable, "-c", CRASHES], capture_output=True, text=True, timeout=120, check=False)
    assert [int(line) > 0 for line in done.stdout.split()] == [True, True, True]


def make_loss(index):
    """Return a per-sample loss and its gradient; `index` says where the gradient has its targets from."""
    return program(
        ["f32 2 3", "i64 2", "f32 2", "i64 2"],
        [
            node("nll_loss_forward", ["$0", "$1", None, 0, -100], ["f32 2", "f32"]),
            node("nll_loss_backward", ["$2", "$0", index, None, 0, -100, "$5"], ["f32 2 3"]),
        ],
    )


def test_targets_that_the_forward_operator_checked():
    """Both read one target, and torch refuses one out of range; a gradient that reads another is refused (PRG-18)."""
    honest = make_loss("$1")
    verify_program(honest, OPERATORS)
    scores, targets = torch.rand(2, 3).log(), torch.tensor([0, 2])
    assert torch.equal(run(honest, [scores, targets, torch.ones(2), targets])[0][1], torch.tensor([0.0, 0, -1]))
    with pytest.raises(IndexError):
        run(honest, [scores, torch.tensor([0, FAR]), torch.ones(2), targets])
    with pytest.raises(UnsafeOperand) as refusal:
        verify_program(make_loss("$3"), OPERATORS)
    assert refusal.value.code == "program.unsafe-operand"


def make_pool(*, indices="$3", dilation=1):
    """Return a program that pools 4 × 4 to 2 × 2 and back."""
    window = [[2, 2], [2, 2], [0, 0], [dilation, dilation], False]
    return program(
        ["f32 1 1 4 4", "i64 1 1 2 2"],
        [
            node("max_pool2d_with_indices", ["$0", *window], ["f32 1 1 2 2", "i64 1 1 2 2"]),
            node("max_pool2d_with_indices_backward", ["$2", "$0", *window, indices], ["f32 1 1 4 4"]),
        ],
    )


def test_indices_that_the_forward_operator_made():
    """The pool's own indices are honest; those of the batch are not, nor those of a dilated window (PRG-18)."""
    honest = make_pool()
    verify_program(honest, OPERATORS)
    assert run(honest, [torch.arange(16.0).view(1, 1, 4, 4), torch.zeros(1, 1, 2, 2, dtype=torch.int64)])[0].sum() == 40
    for hostile in (make_pool(indices="$1"), make_pool(dilation=4)):
        with pytest.raises(UnsafeOperand):
            verify_program(hostile, OPERATORS)


def attend(*, value="f32 1 2 4 8", mask=None, spare=()):
    """Return attention over given types."""
    inputs = ["f32 1 2 4 8", "f32 1 2 4 8", value, *([mask] if mask else [])]
    keywords = {"attn_mask": "$3"} if mask else {}
    operator = "_scaled_dot_product_flash_attention_for_cpu"
    arguments = ["$0", "$1", "$2", 0.0, False, *spare]
    return program(inputs, [node(operator, arguments, ["f32 1 2 4 8", "f32 1 2 4"], **keywords)])


def attend_backward(*, grad="f32 1 2 4 8", sums="f32 1 2 4"):
    """Return the gradient of attention over given types."""
    operator = "_scaled_dot_product_flash_attention_for_cpu_backward"
    inputs = [grad, *["f32 1 2 4 8"] * 4, sums]
    return program(inputs, [node(operator, ["$0", "$1", "$2", "$3", "$4", "$5", 0.0, False], ["f32 1 2 4 8"] * 3)])


def normalise(*, mean="f32 4", training=True):
    """Return batch norm over 4 channels."""
    inputs = ["f32 2 4", mean, "f32 4"]
    arguments = ["$0", None, None, "$1", "$2", training, 0.1, 1e-5]
    return program(inputs, [node("native_batch_norm", arguments, ["f32 2 4", "f32 4", "f32 4"])])


def normalise_backward(*, grad="f32 2 4", saved="f32 4", train=True):
    """Return the gradient of batch norm over 4 channels."""
    arguments = ["$0", "$1", None, None, None, "$2", "$2", train, 1e-5, [True, False, False]]
    return program([grad, "f32 2 4", saved], [node("native_batch_norm_backward", arguments, ["f32 2 4", None, None])])


def normalise_layer_backward(*, grad="f32 2 4", mean="f32 2 1", weight="f32 4"):
    """Return the gradient of layer norm over 2 rows of 4."""
    arguments = ["$0", "$1", [4], "$2", "$2", "$3", None, [True, False, False]]
    return program(
        [grad, "f32 2 4", mean, weight], [node("native_layer_norm_backward", arguments, ["f32 2 4", None, None])]
    )


def scale(*, norms="f32 3 1", dim=0):
    """Return weight norm over 3 rows."""
    return program(["f32 3 2", norms], [node("_weight_norm_interface", ["$0", "$1", dim], ["f32 3 2", "f32 3 1"])])


def scale_backward(*, grad="f32 3 2", norms="f32 3 1"):
    """Return the gradient of weight norm over 3 rows."""
    arguments = ["$0", "$1", "$2", "$2", 0]
    outputs = ["f32 3 2", "f32 3 1"]
    return program([grad, "f32 3 2", norms], [node("_weight_norm_interface_backward", arguments, outputs)])


def fold(*, sizes=(5,), size=2):
    """Return the gradient of windows of 2 over 5."""
    return program(["f32 4 2"], [node("unfold_backward", ["$0", list(sizes), 0, size, 1], ["f32 5"])])


def look_up(*, by_frequency=False):
    """Return the gradient of an embedding."""
    return program(
        ["f32 2 4", "i64 2"], [node("embedding_dense_backward", ["$0", "$1", 3, -1, by_frequency], ["f32 3 4"])]
    )


def multi_margin_backward(*, grad="f32 2", reduction=0):
    """Return the gradient of a margin loss over 2 rows of 3."""
    arguments = ["$0", "$1", "$2", 1, 1.0, None, reduction]
    return program([grad, "f32 2 3", "i64 2"], [node("multi_margin_loss_backward", arguments, ["f32 2 3"])])


def multilabel_margin_backward(*, grad="f32", reduction=1):
    """Return the gradient of a margin loss over 2 rows of 3 with several labels each."""
    forward = node("multilabel_margin_loss_forward", ["$1", "$2", reduction], ["f32", "f32 2 3"])
    backward = node("multilabel_margin_loss_backward", ["$0", "$1", "$2", reduction, "$4"], ["f32 2 3"])
    return program([grad, "f32 2 3", "i64 2 3"], [forward, backward])


HOSTILE = [
    (attend, {"value": "f32 1 2 1 8"}),
    (attend, {"mask": "f32 2 2 4 4"}),
    (attend, {"mask": "f32 4 3"}),
    (attend, {"spare": ("$0",)}),
    (attend_backward, {"grad": "f32 1 1 1 1"}),
    (attend_backward, {"sums": "f32 1 1 1"}),
    (normalise, {"mean": "f32 1"}),
    (normalise_backward, {"grad": "f32 1 4"}),
    (normalise_backward, {"saved": "f32 1"}),
    (normalise_backward, {"train": False}),
    (normalise_layer_backward, {"grad": "f32 1 4"}),
    (normalise_layer_backward, {"mean": "f32 1 1"}),
    (normalise_layer_backward, {"weight": "f32 1"}),
    (scale, {"norms": "f32 1 1"}),
    (scale, {"dim": 7}),
    (scale_backward, {"norms": "f32 1 1"}),
    (scale_backward, {"grad": "f32 1 1"}),
    (fold, {"sizes": (4000,)}),
    (fold, {"size": 1}),
    (look_up, {"by_frequency": True}),
    (multi_margin_backward, {"grad": "f32 1"}),
    (multi_margin_backward, {"grad": "f32"}),
    (multi_margin_backward, {"reduction": 1}),
    (multilabel_margin_backward, {"grad": "f32 0"}),
    (multilabel_margin_backward, {"grad": "f32 2"}),
]


@pytest.mark.parametrize(("make", "changes"), HOSTILE, ids=lambda value: getattr(value, "__name__", None) or str(value))
def test_shapes_that_do_not_fit(make, changes):
    """The honest program runs; with one operand of another shape it is refused before it is run (PRG-19, PRG-20)."""
    honest = make()
    verify_program(honest, OPERATORS)
    batch = [torch.zeros(entry.shape, dtype=torch.int64 if entry.dtype == "i64" else None) for entry in honest.batch]
    assert run(honest, batch)
    with pytest.raises(UnsafeOperand):
        verify_program(make(**changes), OPERATORS)


def test_the_rules_hold_for_the_tensors_too():
    """A program that states fitting shapes is not run on other tensors: neither inputs nor outputs may differ."""
    with pytest.raises(TypeMismatch):
        run(normalise(), [torch.zeros(2, 4), torch.zeros(1), torch.zeros(4)])


def test_statistics_that_are_missing():
    """Batch norm outside training reads statistics: without them the kernel follows a null pointer."""
    arguments = ["$0", None, None, None, None, False, 0.1, 1e-5]
    hostile = program(["f32 2 4"], [node("native_batch_norm", arguments, ["f32 2 4", "f32 0", "f32 0"])])
    with pytest.raises(UnsafeOperand):
        verify_program(hostile, OPERATORS)


CHECKED_BY_TORCH = {
    "index": node("index.Tensor", ["$0", ["$1"]], ["f32 2"]),
    "unsafe index": node("_unsafe_index.Tensor", ["$0", ["$1"]], ["f32 2"]),
    "index_put": node("index_put", ["$0", ["$1"], "$0"], ["f32 2"]),
    "unsafe index_put": node("_unsafe_index_put", ["$0", ["$1"], "$0", True], ["f32 2"]),
    "gather": node("gather", ["$0", 0, "$1"], ["f32 2"]),
    "scatter": node("scatter.src", ["$0", 0, "$1", "$0"], ["f32 2"]),
    "scatter_add": node("scatter_add", ["$0", 0, "$1", "$0"], ["f32 2"]),
    "scatter_reduce": node("scatter_reduce.two", ["$0", 0, "$1", "$0", "amax"], ["f32 2"]),
    "scatter_reduce of means": node("scatter_reduce.two", ["$0", 0, "$1", "$0", "mean"], ["f32 2"], include_self=False),
    "searchsorted": node("searchsorted.Tensor", ["$0", "$0"], ["i64 2"], sorter="$1"),
    "index_select": node("index_select", ["$0", 0, "$1"], ["f32 2"]),
    "index_add": node("index_add", ["$0", 0, "$1", "$0"], ["f32 2"]),
}


@pytest.mark.parametrize("far", [FAR, -FAR])
@pytest.mark.parametrize("what", CHECKED_BY_TORCH)
def test_indices_that_torch_checks(what, far):
    """An index within works; one far outside is an error of torch, not a crash."""
    subject = program(["f32 2", "i64 2"], [CHECKED_BY_TORCH[what]])
    verify_program(subject, OPERATORS)
    assert len(run(subject, [torch.ones(2), torch.tensor([0, 1])])) == 1
    with pytest.raises((IndexError, RuntimeError)):
        run(subject, [torch.ones(2), torch.tensor([0, far])])


LOSSES_CHECKED_BY_TORCH = {
    "multi_margin_loss": [node("multi_margin_loss", ["$0", "$1", 1, 1.0, None, 0], ["f32 2"])],
    "multi_margin_loss_backward": [
        node("multi_margin_loss_backward", ["$2", "$0", "$1", 1, 1.0, None, 0], ["f32 2 3"]),
    ],
    "multilabel_margin_loss": [
        node("unsqueeze", ["$1", 0], ["i64 1 2"]),
        node("multilabel_margin_loss_forward", ["$3", "$4", 0], ["f32 1", "f32 1 2"]),
    ],
    "multilabel_margin_loss_backward": [
        node("unsqueeze", ["$1", 0], ["i64 1 2"]),
        node("multilabel_margin_loss_backward", ["$2", "$3", "$4", 0, "$3"], ["f32 1 2"]),
    ],
}
"""Inputs: scores, two targets, the gradient of each row, the scores of one row."""


@pytest.mark.parametrize("far", [FAR, -FAR])
@pytest.mark.parametrize("what", LOSSES_CHECKED_BY_TORCH)
def test_targets_that_torch_checks(what, far):
    """Margin losses compare every target with the number of classes, forward and backward."""
    rows = 1 if "multilabel" in what else 2
    inputs = ["f32 2 3", "i64 2", f"f32 {rows}", *(["f32 1 2"] if rows == 1 else [])]
    subject = program(inputs, LOSSES_CHECKED_BY_TORCH[what])
    verify_program(subject, OPERATORS)
    spare = [torch.ones(1, 2)] if rows == 1 else []
    assert run(subject, [torch.ones(2, 3), torch.tensor([0, 1]), torch.ones(rows), *spare])
    with pytest.raises(RuntimeError, match="out of range"):
        run(subject, [torch.ones(2, 3), torch.tensor([0, far]), torch.ones(rows), *spare])


@pytest.mark.parametrize("grad", ["f32 1 1 8 8", "f32 1 1 2 2", "f32 1 2 8 8"])
def test_gradients_of_interpolation_that_torch_checks(grad):
    """The gradient of a bicubic interpolation has the shape of its output, or torch refuses it."""
    backward = node("upsample_bicubic2d_backward", ["$0", [8, 8], [1, 1, 4, 4], False], ["f32 1 1 4 4"])
    subject = program([grad], [backward])
    verify_program(subject, OPERATORS)
    values = torch.ones(*map(int, grad.split()[1:]))
    if values.shape == (1, 1, 8, 8):
        assert len(run(subject, [values])) == 1
        return
    with pytest.raises(RuntimeError, match="Expected grad_output"):
        run(subject, [values])


def pad_backward(kind, *, grad="f32 1 2 8 8", shape="f32 1 2 5 5", pads=(2, 1, 2, 1)):
    """Return the gradient of a padding."""
    return program([grad, shape], [node(f"{kind}_pad2d_backward", ["$0", "$1", list(pads)], [shape])])


PADS = [
    {"grad": "f32 0 2 8 8"}, {"grad": "f32 1 1 8 8"}, {"grad": "f32 1 2 8 7"}, {"grad": "f32 2 8 8"}, {"pads": (2, 1)},
    {"grad": "f32 1 2 8 5", "pads": (9, -9, 2, 1)}, {"grad": "f32 1 2 8 4", "pads": (-5, 4, 2, 1)},
    {"grad": "f32 1 2 8 0", "pads": (-3, -2, 2, 1)}, {"shape": "f32 5 5", "grad": "f32 8 8"},
]  # fmt: skip


@pytest.mark.parametrize("kind", ["reflection", "replication"])
@pytest.mark.parametrize("changes", PADS)
def test_gradients_of_padding(kind, changes):
    """Kernels trust the gradient of a padding to have its shape, and crash: other shapes are refused (PRG-24)."""
    honest = pad_backward(kind)
    verify_program(honest, OPERATORS)
    assert run(honest, [torch.ones(1, 2, 8, 8), torch.ones(1, 2, 5, 5)])[0].sum() == 128
    with pytest.raises(UnsafeOperand):
        verify_program(pad_backward(kind, **changes), OPERATORS)


def test_more_is_reflected_than_there_is():
    """A reflection by the whole extent reads beyond it; a replication may be as wide as it likes."""
    changes = {"grad": "f32 1 2 8 20", "pads": (5, 10, 2, 1)}
    verify_program(pad_backward("replication", **changes), OPERATORS)
    with pytest.raises(UnsafeOperand):
        verify_program(pad_backward("reflection", **changes), OPERATORS)


VIEWS = [([4], [1], 0), ([2], [1], FAR), ([1], [1], -5), ([2], [-1], 1), ([2**33], [2**31], 0), ([3], [2**63 - 1], 0)]


@pytest.mark.parametrize(("size", "stride", "offset"), VIEWS)
def test_views_beyond_the_storage(size, stride, offset):
    """Strides and offsets that leave the storage, or overflow while that is computed, are errors of torch."""
    within = program(["f32 3"], [node("as_strided", ["$0", [2], [1], 1], ["f32 2"])])
    assert run(within, [torch.arange(3.0)])[0].tolist() == [1, 2]
    shape = " ".join(["f32", *map(str, size)])
    hostile = node("as_strided", ["$0", size, stride, offset], [shape])
    written = node("as_strided_scatter", ["$0", "$0", size, stride, offset], ["f32 3"])
    for each in (hostile, written):
        with pytest.raises(RuntimeError):
            run(program(["f32 3"], [each]), [torch.arange(3.0)])


def bags(**changes):
    """Return a program of a bag and its gradient, some operands of which are changed."""
    used = {"offsets": "$2", "indices": "$1", "step": 2, "size": "$5", "rows": 3, "mode": 1, "scale": False, **changes}
    return program(
        ["f32 3 4", "i64 4"],
        [
            node("arange.start_step", [0, 4, used["step"]], ["i64 2"]),
            node(
                "_embedding_bag",
                ["$0", "$1", used["offsets"], used["scale"], 1],
                ["f32 2 4", "i64 4", "i64 2", "i64 2"],
            ),
            node(
                "_embedding_bag_backward",
                ["$3", used["indices"], "$2", "$4", used["size"], "$6", used["rows"], False, used["mode"], False, None],
                ["f32 3 4"],
            ),
        ],
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"offsets": "$1"}, {"step": 0}, {"step": -1}, {"size": "$6"}, {"size": "$1"}, {"rows": 2**39}, {"mode": 2},
        {"indices": "$2"}, {"scale": True},
    ],
)  # fmt: skip
def test_bags_of_unchecked_indices(changes):
    """A bag whose offsets may descend, or a gradient with other indices than its bag, is refused (PRG-18)."""
    verify_program(bags(), OPERATORS)
    with pytest.raises(UnsafeOperand):
        verify_program(bags(**changes), OPERATORS)


@pytest.mark.parametrize(("queries", "keys", "is_safe"), [(4, 2, True), (4, 1, True), (3, 2, False), (2, 4, False)])
def test_heads_of_attention(queries, keys, is_safe):
    """Several heads of the query may share one of the key; other numbers would index beyond the key (PRG-20)."""
    query, key = f"f32 1 {queries} 4 8", f"f32 1 {keys} 4 8"
    operator = "_scaled_dot_product_flash_attention_for_cpu"
    attended = node(operator, ["$0", "$1", "$2", 0.0, False], [query, f"f32 1 {queries} 4"])
    subject = program([query, key, key], [attended])
    if is_safe:
        verify_program(subject, OPERATORS)
        return
    with pytest.raises(UnsafeOperand):
        verify_program(subject, OPERATORS)
