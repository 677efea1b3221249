"""The network of a run, once more: for images that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import check, metrics
from ..check import to_array
from ..datasets.augment import normalise
from ..datasets.columns import Encoder, is_frame
from ..device import thread_count, threads
from ..draws import own_draws
from ..methods import METHODS
from ..models import OWN, CosineHead, Logits, Net, make_backbone, without_counters
from ..objective import Bound, Output
from ..run import Run
from . import checkpoint as checkpoints
from .evaluation import images_at_once
from .own_network import LOOKED_AT, Body, as_network, find_classifier

IMAGES = (
    "uint8 images, or floats from 0 to 1: an array (n, h, w) or (n, h, w, c), a tensor (n, c, h, w), a list of "
    "tensors (c, h, w), or images of PIL"
)
_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")


# ---------------------------------------------------------------------------------------------------- the network again
def rebuild(run: Run, model: Any = None, shape: Sequence[int] | None = None) -> Logits:
    """The network of a run, on the CPU, in eval mode: normalised images (n, C, H, W) -> logits (n, k).

    model: what makes it, where it was the reader's own and the run comes from a file. shape (C, H, W): of the images;
    None: of those that it was trained on. ValueError for a run that keeps no network, or whose network does not fit.
    """
    check.instance("run", run, Run, "a run: what ltviz.train returns, or a full record that load_run reads")
    run._need("network", "network")
    name, shape = run.recipe.get("model", ""), image_shape(run) if shape is None else tuple(shape)
    with own_draws():
        if name.endswith(OWN):
            backbone = _own_backbone(run, model, shape)
        elif model is not None and not (isinstance(model, str) and model == name):
            raise check.refuse("model", model, f"None: the network of {run.name!r} is {name!r}, which is known here")
        else:
            backbone = make_backbone(name, shape)
        net = Net(backbone, _head(run, backbone.dim))
    if not name.endswith(OWN):
        without_counters(net)
    try:
        checkpoints.load_state(net, {name: torch.from_numpy(np.asarray(value)) for name, value in run.network.items()})
    except ValueError as error:
        raise ValueError(
            f"run={run.name!r}: its network does not fit {name!r} for images of {shape} ({error}); pass images like "
            "those it was trained on, and the network that it was trained with"
        ) from None
    return Logits(net, run.class_names).eval()


def _own_backbone(run: Run, model: Any, shape: tuple[int, int, int]) -> Body:
    """The reader's own network without its classifier, which is found by its answers to noise."""
    made = as_network(model) if model is not None else run.made_by and run.made_by[1]
    if made is None or isinstance(made, str):
        raise ValueError(
            f"run={run.name!r}: its network is one of your own ({run.recipe['model']}), which a file does not hold; "
            "pass it, or what makes it: model=..."
        )
    module = made.make(run.k)
    shape = shape if run.data.get("loader") != "table_lt" else (math.prod(shape),)
    noise = torch.randn(LOOKED_AT, *shape, generator=torch.Generator().manual_seed(0))
    return Body(module, find_classifier(module, noise, made.name, run.k), noise[:2])


def _bound(run: Run) -> Bound | None:
    """The method under the settings of a run; None for a loss of the reader's own that is not known here."""
    if run.made_by:
        return run.made_by[0]
    return METHODS[run.method](**run.settings) if run.method in METHODS else None


def _head(run: Run, dim: int) -> nn.Module:
    """A head like that of the run, after the stages that it has gone through."""
    bound = _bound(run)
    if bound is None:  # by its parameters
        kept = {name.removeprefix("head.") for name in run.network if name.startswith("head.")}
        if kept == {"weight", "scale"}:
            return CosineHead(dim, run.k, run.scale)
        return nn.Linear(dim, run.k, bias="bias" in kept)
    head = bound.build(torch.from_numpy(run.counts)).make_head(dim)
    stages = run.history.get("stage", ())
    for stage in bound.stages[: int(stages[-1]) + 1 if len(stages) else 1]:
        head = head if stage.head is None else stage.head(head)
    return head


def image_shape(run: Run) -> tuple[int, int, int]:
    """(C, H, W) of the images that a run was trained on. ValueError for an old record that does not say so."""
    if "shape" in run.provenance:
        return tuple(run.provenance["shape"])
    size = {"digits_lt": 8, "cifar_lt": 32}.get(run.data.get("loader"))
    size = run.data.get("size") or size
    if size is None:
        raise ValueError(f"run={run.name!r}: its record does not say how large its images were; train it again")
    return len(run.data["mean"]), size, size


