"""Networks: a small MLP and CNN, the CIFAR ResNets, torchvision's backbones; heads; `Net` puts the two together.

A network's `forward(images)` returns an `Output`. All parameters are drawn from a generator that the run owns, and
torch's global generator is left as it was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import TorchvisionBackbone, check_shape, torchvision_name
from .check import MOST_CLASSES, flag, instance, number, refuse, suggest, text, whole
from .draws import drawn_from, own_draws
from .functional import unit
from .objective import Objective, Output

WIDEST, DEEPEST = 4096, 2000
OWN = " (own)"  # ends the name of a network of the reader's own, which no name makes
MOST = 1e6  # a scale or a bias; far beyond, float32 has no logits for it


class Net(nn.Module):
    """A backbone, images (n, C, H, W) -> features (n, d), and a head, features -> logits (n, k)."""

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        instance("backbone", backbone, nn.Module, "a torch module; make one with make_backbone")
        weight = getattr(instance("head", head, nn.Module, "a torch module, such as nn.Linear(d, k)"), "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() != 2:
            raise refuse("head", head, "a module with .weight (k, d), one row for each class, such as nn.Linear(d, k)")
        self.backbone, self.head = backbone, head
        self.kept = False  # whether the head began as a classifier that was there before

    def forward(self, images: Tensor, index: Tensor | None = None) -> Output:
        return self.decide(self.backbone(images), index)

    def decide(
        self, features: Tensor, index: Tensor | None = None, partner: Tensor | None = None, share: Tensor | None = None
    ) -> Output:
        """The Output for features (n, d); of a training batch also index, partner (n,), share (Output)."""
        scale, memory = getattr(self.head, "scale", None), getattr(self.head, "memory", None)
        return Output(self.head(features), features, self.head.weight, scale, index, memory, partner, share)


class Logits(Net):
    """A network as others expect one: images -> logits (n, k). net: one whose parts it takes over.

    class_names (k,): what the rows of its classifier stand for; None: not known.
    """

    def __init__(self, net: Net, class_names: Sequence[str] | None = None):
        super().__init__(net.backbone, net.head)
        self.class_names = None if class_names is None else tuple(class_names)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).logits


class MLP(nn.Module):
    """Flattened image -> 128 -> 64, ReLU: for 8 x 8 digits (with its linear head, 64-128-64-k). plane: then 2."""

    def __init__(self, shape: tuple[int, int, int], width: int = 64, plane: bool = False):
        super().__init__()
        shape, width = check_shape(shape), whole("width", width, 1, WIDEST)
        self.dim = 2 if flag("plane", plane) else width
        layers = nn.Flatten(), nn.Linear(math.prod(shape), 2 * width), nn.ReLU(), nn.Linear(2 * width, width), nn.ReLU()
        self.layers = nn.Sequential(*layers, *([nn.Linear(width, 2)] if plane else []))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def _check_pixels(shape: tuple[int, int, int], model: str) -> None:
    """ValueError for images (C, H, W) that no convolution can look at, such as the rows of a table."""
    if min(shape[1:]) < 4:
        raise refuse(
            "shape",
            shape,
            f"at least 4 x 4 pixels for model={model!r}, whose convolutions look at neighbouring pixels and halve the "
            "image; use 'mlp', also for a table, or larger images",
        )


def average(maps: Tensor) -> Tensor:
    """Global average pooling: maps (n, c, h, w) -> the mean of each, (n, c)."""
    if maps.is_contiguous(memory_format=torch.channels_last):
        # The same numbers, but their gradient comes back channels-last: what is below then need not change its layout.
        return maps.permute(0, 2, 3, 1).flatten(1, 2).mean(1)
    return maps.mean((2, 3))


class CNN(nn.Module):
    """Three 3 x 3 convolutions with BatchNorm (16-32-64 channels), max-pooling between them, global average pooling."""

    def __init__(self, shape: tuple[int, int, int], width: int = 16):
        super().__init__()
        shape, width = check_shape(shape), whole("width", width, 1, WIDEST)
        _check_pixels(shape, "cnn")
        self.dim = 4 * width
        channels, layers = [shape[0], width, 2 * width, 4 * width], []
        for i in range(3):
            layers += [nn.Conv2d(channels[i], channels[i + 1], 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(channels[i + 1])]
            # The largest of four, then ReLU, is the same number as ReLU, then the largest, on a quarter of the pixels.
            layers += [nn.MaxPool2d(2), nn.ReLU()] if i < 2 else [nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return average(self.layers(images))


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without parameters (option A: every other pixel, zero channels)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        inputs, stride = whole("inputs", inputs, 1), whole("stride", stride, 1)
        outputs = whole("outputs", outputs, inputs)  # the shortcut can add channels, and leave none out
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.extra:
            more = self.extra // 2, self.extra - self.extra // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *more))
        return F.relu(x + y)


class ResNet(nn.Module):
    """The CIFAR ResNet of depth 6 b + 2: 3 stages of b blocks, 16-32-64 channels, global average pooling.

    Depth 32 with 10 classes has 464,154 parameters. stem: larger images are first halved, by 3 x 3 convolutions of
    stride 2 with BatchNorm and ReLU, until no side is longer than STEM; without it, the work grows with the pixels of
    an image: nearly fifty times from 32 to 224. Initial values are those of the public CIFAR code that Cao et al.
    2019 use: He's normal law for convolutions and for the linear head alike (see `make_net`).
    Source: He et al. 2016, section 4.2.
    """

    STEM = 32

    def __init__(self, shape: tuple[int, int, int], depth: int = 32, width: int = 16, stem: bool = False):
        super().__init__()
        shape, width = check_shape(shape), whole("width", width, 1, WIDEST)
        halvings = math.ceil(math.log2(max(max(shape[1:]) / self.STEM, 1))) if flag("stem", stem) else 0
        if whole("depth", depth, 8, DEEPEST) % 6 != 2:
            raise refuse("depth", depth, "6 b + 2 for b blocks a stage: 8, 14, 20, 26, 32, ...")
        _check_pixels(shape, f"resnet{depth}")
        self.dim = 4 * width
        self.conv = nn.Conv2d(shape[0], width, 3, 2 if halvings else 1, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        more = [nn.Conv2d(width, width, 3, 2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.stem = nn.Sequential(*(copy.deepcopy(layer) for _ in range(halvings - 1) for layer in more))
        blocks, inputs = [], width
        for stage in range(3):
            for i in range((depth - 2) // 6):
                outputs = width * 2**stage
                blocks.append(Block(inputs, outputs, 2 if stage and i == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        return average(self.blocks(self.stem(F.relu(self.norm(self.conv(images))))))

    def initialise(self, generator: torch.Generator) -> None:
        """He's initial values (normal, fan in) for the convolutions, as in the public CIFAR code."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()


