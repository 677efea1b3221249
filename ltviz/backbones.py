"""torchvision's networks as backbones, and what the shape of an image is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .check import refuse, suggest, text, whole
from .draws import drawn_from, own_draws


def check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, H, W) of an image as whole numbers; ValueError for anything else."""
    try:
        found = tuple(whole("shape", one, 1) for one in shape)
    except (TypeError, ValueError):
        found = ()
    if len(found) != 3:
        raise refuse("shape", shape, "(channels, height, width) of an image, as data.shape gives it")
    return found


class TorchvisionBackbone(nn.Module):
    """A classification network of torchvision up to its last layer: images (n, 1 or 3, H, W) -> features (n, d).

    The head takes the place of the last linear layer (in SqueezeNet, of the last convolution); auxiliary classifiers
    are left out. Nothing is downloaded: initial values follow torchvision's own laws, drawn anew. Grey images are
    repeated in all three channels: no pixel changes, and the network stays the one that torchvision publishes. Vision
    transformers and MaxViT are made for the size of the images. Dropout and stochastic depth draw in every step, in
    training from the generator of the run.
    Raises ValueError for images that the network cannot take.
    """

    def __init__(self, name: str, shape: tuple[int, int, int]):
        super().__init__()
        name, shape = torchvision_name(f"torchvision:{name}", text("name", name)), check_shape(shape)
        self.name, self.shape = name, shape
        channels, height, width = shape
        if channels not in (1, 3):
            raise ValueError(f"model='torchvision:{name}': takes grey (1) or colour (3) images, these have {channels} "
                             "channels; use 'cnn', 'mlp' or a CIFAR ResNet")  # fmt: skip
        try:
            self.net = self._build()
            with torch.no_grad():
                found = self.eval()(torch.zeros(1, *shape))
            if found.dim() != 2 or not found.numel():
                raise ValueError(f"its features have the shape {tuple(found.shape)}")
        except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"model='torchvision:{name}': cannot take images of {height} x {width} pixels ({reason[:120]}); most "
                "of these networks are made for 224 x 224: load larger images, such as folder_lt(root, size=224), or "
                "take another model, such as 'resnet32'"
            ) from error
        self.dim = found.shape[1]
        self.train()

    def _build(self) -> nn.Module:
        """The network with torchvision's own initial values, drawn from torch's global generator."""
        from torchvision.models import get_model

        arguments = {"weights": None}
        if self.name in ("googlenet", "inception_v3"):
            arguments |= {"aux_logits": False, "init_weights": True}
        elif self.name.startswith("vit_"):
            arguments |= {"image_size": self._side()}
        elif self.name.startswith("maxvit"):
            arguments |= {"input_size": self.shape[1:]}
        net = get_model(self.name, **arguments)
        last = None
        for module_name, module in net.named_modules():
            outputs = getattr(module, "out_features", getattr(module, "out_channels", None))
            last = module_name if outputs == 1000 and isinstance(module, (nn.Linear, nn.Conv2d)) else last
        net.set_submodule(last, nn.Identity())
        self.last = last
        return net

    def _side(self) -> int:
        patch, (height, width) = int(self.name.rpartition("_")[2]), self.shape[1:]
        if height != width or height % patch:
            raise ValueError(f"it cuts square images into patches of {patch} x {patch}, so the side must be a multiple")
        return height

    def initialise(self, generator: torch.Generator) -> None:
        """torchvision's own laws, which know only the global generator: seeded from ours, and then put back."""
        with own_draws(drawn_from(generator)):
            self.net.load_state_dict(self._build().state_dict(), strict=False)  # counters of batches may be gone

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.expand(-1, 3, -1, -1)).flatten(1)


def torchvision_name(name: str, option: str) -> str:
    """The name of one of torchvision's classifiers, `option`; ValueError, quoting `name`, for anything else."""
    import torchvision.models
    from torchvision.models import list_models

    known = list_models(module=torchvision.models)
    if option not in known:
        what = "is not a network that classifies images" if option in list_models() else "is unknown to torchvision"
        raise ValueError(
            f"model={name!r}: {option!r} {what}{suggest(option, known)}; torchvision.models.list_models(module="
            "torchvision.models) lists those that do, such as 'torchvision:resnet18'"
        )
    return option