class Network:
    """`answer(images)` gives what the network of a run makes of uint8 images of the size that it was trained on.

    shape (C, H, W): of its images. Raises ValueError as `rebuild`.
    """

    def __init__(self, run: Run, shape: tuple[int, int, int]):
        self.net, self.run, self.shape = rebuild(run, shape=shape), run, shape

    @torch.no_grad()
    def answer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (n, k) and features (n, d) of images (n, H, W, C) uint8, normalised as the run's data were."""
        channels, height, width = self.shape
        found = check.array("images", images, 4, f"images (n, {height}, {width}, {channels}) as uint8")
        if found.dtype != np.uint8 or found.shape[1:] != (height, width, channels) or not len(found):
            raise check.refuse("images", images, f"images (n, {height}, {width}, {channels}) as uint8, at least one")
        x = torch.from_numpy(np.ascontiguousarray(found)).permute(0, 3, 1, 2)
        out = self.net.decide(self.net.backbone(normalise(x, *_factors(self.run))))
        return to_array(out.logits), to_array(out.features)


# ---------------------------------------------------------------------------------------------------------- predictions
@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a run says of n images: classes (n,) as numbers, their names, probabilities and logits (n, k).

    logits: those that it decides by, after the post-hoc rule where its method has one. features (n, d): what its
    classifier sees.
    """

    classes: np.ndarray
    names: list[str]
    probabilities: np.ndarray
    logits: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    def __repr__(self) -> str:
        sure = self.probabilities[np.arange(len(self)), self.classes]
        first = [f"{name} ({p:.0%})" for name, p in zip(self.names[:10], sure, strict=False)]
        return ", ".join(first) + (f", and {len(self) - 10:,} more" if len(self) > 10 else "")


@torch.no_grad()
def answers(run: Run, images: Any, model: Any = None) -> Output:
    """Logits, before any post-hoc rule, and features, computed as the run computed its answers on the test images."""
    net = rebuild(run, model)
    shape = image_shape(run)
    last = "channels_last" in run.provenance.get("speed", "")
    layout = torch.channels_last if last else torch.contiguous_format
    net.to(memory_format=layout)
    n = thread_count(run.recipe["model"], shape, run.recipe.get("batch_size", 64))
    found = []
    with threads(n), own_draws(torch.Generator().manual_seed(0)):
        for part in _batches(run, images, shape):
            found.append(net.decide(net.backbone(part.contiguous(memory_format=layout))))
    logits, features = (torch.cat([getattr(one, name) for one in found]) for name in ("logits", "features"))
    return Output(logits, features, net.head.weight, getattr(net.head, "scale", None))


@torch.no_grad()
def predict(run: Run, images: Any, model: Any = None) -> Prediction:
    """What `Run.predict` gives."""
    out = answers(run, images, model)
    decided = _decided(run, out)
    classes = decided.argmax(1)
    names, probabilities = [run.class_names[j] for j in classes], metrics.probabilities(decided, run.probability)
    return Prediction(classes, names, probabilities, decided, to_array(out.features))


def _decided(run: Run, out: Output) -> np.ndarray:
    """The logits (n, k) that a run decides by."""
    bound = _bound(run)
    if bound is None and run.scores is not None:
        raise ValueError(f"run={run.name!r}: its post-hoc rule is one of your own, and not known here; add its method "
                         "with lt.METHODS.add first")  # fmt: skip
    scores = None if bound is None else bound.decide(out, torch.from_numpy(run.counts), run.gallery)
    return to_array(out.logits if scores is None else scores)


def _factors(run: Run) -> tuple[Tensor, Tensor]:
    """Scale and shift (1, C, 1, 1) that normalise pixels from 0 to 255 as the run's data were."""
    mean, std = (torch.tensor(run.data[name], dtype=torch.float64).view(1, -1, 1, 1) for name in ("mean", "std"))
    return (1 / (255 * std)).float(), (-mean / std).float()


def _batches(run: Run, images: Any, shape: tuple[int, int, int]) -> Iterator[Tensor]:
    """Images (n, C, H, W) as the network of the run takes them, as many at a time as it does at the end of training."""
    factors, size = _factors(run), images_at_once(torch.device("cpu"), shape)
    if run.data.get("loader") == "table_lt":
        for part in torch.from_numpy(_table_rows(run, images, shape)).split(size):
            yield normalise(part, *factors)
        return
    pictures = _pictures(images)
    if pictures is None:
        for part in _channels(images, shape[0], shape[2]).split(size):
            yield normalise(_sized(part * 255 if part.is_floating_point() else part, shape), *factors)
        return
    for first in range(0, len(pictures), size):
        part = np.stack([_of_picture(one, shape) for one in pictures[first : first + size]])
        yield normalise(torch.from_numpy(part).permute(0, 3, 1, 2), *factors)


