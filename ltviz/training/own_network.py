"""A network of the reader's own in training: what makes it, and the network without its classifier."""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import check, heads
from ..collector import inner, logits_among
from ..draws import own_draws
from ..files import checksum, request_id
from ..models import OWN, CosineHead, Net, initialise
from ..naming import Code, code_hash
from ..objective import Objective
from .weights import Weights, put_weights

EXPECTED = (
    "a name of models.MODELS, 'torchvision:<name>', a torch module that gives logits, or a function or class that "
    "makes one, of no argument or of the number of classes"
)
CLASSES = ("num_classes", "n_classes", "num_labels")  # what a factory with defaults calls their number
LOOKED_AT = 16  # images on which the classifier is looked for


class OwnNetwork:
    """What makes a network of the reader's own: a module, of which each run has a copy, or a factory.

    name: what records call it, such as "Net (own)". ValueError for what makes none.
    """

    def __init__(self, given: nn.Module | Callable[..., nn.Module]):
        self.given = inner(given) if isinstance(given, nn.Module) else given
        if not callable(self.given):
            raise check.refuse("model", given, EXPECTED)
        made = self.given.func if isinstance(self.given, functools.partial) else self.given
        name = getattr(made, "__name__", type(made).__name__)
        self.name = f"{'network' if name == '<lambda>' else name}{OWN}"
        self._told: set[str] = set()

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes of its classifier's rows, where it says so itself, as the network of a run does."""
        return getattr(self.given, "class_names", None) if isinstance(self.given, Net) else None

    @property
    def code(self) -> Code:
        """What it computes, its weights included, as a hash."""
        if not isinstance(self.given, nn.Module):
            return code_hash(self.name, [self.given])
        module = self._copy(self.given)
        still = still_modules(module)
        frozen = [name for name, one in module.named_parameters() if not one.requires_grad]
        # Of the mode in which it came, only what stays in eval mode has an effect.
        return code_hash(self.name, [module.train(), frozen, *([still] if still else [])])

    def make(self, k: int) -> nn.Module:
        """A network for k classes, in float32 on the CPU, that nobody else has. It draws from torch's generator."""
        if isinstance(self.given, nn.Module):
            return self._copy(self.given)
        places, names = self._arguments(k)
        try:
            made = self.given(*places, **names)
        except Exception as error:
            raise ValueError(f"model: {self.name} could not be made ({_said(error)})") from error
        if not isinstance(made, nn.Module):
            raise ValueError(f"model: {self.name} made {check.shown(made)}; expected a torch module that gives logits")
        return self._copy(inner(made))

    def _arguments(self, k: int) -> tuple[list[int], dict[str, int]]:
        """What the factory is called with: the number of classes where it asks for one, else nothing."""
        try:
            parameters = list(inspect.signature(self.given).parameters.values())
        except (TypeError, ValueError):
            return [], {}
        by_name = [one.name for one in parameters if one.kind is not one.POSITIONAL_ONLY]
        named = next((name for name in CLASSES if name in by_name), None)
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [one.name for one in parameters if one.default is one.empty and one.kind not in variable]
        if len(needed) > 1:
            raise ValueError(
                f"model: {self.name} needs {', '.join(needed)}; expected a function or class of no argument or of the "
                "number of classes: wrap it, as in lambda k: Net(32, k)"
            )
        if named is not None and set(needed) <= {named}:
            return [], {named: k}
        return [k] if needed else [], {}

    def _copy(self, module: nn.Module) -> nn.Module:
        if isinstance(module, Net):  # such as run.model() gives; its own forward also notes the classifier's weights
            mode = module.training
            module = nn.Sequential(OrderedDict(backbone=module.backbone, head=module.head))
            module.training = mode
        try:
            return copy.deepcopy(module).cpu().float()
        except Exception as error:
            raise ValueError(
                f"model: {self.name} cannot be copied, and each run trains a copy ({_said(error)}); pass a function "
                "that makes it"
            ) from error

    def build(
        self, images: Tensor, objective: Objective, generator: torch.Generator, weights: Weights | None = None,
        rank: Tensor | None = None,
    ) -> Net:  # fmt: skip
        """The network with the head of an objective in place of its classifier.

        images (n, C, H, W), or rows (n, d): normalised, to look for the classifier with. generator: of the head's
        initial values. A linear classifier of as many classes keeps its weights where the head is linear, too; of
        another one a UserWarning says that it starts anew. weights: put into the network first. rank (k,): the row of
        that classifier for each class; None: they stand in the order of the classes. ValueError where there is no
        classifier, or the network cannot take such images.
        """
        module, k = self.make(objective.k), objective.k
        still = [module.get_submodule(name) for name in still_modules(module)]
        found = find_classifier(module, images, self.name, k)
        given = {}
        if weights is not None:
            given = put_weights(module, weights, found.name)
            found = find_classifier(module, images, self.name, k)  # it sees other features now
        weight, bias = given.get("weight", found.weight), given.get("bias", found.bias)
        head = objective.make_head(weight.flatten(1).shape[1])
        initialise(head, generator)
        kept = keep(head, weight if found.linear else None, bias, rank)
        if not kept:
            self.tell(f"model: the classifier of {self.name}, {found.form} of {len(weight)} classes, is replaced by a "
                       f"new one, {_form(head)} of {k} classes, which learns from the start", 8)  # fmt: skip
        net = Net(Body(module, found, images[:2], still), head)
        net.kept = kept
        return net

    def tell(self, text: str, level: int) -> None:
        """Warn, once; level: of the stack."""
        if text not in self._told:
            self._told.add(text)
            warnings.warn(text, stacklevel=level)