class LinearHead(nn.Linear):
    """A linear classifier that a stage may start anew, its bias at `bias_start` if that is given (a prior)."""

    def __init__(self, dim: int, k: int, bias: bool = True, bias_start: float | None = None):
        self.bias_start = None if bias_start is None else number("bias_start", bias_start, -MOST, MOST)
        if self.bias_start is not None and not flag("bias", bias):
            raise refuse("bias_start", bias_start, "None where bias=False: there is no bias to start")
        super().__init__(whole("dim", dim, 1), whole("k", k, 1, MOST_CLASSES), flag("bias", bias))

    def reset_parameters(self) -> None:
        """Fixed initial values, so that making a head draws from nobody's generator."""
        self.initialise(torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        _initialise_layer(self, generator)
        if self.bias_start is not None:
            nn.init.constant_(self.bias, self.bias_start)


class CosineHead(nn.Module):
    """logits = s cos(W_j, x): both normalised, no bias. `weight` (k, d) is raw, `scale` fixed or learned."""

    def __init__(self, dim: int, k: int, scale: float, learn_scale: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(whole("k", k, 1, MOST_CLASSES), whole("dim", dim, 1)))
        scale = torch.tensor(number("scale", scale, high=MOST, above=0.0))
        if flag("learn_scale", learn_scale):
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


_NOTHING_DRAWN = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter below `module` from the generator; a module with `initialise(generator)` does its own."""
    instance("module", module, nn.Module, "a torch module, such as make_backbone gives")
    instance("generator", generator, torch.Generator, "a torch.Generator, on the device of the module")
    if hasattr(module, "initialise"):
        module.initialise(generator)
        return
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        _initialise_layer(module, generator)
    elif not list(module.children()) and hasattr(module, "reset_parameters"):
        if isinstance(module, _NOTHING_DRAWN):
            module.reset_parameters()
        else:
            with own_draws(drawn_from(generator)):
                module.reset_parameters()
    for child in module.children():
        initialise(child, generator)


MODELS = {
    "mlp": MLP,
    "plane": lambda shape, width=64: MLP(shape, width, plane=True),
    "cnn": CNN,
    "resnet8": lambda shape, width=16: ResNet(shape, 8, width),
    "resnet20": lambda shape, width=16: ResNet(shape, 20, width),
    "resnet32": lambda shape, width=16: ResNet(shape, 32, width),
    "resnet8_stem": lambda shape, width=16: ResNet(shape, 8, width, stem=True),
    "resnet20_stem": lambda shape, width=16: ResNet(shape, 20, width, stem=True),
}
WIDTHS = dict.fromkeys(MODELS, 16) | {"mlp": 64, "plane": 64}  # unless another is asked for


def model_name(name: str) -> str:
    """The one spelling of a model's name: "cnn:16" is "cnn". ValueError for a name that is none."""
    if text("model", name).endswith(OWN):
        return name
    source, colon, option = name.partition(":")
    if source == "torchvision":
        return f"torchvision:{torchvision_name(name, option)}"
    if source not in MODELS:
        raise ValueError(
            f"model={name!r}: unknown model{suggest(source, MODELS)}; choose one of {', '.join(MODELS)} (with ':width' "
            "for another width), or 'torchvision:<name>'"
        )
    if not colon:
        return name
    plain = option.isascii() and option.isdecimal() and option[0] != "0"
    if not plain or not 1 <= int(option) <= WIDEST:
        raise ValueError(
            f"model={name!r}: expected a width from 1 to {WIDEST:,} after the colon, such as "
            f"'{source}:{WIDTHS[source]}', or '{source}' alone"
        )
    return source if int(option) == WIDTHS[source] else name


def make_backbone(name: str, shape: Sequence[int]) -> nn.Module:
    """A backbone by name for images of shape (C, H, W); "cnn:32" sets the width, "torchvision:resnet18" asks there.

    Its first parameters mean nothing: `initialise` draws them from a generator, as `make_net` does.
    Raises ValueError for an unknown name, with the nearest known one, and for images that the network cannot take.
    """
    name, shape = model_name(name), check_shape(shape)
    if name.endswith(OWN):
        raise ValueError(f"model={name!r}: a network of your own, which no name makes; pass it, or what makes it")
    source, _, option = name.partition(":")
    with own_draws():
        if source == "torchvision":
            _check_pixels(shape, name)
            return TorchvisionBackbone(option, shape)
        return MODELS[source](shape, int(option)) if option else MODELS[source](shape)


def make_net(name: str, shape: Sequence[int], objective: Objective, generator: torch.Generator) -> Net:
    """A network for an objective: backbone by name, head by `objective.make_head`, parameters from the generator.

    Linear heads start as torch has it, uniform in +-1 / sqrt(d); over a CIFAR ResNet their weights are normal with
    standard deviation sqrt(2 / d), .177 for d = 64, as in the public code of Cao et al. 2019. Cosine heads have a law
    of their own. torch's global generator is left as it was.
    """
    instance("objective", objective, Objective, "an objective; METHODS[key]().build(counts) makes one")
    instance("generator", generator, torch.Generator, "a torch.Generator on the CPU")
    if generator.device.type != "cpu":
        raise refuse("generator", generator, "a torch.Generator on the CPU, where networks are made")
    # What no module draws itself follows the seed as well.
    with own_draws(torch.Generator().manual_seed(generator.initial_seed())):
        backbone = make_backbone(name, shape)
        net = Net(backbone, objective.make_head(backbone.dim))
    initialise(net, generator)
    if isinstance(backbone, ResNet):
        for module in net.head.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
    without_counters(net)
    return net


def without_counters(net: nn.Module) -> None:
    """BatchNorm without its counters of batches: only an average over all batches needs them, at a kernel a step."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.num_batches_tracked = None
