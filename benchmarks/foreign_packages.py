"""Models of packages beyond `transformers` and `timm`, in tiny sizes with random weights, for `benchmarks/foreign.py`.

Whoever wants all of them tried installs the packages by hand, into an environment of its own; what is missing is left
out and said so. Nothing is downloaded.
"""

# ruff: noqa: E501 - one model a line

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

Batch = Sequence[torch.Tensor]
Make = Callable[[], nn.Module]
Loss = Callable[[Any, Batch], torch.Tensor]


def of(path: str, *arguments: Any, **settings: Any) -> Make:
    """Return a maker of a model by the dotted path of its class or function."""
    module, _, name = path.rpartition(".")
    return lambda: getattr(importlib.import_module(module), name)(*arguments, **settings)


class _Extended(nn.Module):
    """A network and what the package brings for its loss; the loss is another method of the same module."""

    def __init__(self, net: nn.Module, **parts: Any) -> None:
        super().__init__()
        self.net = net
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.net(*arguments, **keywords)


def classes(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of classes."""
    output = net(batch[0])
    output = output[0] if isinstance(output, tuple) else output
    return F.cross_entropy(output, batch[1])


def own_loss(net: nn.Module, batch: Batch) -> torch.Tensor:
    """The model gives its loss itself."""
    output = net(batch[0])
    return output[0] if isinstance(output, tuple) else output


def next_token(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the next token."""
    logits = net(batch[0][:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), batch[0][:, 1:].flatten())


def mask_of(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Binary segmentation: where the first channel is positive."""
    output = net(batch[0])
    output = output["out"] if isinstance(output, dict) else output
    output = output[0] if isinstance(output, (tuple, list)) else output
    return F.binary_cross_entropy_with_logits(output[:, :1], (batch[0][:, :1] > 0).float())


def dice(net: Any, batch: Batch) -> torch.Tensor:
    """Segmentation under the loss that the package brings."""
    return net.loss(net(batch[0])[:, :1], (batch[0][:, :1] > 0).float())


def itself(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Reconstruction of the input."""
    output = net(batch[0])
    output = output[0] if isinstance(output, (tuple, list)) else output
    return F.mse_loss(output, batch[0])


def embedding(net: Any, batch: Batch) -> torch.Tensor:
    """The package's loss over embeddings and labels."""
    return net.loss(net(batch[0]), batch[1])


def tabnet(net: nn.Module, batch: Batch) -> torch.Tensor:
    """TabNet's loss with its sparsity term."""
    output, sparsity = net(batch[0])
    return F.cross_entropy(output, batch[1]) - 1e-3 * sparsity


def spikes(net: Any, batch: Batch) -> torch.Tensor:
    """Rate-coded classes over eight steps of a spiking network."""
    membrane, total = net.spike.init_leaky(), 0.0
    for _ in range(8):
        spike, membrane = net.spike(net(batch[0]), membrane)
        total = total + spike
    return F.cross_entropy(total, batch[1])


def graph(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Classes of a graph whose edges are a constant ring."""
    nodes = batch[0].flatten(0, 1)
    count = nodes.shape[0]
    start = torch.arange(count)
    edges = torch.stack([start, (start + 1) % count])
    return F.cross_entropy(net(nodes, edges).unflatten(0, batch[0].shape[:2]).mean(1), batch[1])


def dense_graph(net: nn.Module, batch: Batch) -> torch.Tensor:
    """Classes of graphs with dense adjacency matrices."""
    adjacency = (batch[0] @ batch[0].transpose(1, 2) > 0).float()
    return F.cross_entropy(net(batch[0], adjacency).mean(1), batch[1])


def likelihood(net: Any, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood under a flow."""
    return -net.log_prob(batch[0]).mean()


def gaussian_process(net: Any, batch: Batch) -> torch.Tensor:
    """Marginal likelihood of a Gaussian process whose training inputs are the batch."""
    net.net.set_train_data(batch[0], batch[1].float(), strict=False)
    return -net.loss(net(batch[0]), batch[1].float())


def ode(net: Any, batch: Batch) -> torch.Tensor:
    """A neural differential equation with a fixed step."""
    solve = importlib.import_module("torchdiffeq").odeint
    times = torch.linspace(0.0, 1.0, 5)
    return solve(lambda _, y: net(y), batch[0], times, method="rk4")[-1].square().mean()


def ode_adaptive(net: Any, batch: Batch) -> torch.Tensor:
    """A neural differential equation whose steps depend on values."""
    solve = importlib.import_module("torchdiffeq").odeint
    return solve(lambda _, y: net(y), batch[0], torch.linspace(0.0, 1.0, 3), method="dopri5")[-1].square().mean()


def augmented(net: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy of images that the package augments in the step."""
    return F.cross_entropy(net(net.augment(batch[0])), batch[1])


def quantised(net: Any, batch: Batch) -> torch.Tensor:
    """A code book beside a linear map."""
    output, _, commitment = net.codes(net(batch[0]))
    return F.mse_loss(output, batch[0]) + commitment.sum()


def make_gaussian_process() -> nn.Module:
    """Return GPyTorch's exact model with its marginal likelihood."""
    gpytorch = importlib.import_module("gpytorch")

    class Exact(gpytorch.models.ExactGP):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(torch.zeros(4, 8), torch.zeros(4), gpytorch.likelihoods.GaussianLikelihood())
            self.mean, self.kernel = (
                gpytorch.means.ConstantMean(),
                gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel()),
            )

        def forward(self, x: torch.Tensor) -> Any:
            return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

    net = Exact()
    return _Extended(net, loss=gpytorch.mlls.ExactMarginalLogLikelihood(net.likelihood, net))


def with_loss(net: Make, loss: Make) -> Make:
    """Return a maker of a network beside the loss of a package."""
    return lambda: _Extended(net(), loss=loss())


def with_part(net: Make, **parts: Make) -> Make:
    """Return a maker of a network beside other parts."""
    return lambda: _Extended(net(), **{name: make() for name, make in parts.items()})


def small_net(outputs: int = 10) -> Make:
    """Return a maker of a plain network over rows of eight numbers."""
    return lambda: nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, outputs))


def small_image_net() -> nn.Module:
    """Return a plain network over images."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))


def graph_net(layer: str, *, is_dense: bool = False, **settings: Any) -> Make:
    """Return a maker of two layers of `torch_geometric`."""

    def make() -> nn.Module:
        package = importlib.import_module("torch_geometric.nn")
        kind = getattr(package, layer)
        names = "x, a" if is_dense else "x, e"
        first, last = kind(8, 16, **settings), kind(16 * settings.get("heads", 1), 10)
        return package.Sequential(names, [(first, f"{names} -> x"), nn.ReLU(), (last, f"{names} -> x")])

    return make


def low_rank(kind: str = "LoraConfig", **settings: Any) -> Make:
    """Return a maker of GPT-2 under the adapters of `peft`."""

    def make() -> nn.Module:
        peft, transformers = importlib.import_module("peft"), importlib.import_module("transformers")
        base = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32)
        )
        return peft.get_peft_model(base, getattr(peft, kind)(task_type="CAUSAL_LM", **settings))

    return make


def language(net: nn.Module, batch: Batch) -> torch.Tensor:
    """The model's own loss on tokens that are their own labels."""
    return net(input_ids=batch[0], labels=batch[0]).loss


def diffusion() -> nn.Module:
    """Return a denoising diffusion model of images."""
    package = importlib.import_module("denoising_diffusion_pytorch")
    return package.GaussianDiffusion(
        package.Unet(dim=8, dim_mults=(1, 2), flash_attn=False), image_size=32, timesteps=20
    )


def diffusion_loss(net: nn.Module, batch: Batch) -> torch.Tensor:
    """The model's own loss of images between 0 and 1."""
    return net(torch.sigmoid(batch[0]))


VIT = {"image_size": 32, "patch_size": 8, "num_classes": 10, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 48}


def x_model(**layers: Any) -> Make:
    """Return a maker of a decoder of `x-transformers`."""

    def make() -> nn.Module:
        package = importlib.import_module("x_transformers")
        decoder = package.Decoder(dim=32, depth=2, heads=2, **layers)
        return package.TransformerWrapper(num_tokens=64, max_seq_len=32, attn_layers=decoder)

    return make


def x_autoregressive() -> nn.Module:
    """Return a decoder of `x-transformers` under the wrapper that gives its loss."""
    return importlib.import_module("x_transformers").AutoregressiveWrapper(x_model()())


PACKAGES: tuple[tuple[str, Make, Loss, str], ...] = (
    ("torchvision ResNet-18", of("torchvision.models.resnet18", num_classes=10), classes, "images"),
    ("torchvision MobileNetV2", of("torchvision.models.mobilenet_v2", num_classes=10), classes, "images"),
    ("torchvision ShuffleNetV2", of("torchvision.models.shufflenet_v2_x0_5", num_classes=10), classes, "images"),
    ("torchvision SqueezeNet", of("torchvision.models.squeezenet1_1", num_classes=10), classes, "images"),
    ("torchvision Swin", of("torchvision.models.SwinTransformer", [4, 4], 24, [1, 1], [2, 2], [2, 2], num_classes=10, stochastic_depth_prob=0.2), classes, "images"),
    ("torchvision ViT", of("torchvision.models.VisionTransformer", 32, 8, 2, 2, 32, 48, num_classes=10, dropout=0.1), classes, "images"),
    ("torchvision fcn", of("torchvision.models.segmentation.lraspp_mobilenet_v3_large", weights_backbone=None, num_classes=2), mask_of, "images"),
    ("efficientnet-pytorch", lambda: importlib.import_module("efficientnet_pytorch").EfficientNet.from_name("efficientnet-b0", num_classes=10), classes, "images"),
    ("vit-pytorch ViT", of("vit_pytorch.ViT", **VIT, dropout=0.1, emb_dropout=0.1), classes, "images"),
    ("vit-pytorch SimpleViT", of("vit_pytorch.SimpleViT", **VIT), classes, "images"),
    ("vit-pytorch CaiT", of("vit_pytorch.cait.CaiT", **VIT, cls_depth=1, dropout=0.1, layer_dropout=0.05), classes, "images"),
    ("vit-pytorch DeepViT", of("vit_pytorch.deepvit.DeepViT", **VIT), classes, "images"),
    ("vit-pytorch patch dropout", of("vit_pytorch.vit_with_patch_dropout.ViT", **VIT, patch_dropout=0.25), classes, "images"),
    ("vit-pytorch CCT", of("vit_pytorch.cct.CCT", img_size=32, embedding_dim=32, num_layers=2, num_heads=2, mlp_ratio=2, num_classes=10, n_conv_layers=1), classes, "images"),
    ("vit-pytorch MobileViT", of("vit_pytorch.mobile_vit.MobileViT", image_size=(32, 32), dims=[16, 24, 32], channels=[8, 8, 8, 8, 16, 16, 24, 24, 32, 32, 32], num_classes=10, patch_size=(1, 1)), classes, "images"),
    ("x-transformers GPT", x_model(), next_token, "tokens"),
    ("x-transformers autoregressive", x_autoregressive, own_loss, "tokens"),
    ("x-transformers rotary", x_model(rotary_pos_emb=True, attn_qk_norm=True, ff_glu=True, attn_dropout=0.1, ff_dropout=0.1), next_token, "tokens"),
    ("x-transformers alibi", x_model(alibi_pos_bias=True, use_rmsnorm=True), next_token, "tokens"),
    ("x-transformers layer dropout", x_model(layer_dropout=0.2), next_token, "tokens"),
    ("x-transformers memory", x_model(attn_num_mem_kv=4, rel_pos_bias=True), next_token, "tokens"),
    ("vector-quantize VQ", with_part(small_net(8), codes=of("vector_quantize_pytorch.VectorQuantize", dim=8, codebook_size=16)), quantised, "rows"),
    ("denoising diffusion", diffusion, diffusion_loss, "images"),
    ("segmentation U-Net", with_loss(of("segmentation_models_pytorch.Unet", "resnet18", encoder_weights=None), of("segmentation_models_pytorch.losses.DiceLoss", "binary")), dice, "images"),
    ("segmentation FPN focal", with_loss(of("segmentation_models_pytorch.FPN", "mobilenet_v2", encoder_weights=None), of("segmentation_models_pytorch.losses.FocalLoss", "binary")), dice, "images"),
    ("segmentation Lovasz", with_loss(of("segmentation_models_pytorch.Unet", "resnet18", encoder_weights=None), of("segmentation_models_pytorch.losses.LovaszLoss", "binary")), dice, "images"),
    ("TabNet", of("pytorch_tabnet.tab_network.TabNet", 8, 10, group_attention_matrix=torch.eye(8), virtual_batch_size=2), tabnet, "rows"),
    ("geometric GCN", graph_net("GCNConv"), graph, "graphs"),
    ("geometric GAT", graph_net("GATConv", heads=2, dropout=0.1), graph, "graphs"),
    ("geometric SAGE", graph_net("SAGEConv"), graph, "graphs"),
    ("geometric dense SAGE", graph_net("DenseSAGEConv", is_dense=True), dense_graph, "graphs"),
    ("geometric dense GCN", graph_net("DenseGCNConv", is_dense=True), dense_graph, "graphs"),
    ("geometric transformer", graph_net("TransformerConv"), graph, "graphs"),
    ("MONAI U-Net", with_loss(of("monai.networks.nets.UNet", 2, 3, 1, (8, 16, 32), (2, 2), dropout=0.1), of("monai.losses.DiceLoss", sigmoid=True)), dice, "images"),
    ("MONAI SegResNet", with_loss(of("monai.networks.nets.SegResNet", 2, 8, 3, 1, dropout_prob=0.1), of("monai.losses.TverskyLoss", sigmoid=True)), dice, "images"),
    ("MONAI SwinUNETR", with_loss(of("monai.networks.nets.SwinUNETR", 3, 1, feature_size=12, spatial_dims=2), of("monai.losses.FocalLoss")), dice, "images64"),
    ("MONAI DenseNet 3D", of("monai.networks.nets.DenseNet", 3, 1, 10, 8, 4, (1, 1)), classes, "volumes"),
    ("MONAI autoencoder", of("monai.networks.nets.AutoEncoder", 2, 3, 3, (8, 16), (2, 2)), itself, "images"),
    ("kornia augmentation", with_part(small_image_net, augment=of("kornia.augmentation.RandomHorizontalFlip", p=0.5)), augmented, "images"),
    ("kornia jitter", with_part(small_image_net, augment=of("kornia.augmentation.ColorJitter", 0.1, 0.1, 0.1, 0.1, p=1.0)), augmented, "images"),
    ("kornia blur", with_part(small_image_net, augment=of("kornia.filters.GaussianBlur2d", (3, 3), (1.0, 1.0))), augmented, "images"),
    ("torchvision v2 flip", with_part(small_image_net, augment=of("torchvision.transforms.v2.RandomHorizontalFlip")), augmented, "images"),
    ("torchvision v2 crop", with_part(small_image_net, augment=of("torchvision.transforms.v2.RandomResizedCrop", 24)), augmented, "images"),
    ("torchvision v2 normalise", with_part(small_image_net, augment=of("torchvision.transforms.v2.Normalize", [0.1] * 3, [0.9] * 3)), augmented, "images"),
    ("metric learning triplet", with_loss(small_net(), of("pytorch_metric_learning.losses.TripletMarginLoss")), embedding, "rows"),
    ("metric learning ArcFace", with_loss(small_net(), of("pytorch_metric_learning.losses.ArcFaceLoss", 10, 10)), embedding, "rows"),
    ("metric learning NT-Xent", with_loss(small_net(), of("pytorch_metric_learning.losses.NTXentLoss")), embedding, "rows"),
    ("metric learning proxy", with_loss(small_net(), of("pytorch_metric_learning.losses.ProxyAnchorLoss", 10, 10)), embedding, "rows"),
    ("snnTorch leaky", with_part(small_net(), spike=of("snntorch.Leaky", beta=0.9)), spikes, "rows"),
    ("rotary embedding", with_part(small_net(8), rotary=of("rotary_embedding_torch.RotaryEmbedding", dim=8)), lambda net, batch: F.cross_entropy(net.rotary.rotate_queries_or_keys(net(batch[0])[None, None])[0, 0], batch[1] % 8), "rows"),
    ("PEFT LoRA", low_rank(r=4, lora_dropout=0.1), language, "tokens"),
    ("PEFT IA3", low_rank("IA3Config"), language, "tokens"),
    ("PEFT prefix", low_rank("PrefixTuningConfig", num_virtual_tokens=4), language, "tokens"),
    ("PEFT prompt", low_rank("PromptTuningConfig", num_virtual_tokens=4), language, "tokens"),
    ("PEFT DoRA", low_rank(r=4, use_dora=True), language, "tokens"),
    ("PEFT AdaLoRA", low_rank("AdaLoraConfig", total_step=50), language, "tokens"),
    ("torchdiffeq fixed", small_net(8), ode, "rows"),
    ("torchdiffeq adaptive", small_net(8), ode_adaptive, "rows"),
    ("GPyTorch exact", make_gaussian_process, gaussian_process, "rows"),
)  # fmt: skip
"""Name, maker, loss, kind of data."""
