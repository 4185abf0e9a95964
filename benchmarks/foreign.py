"""Models and scripts that nobody here wrote: whether a recorded step has eager's bits, is refused clearly, or is silently wrong.

The models come from their packages' configuration classes, in tiny sizes and with random weights; nothing is
downloaded. Each is trained for more than twenty steps as its users train it, with a rate that changes at each, beside the
same code in plain eager PyTorch with the same draws, and replayed. *Silently wrong* must be zero, and so must be crashes
that are no refusal; a model whose package is not installed, or that does not run in plain PyTorch either, is left out and
said so. `foreign_packages` has the models of packages that no extra of Assay brings, `foreign_scripts` training steps in
the style of public examples.
"""

# ruff: noqa: E501 - one model a line

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, TensorDataset

import assay
from assay.errors import AssayError
from assay.protocol.evidence.randomness import STEP, derive_key
from benchmarks import scripts_of_images, scripts_of_repositories, scripts_of_sequences  # noqa: F401 - they list theirs
from benchmarks.foreign_packages import PACKAGES
from benchmarks.foreign_scripts import SCRIPTS, Script
from benchmarks.reference import InjectedDraws, is_equal
from benchmarks.report import make_result, print_report
from benchmarks.traps import replay

SEED = (13).to_bytes(32, "little")
CAPTURED, REFUSED, SILENT, CRASHED = "captured", "refused", "silent", "crashed"
MISSING, BROKEN = "not installed", "fails in plain PyTorch too"
STEPS, BATCH = 21, 4
SHAPES = {"images": (3, 32, 32), "images64": (3, 64, 64), "rows": (8,), "graphs": (6, 8), "volumes": (1, 32, 32, 32)}
"""Kind of data to the shape of a sample; tokens are of another type."""
VOCABULARY = 64
SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48}
HEADS: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4}
Loss = Callable[[nn.Module, Sequence[torch.Tensor]], torch.Tensor]