def _table_rows(run: Run, images: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Rows (n, C, H, W) of a table as the network sees them: a DataFrame encoded as the training rows were."""
    encoder = Encoder.of_record(run.data["encoder"]) if "encoder" in run.data else None
    if is_frame(images):
        if encoder is None:
            raise check.refuse("images", images, "rows from data.encode(frame): this record does not keep the scaling")
        return encoder.encode("images", images).reshape(-1, *shape)
    d = shape[-2] * shape[-1]
    expected = f"a DataFrame like that of table_lt, or rows (n, {d}), as table_lt has standardised them"
    rows = check.array("images", images, None, expected).astype(np.float32)
    if rows[:1].size != d or not len(rows) or not np.isfinite(rows).all():
        raise check.refuse("images", images, f"{expected}, at least one, without NaN")
    if encoder is not None:
        encoder.warn_of_raw("images", rows.reshape(len(rows), d))
    return rows.reshape(-1, *shape)


def _pictures(images: Any) -> list | None:
    """Images of PIL as a list; None for anything else."""
    from PIL import Image

    found = [images] if isinstance(images, Image.Image) else images
    whole = isinstance(found, (list, tuple)) and found and all(isinstance(one, Image.Image) for one in found)
    return list(found) if whole else None


def _of_picture(image: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """An image of PIL as uint8 (H, W, C): upright, on white where it is transparent, its middle resized."""
    from PIL import Image, ImageOps

    if image.mode not in _EIGHT_BITS:
        raise check.refuse("images", image, f"images of 8 bits a channel; this one has the mode {image.mode!r}")
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    channels, height, width = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    found = np.array(image)
    return found[..., None] if channels == 1 else found


def _stacked(images: Any) -> Any:
    """A list of tensors (c, h, w) as one tensor (n, c, h, w); anything else as it is."""
    if not isinstance(images, (list, tuple)) or not images or not all(isinstance(one, Tensor) for one in images):
        return images
    shapes = {tuple(one.shape) for one in images}
    if len(shapes) > 1 or len({one.dtype for one in images}) > 1 or images[0].ndim != 3:
        told = ", ".join(str(shape) for shape in sorted(shapes)[:3])
        raise ValueError(
            f"images: a list of tensors of shape {told}; expected tensors (c, h, w), all of one shape and type: pass "
            "those of each size by themselves"
        )
    return torch.stack([one.detach().cpu() for one in images])


def _channels(images: Any, channels: int, width: int) -> Tensor:
    """Arrays and tensors as (n, C, h, w), uint8, or floats from 0 to 1; grey ones repeated where there is colour.

    width: of the images that the run was trained on.
    """
    images = _stacked(images)
    found = check.array("images", images, None, IMAGES)
    one_image = found.ndim in (2, 3) and isinstance(images, Tensor) or found.ndim == 2
    if found.ndim == 3 and not isinstance(images, Tensor):
        # (h, w, c), unless the run's images are as narrow as that.
        one_image = found.shape[2] in (1, 3, 4, channels) and found.shape[2] != width
        found = found[..., None]
    if one_image:
        raise check.refuse("images", images, f"{IMAGES}; of one image pass images[None]")
    if found.ndim != 4 or not found.size:
        raise check.refuse("images", images, f"{IMAGES}, at least one")
    x = torch.from_numpy(np.ascontiguousarray(found))
    x = x if isinstance(images, Tensor) else x.permute(0, 3, 1, 2)
    if x.shape[1] not in (1, channels):
        order = "(n, c, h, w)" if isinstance(images, Tensor) else "(n, h, w, c)"
        turned = ""
        if isinstance(images, Tensor) and x.shape[3] in (1, channels):
            turned = "; images.numpy() has c last, images.permute(0, 3, 1, 2) has it first"
        elif not isinstance(images, Tensor) and x.shape[2] == channels:
            turned = "; torch.from_numpy(images) has c first"
        raise check.refuse("images", images, f"{order} with c = {channels}{'' if channels == 1 else ' or 1'}{turned}")
    if x.is_floating_point():
        if not bool(((x >= 0) & (x <= 1)).all()):
            raise check.refuse("images", images, "floats from 0 to 1, not normalised, or uint8 from 0 to 255")
        x = x.float()
    elif x.dtype != torch.uint8:
        raise check.refuse("images", images, f"{IMAGES}; these are {found.dtype}")
    return x.expand(-1, channels, -1, -1)


def _sized(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The middle of images (n, C, h, w) in the shape (H, W), antialiased."""
    (height, width), (h, w) = shape[1:], x.shape[2:]
    if (h, w) == (height, width):
        return x
    rows, columns = min(h, round(w * height / width) or 1), min(w, round(h * width / height) or 1)
    top, left = (h - rows) // 2, (w - columns) // 2
    part = x[:, :, top : top + rows, left : left + columns].float()
    sized = F.interpolate(part, (height, width), mode="bilinear", antialias=True)
    return sized.round().clamp(0, 255).to(torch.uint8) if x.dtype == torch.uint8 else sized