def as_network(model: Any) -> str | OwnNetwork | None:
    """What `train` is given as its model: a name and None as they are, anything else as what makes a network."""
    return model if model is None or isinstance(model, (str, OwnNetwork)) else OwnNetwork(model)


def state_digest(net: nn.Module) -> str:
    """A short hash of all that a network holds."""
    return request_id(state={name: checksum(check.to_array(value)) for name, value in net.state_dict().items()})


def still_modules(module: nn.Module) -> list[str]:
    """The parts of a network that stay in eval mode while it is trained, by name.

    They are those that are in eval mode where the network itself is in training mode, and BatchNorm whose parameters
    are all frozen. In which mode the network as a whole comes says nothing.
    """

    def still(one: nn.Module) -> bool:
        own = list(one.parameters(recurse=False))
        frozen = isinstance(one, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own)
        return bool(frozen) or (module.training and not one.training)

    return [name for name, one in module.named_modules() if still(one)]


def keep(head: nn.Module, weight: Tensor | None, bias: Tensor | None, rank: Tensor | None = None) -> bool:
    """Give a head the weights (k, d) and biases (k,) of a linear classifier; whether they fit.

    rank (k,): the row for each class of the head; None: in their order. ValueError where it is not about these rows.
    """
    if rank is not None and weight is not None:
        check_rows(weight, rank)
        weight, bias = weight[rank], None if bias is None else bias[rank]
    linear = isinstance(head, nn.Linear) and weight is not None
    if not linear or weight.flatten(1).shape != head.weight.shape or (bias is not None and head.bias is None):
        return False
    with torch.no_grad():
        head.weight.copy_(weight.flatten(1))
        if head.bias is not None:
            head.bias.zero_() if bias is None else head.bias.copy_(bias)
    return True


def check_rows(weight: Tensor, rank: Tensor) -> None:
    """ValueError where a classifier (k, d) has not one row for each of the classes that `head_classes` names."""
    if len(weight) != len(rank):
        raise ValueError(
            f"head_classes: it names {len(rank)} classes, and the classifier has {len(weight)} rows, which cannot be "
            "kept; leave head_classes= out"
        )


def untrained(head: nn.Linear) -> bool:
    """Whether a linear classifier (k, d) is as torch makes one, or the same for all classes: its order says nothing.

    torch draws uniformly within 1 / sqrt(d): a trained one goes beyond that, or is not uniform any more.
    """
    weight, bias = head.weight.detach(), None if head.bias is None else head.bias.detach()
    if bool((weight == weight[:1]).all()) and (bias is None or bool((bias == bias[0]).all())):
        return True
    bound = weight.shape[1] ** -0.5
    if float(weight.abs().max()) > bound or bias is not None and float(bias.abs().max()) > bound:
        return False
    # The distance of Kolmogorov and Smirnov from the uniform law; one of ten thousand new ones is farther away.
    values = (weight.flatten().double().sort().values / bound + 1) / 2
    steps = torch.arange(len(values) + 1) / len(values)
    distance = torch.maximum(steps[1:] - values, values - steps[:-1]).max()
    return float(distance) < 2.23 / len(values) ** 0.5


def _form(head: nn.Module) -> str:
    return "a cosine one" if isinstance(head, CosineHead) else "a linear one"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"


