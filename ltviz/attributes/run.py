"""AttributeRun: what training many attributes leaves behind; saved as one file of arrays and JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import check, metrics
from ..check import to_array
from ..files import RunFileError, read_record, request_id, save_record
from ..methods import METHODS
from ..objective import Bound
from ..own import as_method, described
from ..run import checksums, compact, narrow, run_stem
from ..training import versions
from .ask import ask_method
from .network import AttributeNet, answers

if TYPE_CHECKING:
    from .train import AttributeTrainer

KIND = "attributes"
LISTS = ("counts", "logits")  # an array for each attribute
DICTS = ("history", "network")


@dataclass(repr=False, eq=False)
class AttributeRun:
    """A network that was trained to tell a attributes, its history and its answers to m test images.

    method, label, settings   the method's key, its name in plots, all its settings
    data, recipe, seed   the loader's arguments and the fingerprint; how it was trained; the seed
    names (a), values    of the attributes, and of the values of each
    counts               training images of each value, (v_j,) for each attribute
    targets (m, a)       of the test images, -1 where unknown; logits, (m, v_j) for each attribute, by which the method
                         decides (after its post-hoc rule, where it has one)
    features (m, d)      shared features of the test images; None in a small record
    history              one row an epoch: epoch, lr, loss, term/<name>, taught (how many attributes), and
                         val_balanced_accuracy (epochs, a), NaN without validation images
    network              the weights, None in a small record
    status               "finished", "stopped" or "diverged"
    """

    method: str
    label: str
    settings: dict[str, Any]
    data: dict[str, Any]
    recipe: dict[str, Any]
    seed: int
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    counts: list[np.ndarray]
    targets: np.ndarray
    logits: list[np.ndarray]
    history: dict[str, np.ndarray]
    features: np.ndarray | None = None
    network: dict[str, np.ndarray] | None = None
    status: str = "finished"
    id: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names, self.values = tuple(self.names), tuple(map(tuple, self.values))
        m, a = np.shape(self.targets)
        sizes = [len(of) for of in self.values]
        sound = (
            len(self.names) == len(sizes) == len(self.counts) == len(self.logits) == a
            and [len(one) for one in self.counts] == sizes
            and [one.shape for one in self.logits] == [(m, v) for v in sizes]
        )
        if not sound:
            raise ValueError(
                f"attributes: {len(self.names)} names, {sizes} values, {len(self.counts)} counts, "
                f"{[one.shape for one in self.logits]} logits and targets ({m}, {a}) do not belong together"
            )
        self.made_by: Bound | None = None  # of a run trained in this process: its bound loss

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "made_by": None}

    def __repr__(self) -> str:
        said = "" if self.status == "diverged" else f", mean balanced accuracy {self.mean_balanced_accuracy:.1%}"
        epochs = check.many(len(self.history.get("epoch", ())), "epoch")
        known, on = check.many(len(self.names), "attribute"), self.data.get("loader", "data made by hand")
        return f"{self.label} on {known} of {on}, seed {self.seed}: {self.status} after {epochs}{said}"

    @property
    def predicted(self) -> np.ndarray:
        """The value that the network names, for each test image and attribute (m, a); -1 where its logits are NaN."""
        return np.stack([np.where(np.isnan(of).any(1), -1, of.argmax(1)) for of in self.logits], 1)

    @property
    def scores(self) -> metrics.AttributeScores:
        """Recall of each value, balanced accuracy and accuracy of each attribute; NaN for a diverged run."""
        return metrics.attribute_scores(self)

    @property
    def balanced_accuracy(self) -> np.ndarray:
        """Mean recall of the values of each attribute (a,): (TP / P + TN / N) / 2 of a binary one."""
        return self.scores.balanced

    @property
    def mean_balanced_accuracy(self) -> float:
        """Its mean over the attributes, as the papers give it."""
        return self.scores.mean

    @property
    def accuracy(self) -> np.ndarray:
        """Share of the test images that are right in each attribute (a,)."""
        return self.scores.accuracy

    @property
    def imbalance(self) -> np.ndarray:
        """Most frequent / rarest value of each attribute (a,) in the training images."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([one.max() / one.min() for one in self.counts])

    def table(self) -> Any:
        """Per attribute: imbalance, balanced accuracy, accuracy, and the recall of its rarest value (a DataFrame)."""
        import pandas

        scores = self.scores
        rare = [recall[int(counts.argmin())] for recall, counts in zip(scores.recall, self.counts, strict=True)]
        columns = {
            "attribute": self.names, "imbalance": self.imbalance, "balanced accuracy": scores.balanced,
            "accuracy": scores.accuracy, "recall of the rarest": rare,
        }  # fmt: skip
        return pandas.DataFrame(columns).set_index("attribute")

    @torch.no_grad()
    def answers(self, images: torch.Tensor, method: Any = None) -> tuple[np.ndarray, list[np.ndarray]]:
        """What the network says to images (n, C, H, W) as `data.batch` gives them, before any post-hoc rule.

        Shared features (n, d), and logits (n, v_j) for each attribute. method: the loss that was trained (of mtct, its
        base), where it was the reader's own and the run comes from a file, which holds no code. ValueError for images
        of another size, none, or with NaN; for a record without its network, and a run that diverged.
        """
        if self.status == "diverged":
            raise ValueError(
                f"{self.label}: its training diverged, so its network gives no answers; train it again, with a smaller "
                "learning rate (lr=)"
            )
        if self.network is None:
            raise ValueError(f"{self.label}: this record has no network; train with lt.train_attributes, save whole")
        images = _images(images)
        bound = self._bound(method)
        built = [bound.build(counts) for counts in self.counts]
        branch, generator = self.recipe.get("branch"), torch.Generator()
        try:
            net = AttributeNet(self.recipe["model"], images.shape[1:], built, generator, branch)
            net.load_state_dict({name: torch.from_numpy(np.array(one)).float() for name, one in self.network.items()})
        except (RuntimeError, ValueError):  # ValueError: smaller than the network can take
            raise check.refuse("images", images, f"images of the size that {self.label} was trained on") from None
        shared, outs = answers(net, images.__getitem__, len(images), 1000, torch.Tensor.float)
        return to_array(shared), [to_array(out.logits) for out in outs]

    def _bound(self, method: Any) -> Bound:
        """The loss of the run. ValueError where it is one's own and not given, and where another one is given."""
        key, settings = self.method, self.settings
        if key == "mtct":
            key, settings = _base_of(self.settings)
        if method is None and self.made_by is not None:
            return self.made_by
        if method is not None:
            if as_method(method).key != key:
                raise check.refuse("method", method, f"the loss that {self.label!r} was trained with, {key!r}")
            return ask_method(method, {} if isinstance(method, Bound) else settings)[0].bound
        own = _not_known(key, settings)
        if own is not None:
            raise ValueError(
                f"{self.label}: it was trained with a loss of your own, {own!r}, whose code no file holds; pass it: "
                f"answers(images, method={own if own == key else f'METHODS[{key!r}](base={own})'})"
            )
        return ask_method(key, settings)[0].bound

    def save(self, path: str | Path, *, small: bool = False) -> Path:
        """Write the run to a file, or into a folder under a name of its own; returns the path. small: no network."""
        path = check.path("path", path)
        check.flag("small", small)
        if path.suffix != ".safetensors":
            if path.suffix and not path.is_dir():
                raise check.refuse("path", str(path), "a folder, or a file that ends in .safetensors")
            stem = run_stem(str(self.data.get("loader", KIND)), self.recipe.get("name", ""), self.label, self.seed)
            path = path / f"{stem}-{self.id}.safetensors"
        meta, arrays = {}, {}
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if value is None or (small and name in ("features", "network")):
                continue
            if name in LISTS:
                arrays |= {f"{name}/{j}": one for j, one in enumerate(value)}
            elif name in DICTS:
                arrays |= {f"{name}/{key}": np.asarray(one) for key, one in value.items()}
            elif isinstance(value, np.ndarray):
                arrays[name] = value
            else:
                meta[name] = value
        save_record(path, KIND, meta, {name: narrow(one) for name, one in arrays.items()})
        return path


