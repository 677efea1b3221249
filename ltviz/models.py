"""Networks: a small MLP and CNN, the CIFAR ResNets, torchvision's backbones; heads; `Net` puts the two together.

A network's `forward(images)` returns an `Output`. All parameters are drawn from a generator that the run owns.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .check import suggest
from .functional import unit
from .objective import Objective, Output


class Net(nn.Module):
    """A backbone, images (n, C, H, W) -> features (n, d), and a head, features -> logits (n, k)."""

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor, index: Tensor | None = None) -> Output:
        return self.decide(self.backbone(images), index)

    def decide(self, features: Tensor, index: Tensor | None = None) -> Output:
        """The Output for features (n, d)."""
        scale, memory = getattr(self.head, "scale", None), getattr(self.head, "memory", None)
        return Output(self.head(features), features, self.head.weight, scale, index, memory)


class MLP(nn.Module):
    """Flattened image -> 128 -> 64, ReLU: for 8 x 8 digits (with its linear head, 64-128-64-k)."""

    def __init__(self, shape: tuple[int, int, int], width: int = 64):
        super().__init__()
        self.dim = width
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(shape), 2 * width), nn.ReLU(), nn.Linear(2 * width, width), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class CNN(nn.Module):
    """Three 3 x 3 convolutions with BatchNorm (16-32-64 channels), max-pooling between them, global average pooling."""

    def __init__(self, shape: tuple[int, int, int], width: int = 16):
        super().__init__()
        self.dim = 4 * width
        channels, layers = [shape[0], width, 2 * width, 4 * width], []
        for i in range(3):
            layers += [nn.Conv2d(channels[i], channels[i + 1], 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(channels[i + 1])]
            # The largest of four, then ReLU, is the same number as ReLU, then the largest, on a quarter of the pixels.
            layers += [nn.MaxPool2d(2), nn.ReLU()] if i < 2 else [nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean((2, 3))


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without parameters (option A: every other pixel, zero channels)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra // 2, self.extra // 2))
        return F.relu(x + y)


class ResNet(nn.Module):
    """The CIFAR ResNet of depth 6 b + 2: 3 stages of b blocks, 16-32-64 channels, global average pooling.

    Depth 32 with 10 classes has 464,154 parameters. Source: He et al. 2016, section 4.2.
    """

    def __init__(self, shape: tuple[int, int, int], depth: int = 32, width: int = 16):
        super().__init__()
        self.dim = 4 * width
        self.conv = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for stage in range(3):
            for i in range((depth - 2) // 6):
                outputs = width * 2**stage
                blocks.append(Block(inputs, outputs, 2 if stage and i == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(F.relu(self.norm(self.conv(images)))).mean((2, 3))

    def initialise(self, generator: torch.Generator) -> None:
        """He initialisation (normal, fan in) of the convolutions, as the public CIFAR code does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()


class LinearHead(nn.Linear):
    """A linear classifier that a stage may start anew, its bias at `bias_start` if that is given (a prior)."""

    def __init__(self, dim: int, k: int, bias: bool = True, bias_start: float | None = None):
        self.bias_start = bias_start
        super().__init__(dim, k, bias)

    def initialise(self, generator: torch.Generator) -> None:
        _initialise_layer(self, generator)
        if self.bias_start is not None:
            nn.init.constant_(self.bias, self.bias_start)


class CosineHead(nn.Module):
    """logits = s cos(W_j, x): both normalised, no bias. `weight` (k, d) is raw, `scale` fixed or learned."""

    def __init__(self, dim: int, k: int, scale: float, learn_scale: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(k, dim))
        scale = torch.tensor(float(scale))
        if learn_scale:
            self.scale = nn.Parameter(scale)
            self.scale.no_decay = True
        else:
            self.register_buffer("scale", scale)
        self.initialise(torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """Rows uniform in (-1, 1), then of unit length."""
        with torch.no_grad():
            self.weight.uniform_(-1.0, 1.0, generator=generator)
            self.weight.copy_(unit(self.weight))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * (unit(features) @ unit(self.weight).T)


def _initialise_layer(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """torch's own default for these layers: uniform in +-1 / sqrt(fan in)."""
    bound = 1.0 / math.sqrt(layer.weight[0].numel())
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.uniform_(-bound, bound, generator=generator)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter below `module` from the generator; a module with `initialise(generator)` does its own."""
    if hasattr(module, "initialise"):
        module.initialise(generator)
        return
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        _initialise_layer(module, generator)
    elif not list(module.children()) and hasattr(module, "reset_parameters"):
        module.reset_parameters()
    for child in module.children():
        initialise(child, generator)


MODELS = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet8": lambda shape, width=16: ResNet(shape, 8, width),
    "resnet20": lambda shape, width=16: ResNet(shape, 20, width),
    "resnet32": lambda shape, width=16: ResNet(shape, 32, width),
}


def make_backbone(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """A backbone by name for images of shape (C, H, W); "cnn:32" sets the width, "torchvision:resnet18" asks there.

    Raises ValueError for an unknown name, with the nearest known one.
    """
    source, _, option = name.partition(":")
    if source == "torchvision" and option:
        return _torchvision(option, shape)
    if source not in MODELS:
        raise ValueError(
            f"unknown model {name!r}{suggest(source, MODELS)}; choose one of {', '.join(MODELS)} (with ':width' "
            "for another width), or 'torchvision:<name>'"
        )
    return MODELS[source](shape, int(option)) if option else MODELS[source](shape)


def _torchvision(name: str, shape: tuple[int, int, int]) -> nn.Module:
    from torchvision.models import get_model, list_models

    if name not in list_models():
        raise ValueError(f"torchvision has no model {name!r}{suggest(name, list_models())}")
    net = get_model(name, weights=None)
    last = [child for child, _ in net.named_children()][-1]
    setattr(net, last, nn.Identity())
    net.eval()
    with torch.no_grad():
        net.dim = net(torch.zeros(1, *shape)).flatten(1).shape[1]
    return net


def make_net(name: str, shape: tuple[int, int, int], objective: Objective, generator: torch.Generator) -> Net:
    """A network for an objective: backbone by name, head by `objective.make_head`, parameters from the generator."""
    backbone = make_backbone(name, shape)
    net = Net(backbone, objective.make_head(backbone.dim))
    initialise(net, generator)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.num_batches_tracked = None  # only an average over all batches needs it: one kernel a layer and step
    return net