def from_transformers(model: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    """Return a maker of a model of the package `transformers`, by the names of its classes."""

    def make() -> nn.Module:
        package = importlib.import_module("transformers")
        return getattr(package, model)(getattr(package, config)(**settings))

    return make


def from_timm(name: str, **settings: Any) -> Callable[[], nn.Module]:
    """Return a maker of a model of the package `timm`."""

    def make() -> nn.Module:
        return importlib.import_module("timm").create_model(name, pretrained=False, num_classes=10, **settings)

    return make


def language(net: nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
    """The model's own loss on tokens that are their own labels."""
    return net(input_ids=batch[0], labels=batch[0]).loss


def masked(net: nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
    """Masked language modelling; the mask is drawn in the step."""
    hidden = torch.rand(batch[0].shape) < 0.3
    labels = batch[0].masked_fill(~hidden, -100)
    return net(input_ids=batch[0].masked_fill(hidden, 1), labels=labels).loss


def classes(net: nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of classes of token sequences."""
    return net(input_ids=batch[0], labels=batch[1]).loss


def images(net: nn.Module, batch: Sequence[torch.Tensor]) -> torch.Tensor:
    """Cross-entropy of classes of images."""
    output = net(batch[0])
    return F.cross_entropy(getattr(output, "logits", output), batch[1])


T5 = {"vocab_size": VOCABULARY, "d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 1, "num_heads": 4}
BART = {
    "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
}  # fmt: skip
GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
VISION = {"image_size": 32, "patch_size": 8, "num_channels": 3, "num_labels": 10, **HEADS}

MODELS: tuple[tuple[str, Callable[[], nn.Module], Loss, str], ...] = (
    ("BERT masked", from_transformers("BertForMaskedLM", "BertConfig", **SMALL, **HEADS), masked, "tokens"),
    ("BERT classes", from_transformers("BertForSequenceClassification", "BertConfig", **SMALL, **HEADS), classes, "tokens"),
    ("GPT-2", from_transformers("GPT2LMHeadModel", "GPT2Config", **GPT), language, "tokens"),
    ("Llama", from_transformers("LlamaForCausalLM", "LlamaConfig", **SMALL, **HEADS, num_key_value_heads=2), language, "tokens"),
    ("Mistral", from_transformers("MistralForCausalLM", "MistralConfig", **SMALL, **HEADS, num_key_value_heads=2), language, "tokens"),
    ("Qwen2", from_transformers("Qwen2ForCausalLM", "Qwen2Config", **SMALL, **HEADS, num_key_value_heads=2), language, "tokens"),
    ("GPT-NeoX", from_transformers("GPTNeoXForCausalLM", "GPTNeoXConfig", **SMALL, **HEADS), language, "tokens"),
    ("OPT", from_transformers("OPTForCausalLM", "OPTConfig", vocab_size=VOCABULARY, hidden_size=32, ffn_dim=48, **HEADS, word_embed_proj_dim=32), language, "tokens"),
    ("T5", from_transformers("T5ForConditionalGeneration", "T5Config", **T5, decoder_start_token_id=0), language, "tokens"),
    ("BART", from_transformers("BartForConditionalGeneration", "BartConfig", **BART), language, "tokens"),
    ("DistilBERT", from_transformers("DistilBertForMaskedLM", "DistilBertConfig", vocab_size=VOCABULARY, dim=32, hidden_dim=48, n_layers=2, n_heads=4), masked, "tokens"),
    ("RoBERTa", from_transformers("RobertaForMaskedLM", "RobertaConfig", **SMALL, **HEADS, pad_token_id=0), masked, "tokens"),
    ("ELECTRA", from_transformers("ElectraForMaskedLM", "ElectraConfig", **SMALL, **HEADS, embedding_size=32), masked, "tokens"),
    ("ViT", from_transformers("ViTForImageClassification", "ViTConfig", hidden_size=32, intermediate_size=48, **VISION), images, "images"),
    ("DeiT", from_transformers("DeiTForImageClassification", "DeiTConfig", hidden_size=32, intermediate_size=48, **VISION), images, "images"),
    ("ConvNeXt", from_transformers("ConvNextForImageClassification", "ConvNextConfig", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_labels=10, drop_path_rate=0.1), images, "images"),
    ("ResNet", from_transformers("ResNetForImageClassification", "ResNetConfig", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=10), images, "images"),
    ("MobileNetV2", from_transformers("MobileNetV2ForImageClassification", "MobileNetV2Config", image_size=32, depth_multiplier=0.35, num_labels=10), images, "images"),
    ("Mamba", from_transformers("MambaForCausalLM", "MambaConfig", vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, state_size=4), language, "tokens"),
    ("Mixtral", from_transformers("MixtralForCausalLM", "MixtralConfig", **SMALL, **HEADS, num_key_value_heads=2, num_local_experts=2), language, "tokens"),
    ("timm ResNet-18", from_timm("resnet18"), images, "images"),
    ("timm MobileNetV3", from_timm("mobilenetv3_small_050"), images, "images"),
    ("timm EfficientNet", from_timm("efficientnet_b0"), images, "images"),
    ("timm ViT", from_timm("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2), images, "images"),
    ("timm Mixer", from_timm("mixer_s32_224", img_size=32), images, "images"),
)  # fmt: skip
"""Name, maker, loss, kind of data."""


def make_data(kind: str) -> TensorDataset:
    """Return 12 samples: token sequences of length 12, or numbers of one of `SHAPES`, and labels."""
    generator = torch.Generator().manual_seed(5)
    if kind == "tokens":
        tokens = torch.randint(2, VOCABULARY, (12, 12), generator=generator)
        return TensorDataset(tokens, torch.randint(0, 2, (12,), generator=generator))
    return TensorDataset(
        torch.randn(12, *SHAPES[kind], generator=generator), torch.randint(0, 10, (12,), generator=generator)
    )


def make_script(make: Callable[[], nn.Module], loss: Loss, kind: str) -> Script:
    """Return a model with its optimizer, the usual step and a rate that changes at each."""
    net = make()
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def body(batch: Sequence[torch.Tensor]) -> torch.Tensor:
        value = loss(net, batch)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return value

    def set_rate(step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 0.95**step

    return Script([net], [optimizer], body, make_data(kind), set_rate)


def make_side(make: Callable[[], Script]) -> Script:
    """Return what is trained, with its fixed start."""
    torch.manual_seed(3)
    return make()


def train_beside(folder: Path, make: Callable[[], Script]) -> list[str]:
    """Record a script beside plain eager PyTorch and replay the run; return what differs.

    Raises:
        AssayError: the step was refused.
    """
    ours, theirs = make_side(make), make_side(make)
    differing = []
    run = assay.start(folder, seed=SEED, checkpoint_every=2)
    try:
        loader = run.loader(ours.data, batch_size=BATCH)  # type: ignore[arg-type]
        step = run.step(models=ours.models, optimizers=ours.optimizers)(ours.body)
        for _ in run.epochs(-(-STEPS // len(loader))):
            for batch in loader:
                number = run.step_number + 1
                ours.before(number)
                theirs.before(number)
                with InjectedDraws(derive_key(SEED, STEP, number)):  # first: what a package keeps, it keeps of this
                    expected = theirs.body([field.clone() for field in batch])
                wanted, found = pytree.tree_leaves(expected), pytree.tree_leaves(step(batch))
                same = all(is_equal(one.detach(), other) for one, other in zip(wanted, found, strict=True))
                differing += [] if same else [f"results {number}"]
        run.finish()
    finally:
        run.close()
    for net, other in zip(ours.models, theirs.models, strict=True):
        pairs = zip(net.state_dict().items(), other.state_dict().values(), strict=True)
        differing += [name for (name, value), expected in pairs if not is_equal(value, expected)]
    return differing + replay(folder)


def runs_plainly(make: Callable[[], Script]) -> bool:
    """Return whether a script takes a step in plain PyTorch."""
    made = make_side(make)
    try:
        made.body(next(iter(DataLoader(made.data, batch_size=BATCH))))
    except Exception:  # noqa: BLE001 - of a package
        return False
    return True


def judge_script(make: Callable[[], Script]) -> tuple[str, str]:
    """Record a script, run it in eager, replay it; return the outcome and why."""
    try:
        if not runs_plainly(make):
            return BROKEN, ""
    except ImportError as error:
        return MISSING, str(error)
    with tempfile.TemporaryDirectory() as parent:
        try:
            differing = train_beside(Path(parent) / "run", make)
        except AssayError as error:
            return (REFUSED, str(error)) if error.next_step else (CRASHED, f"refused without a cure: {error}")
        except Exception as error:  # noqa: BLE001 - that it is none of Assay's is the finding
            return CRASHED, f"{type(error).__name__}: {error}"
    return (SILENT, ", ".join(differing[:5])) if differing else (CAPTURED, "")


def main() -> int:
    """Print one JSON object; the exit status says whether none was silently wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="models and scripts whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    outcomes: dict[str, tuple[str, str]] = {}
    makers = {name: partial(make_script, make, loss, kind) for name, make, loss, kind in (*MODELS, *PACKAGES)}
    for name, make in {**makers, **{f"script {name}": make for name, make in SCRIPTS.items()}}.items():
        if options.only and options.only not in name:
            continue
        outcomes[name] = judge_script(make)
        print(f"{outcomes[name][0]:13s} {name}  {outcomes[name][1][:200]}", file=sys.stderr, flush=True)
    counts = Counter(outcome for outcome, _ in outcomes.values())
    tried = len(outcomes) - counts[MISSING] - counts[BROKEN]
    left_out = [name for name, (outcome, _) in outcomes.items() if outcome in (MISSING, BROKEN)]
    lines = [
        make_result(
            "models and scripts of others that were silently wrong", counts[SILENT], tried, counts[SILENT], 0,
            captured=counts[CAPTURED], refused=counts[REFUSED], silent=counts[SILENT], left_out=left_out,
            details={name: f"{outcome}: {why}" if why else outcome for name, (outcome, why) in outcomes.items()},
        ),
        make_result("models and scripts that ended in no clear refusal", counts[CRASHED], tried, counts[CRASHED], 0),
    ]  # fmt: skip
    return print_report("foreign", lines, torch=torch.__version__)


if __name__ == "__main__":
    sys.exit(main())