def _images(value: Any) -> torch.Tensor:
    """Images (n, C, H, W) on the CPU. ValueError for anything else, for none, and for numbers that are not finite."""
    shape = "images (n, C, H, W) of float32, at least one, such as data.batch() gives"
    images = check.instance("images", value, torch.Tensor, shape)
    if images.dim() != 4 or not images.is_floating_point() or not images.numel():
        raise check.refuse("images", value, f"{shape}; got {images.dtype} {tuple(images.shape)}")
    if not images.isfinite().all():
        raise check.refuse("images", value, f"{shape}, finite; {int((~images.isfinite()).sum()):,} numbers are not")
    return images.detach().cpu()


def _base_of(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Key and settings of the loss that a term, or a curriculum, is added to."""
    base = settings["base"]
    return (base, {}) if isinstance(base, str) else (base["key"], {k: v for k, v in base.items() if k != "key"})


def _not_known(key: str, settings: Mapping[str, Any]) -> str | None:
    """The key of a loss, or of what it is added to, that METHODS does not have."""
    if key not in METHODS:
        return key
    return _not_known(*_base_of(settings)) if "base" in settings else None


def load_attribute_run(path: str | Path) -> AttributeRun:
    """Read a run. Raises RunFileError, naming the file and the reason, for a damaged, foreign or newer one."""
    path = check.path("path", path)
    meta, arrays = read_record(path, KIND)
    found: dict[str, Any] = {**meta, "counts": {}, "logits": {}, "history": {}}
    for name, value in arrays.items():
        group, _, key = name.partition("/")
        if key:
            found.setdefault(group, {})[int(key) if group in LISTS else key] = value
        else:
            found[name] = value
    try:
        for name in LISTS:
            found[name] = [found[name][j] for j in range(len(found[name]))]
        found["counts"] = [one.astype(np.int64) for one in found["counts"]]
        found["targets"] = found["targets"].astype(np.int64)
        return AttributeRun(**found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFileError(f"{path}: not a whole run of attributes ({error})") from None


@torch.no_grad()
def make_run(trainer: AttributeTrainer, status: str) -> AttributeRun:
    """Look at the test images, once, and put the run together."""
    data, plan, bound = trainer.data, trainer.plan, trainer.plan.bound
    shared, outs = trainer.answers(data.test_batch, len(data.test_images))
    finite = all(bool(out.logits.isfinite().all()) for out in outs)
    status = status if finite else "diverged"
    logits = [out.logits for out in outs]
    if finite and bound.decide(outs[0], data.counts[0], lambda: trainer.embed(0)) is not None:
        logits = [
            bound.decide(out, counts, lambda j=j: trainer.embed(j))
            for j, (out, counts) in enumerate(zip(outs, data.counts, strict=True))
        ]
    network = {name: to_array(value) for name, value in trainer.net.state_dict().items()}
    spec = {name: value for name, value in data.spec.items() if name not in ("root", "download")}
    place = torch.cuda.get_device_name(trainer.device) if trainer.device.type == "cuda" else trainer.device.type
    run = AttributeRun(
        method=plan.key, label=plan.label, settings=plan.settings, data={**spec, "fingerprint": trainer.fingerprint},
        recipe=trainer.recipe_record, seed=trainer.seed, names=data.names, values=data.values, counts=data.counts,
        targets=to_array(data.test_targets), logits=[to_array(one) for one in logits], history=trainer.history,
        features=compact(to_array(shared)), network=network, status=status,
        id=_id(trainer, network if status == "stopped" else None),
        provenance={
            "device": place, "threads": trainer.threads, "seconds": round(trainer.seconds, 3), "versions": versions(),
            "date": time.strftime("%Y-%m-%d"),
        },
    )  # fmt: skip
    run.made_by = bound
    return run


def _id(trainer: AttributeTrainer, network: Mapping[str, np.ndarray] | None) -> str:
    """A hash of all that can change the result; of a stopped run also of how far it came."""
    code = described(trainer.plan.bound)
    return request_id(
        method=trainer.plan.key, settings=trainer.plan.settings, data=trainer.fingerprint, seed=trainer.seed,
        recipe={name: value for name, value in trainer.recipe_record.items() if name != "name"},
        device=trainer.device.type, **({} if code is None else {"code": code.unique}),
        **({} if network is None else {"network": checksums(network)}),
    )  # fmt: skip