# ----------------------------------------------------------------------------------------------------- the classifier
class Classifier(NamedTuple):
    """The layer of a network that gives its logits: its name, weight (k, d, ...), bias (k,) or None, and its form.

    linear: whether the logits are W f + b with these weights. features (n, d): what it saw of the images.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    linear: bool
    features: Tensor

    @property
    def form(self) -> str:
        return "a linear one" if self.linear else "a normalised one"


@torch.no_grad()
def find_classifier(module: nn.Module, images: Tensor, name: str, k: int | None = None) -> Classifier:
    """The layer whose W f + b, or s cos(f, W), are the logits of these images, as `lt.collect` finds it.

    name: of the network; k: how many logits it is where there are several outputs. ValueError, in words, where there is
    none, or the network cannot take the images.
    """
    module.eval()
    by_size = {one.shape[1]: one.float() for one in reversed(_logits(module, images, name))}
    fits, reasons = [], []
    candidates = heads.layers(module, None, by_size)
    with heads.watching([one.module for one in candidates]) as seen:
        _logits(module, images, name)
    for size, z in by_size.items():
        for layer in candidates:
            try:
                if not heads.finite(z):
                    raise ValueError("gives logits that hold NaN or infinity")
                head, features = layer.fits(seen[layer.module], z)
                fits.append((size, layer, head, features))
            except ValueError as error:
                reasons.append(f"{layer.name!r} {error}")
    fits = [one for one in fits if one[0] == k] or fits
    if len({size for size, *_ in fits}) != 1:
        several = "several layers give outputs of several sizes" if fits else "; ".join(reasons[:3])
        raise ValueError(
            f"model: no classifier was found in {name} ({several or 'no layer has a weight (k, d)'}); expected a "
            "network whose logits are W f + b of one linear layer or 1x1 convolution, or s cos(f, W), as its last step"
        )
    _, layer, head, features = fits[-1]
    weight, bias = layer.module.weight.detach(), getattr(layer.module, "bias", None)
    linear = head.scale is None and head.length is None and bool((head.weight == weight.flatten(1).numpy()).all())
    return Classifier(layer.name, weight, None if bias is None else bias.detach(), linear, features)


def _logits(module: nn.Module, images: Tensor, name: str) -> list[Tensor]:
    try:
        with own_draws():
            found = module(images)
    except Exception as error:
        raise ValueError(
            f"model: {name} cannot take images as these data have them, normalised float32 of shape "
            f"{tuple(images.shape)} ({_said(error)})"
        ) from error
    return logits_among(found, len(images))


class Tap(nn.Module):
    """In the place of a classifier: keeps what it is given, and gives zeros of the shape that the classifier gave."""

    def __init__(self, classifier: nn.Module):
        super().__init__()
        self.shape, self.places = classifier.weight.shape[:2], classifier.weight.ndim > 2
        self.seen: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        self.seen = features
        k = self.shape[0]
        if self.places and features.ndim > 2:
            return features.new_zeros(len(features), k, *features.shape[2:])
        return features.new_zeros(*features.shape[:-1], k)

    def take(self) -> Tensor:
        """The features (n, d) of the last call, averaged over places where there are several."""
        found, self.seen = self.seen, None
        if found.ndim > 2 and self.places and found.shape[1] == self.shape[1]:
            return found.flatten(2).mean(2)
        return found.flatten(1, -2).mean(1) if found.ndim > 2 else found


class Body(nn.Module):
    """A network without its classifier: images (n, C, H, W) -> features (n, d), what the classifier would see.

    images: two of them, or two rows (2, d) for a network that takes those. still: its modules that stay in eval mode.
    """

    def __init__(
        self, net: nn.Module, classifier: Classifier, images: Tensor, still: Sequence[nn.Module] = ()
    ):  # fmt: skip
        super().__init__()
        self.still = list(still)
        self.rows = images.dim() == 2  # of a table, whose data have them as (n, 1, d, 1)
        net = nn.Sequential(net) if not classifier.name else net
        name = classifier.name or "0"
        layer = net.get_submodule(name)
        self.tap = Tap(layer)
        for place, one in list(net.named_modules(remove_duplicate=False)):
            if one is layer:
                net.set_submodule(place, self.tap)
        self.net, self.dim = net, layer.weight.shape[1]
        with torch.no_grad(), own_draws():
            try:
                expected = classifier.features[: len(images)].float()
                same = torch.allclose(self.eval()(images), expected, atol=1e-4, rtol=1e-3)
            except Exception:  # code that asks for more of its classifier than to be called
                same = False
        if not same:
            raise ValueError(
                f"model: its classifier {classifier.name!r} is used by other parts of the network, or a hook changes "
                "what it gets, so no other head can take its place; expected one that is called once, as the last step"
            )
        self.train()

    def train(self, mode: bool = True) -> Body:
        super().train(mode)
        for module in self.still:
            module.training = False
        return self

    def forward(self, images: Tensor) -> Tensor:
        self.net(images.flatten(1) if self.rows else images)
        return self.tap.take()
