"""One run: `train`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from .. import check
from ..datasets import LongTailed
from ..device import Speed
from ..run import Run
from .control import Interrupts, interrupts
from .distributed import is_first
from .loop import Trainer
from .progress import Progress
from .recipe import Recipe


def train(
    method: Any,
    data: LongTailed,
    *,
    epochs: int | None = None,
    seed: int = 0,
    model: Any = None,
    weights: Any = None,
    recipe: str | Recipe | None = None,
    augment: Any = None,
    head_classes: Any = None,
    start: Run | None = None,
    device: str | None = None,
    checkpoint: str | Path | None = None,
    callbacks: Any = None,
    speed: Speed | None = None,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a network on long-tailed data with a method, and return the Run.

    method      a key of METHODS, with **settings of its own; METHODS[key](...), with its settings; or a loss of your
                own: a function (logits, targets) or (out, targets) that gives one loss a sample or a scalar, a module,
                or a class of Objective (own.as_method)
    data        a LongTailed: from digits_lt, cifar_lt, folder_lt, list_lt, table_lt, glyphs_lt, omniglot_lt, manga109
    model       a name of models.MODELS, "torchvision:<name>", or a network of your own: a torch module, of which each
                run trains a copy, or a function or class that makes one, of no argument or of the number of classes.
                It takes normalised images (n, c, h, w), or rows (n, d), and gives logits. Its classifier makes place
                for the head of the method; a linear one of as many classes keeps its weights. What is frozen stays so;
                frozen BatchNorm, and parts in eval mode of a network in training mode, stay in eval mode
    weights     for the network before training: a file (.pt, .pth, .safetensors), a state dict, or the name of weights
                of torchvision that torch's cache has, such as "ResNet18_Weights.IMAGENET1K_V1"
    head_classes    class names in the order of the rows of the classifier in model or weights, or "alphabetical", as
                ImageFolder has them. None: data.class_names, which a UserWarning says where it is not alphabetical
    recipe      a name of RECIPES or a Recipe (default: the one meant for the data). Each of its fields is a keyword
                too, such as lr=0.05, optimizer="adamw"; a setting of the method wins over a field of its name
    augment     None: the padding and mirroring of the data; or a function of one training image, uint8 (c, h, w), that
                gives another one of that size, such as a transform of torchvision.transforms.v2. Its random numbers
                follow from the seed; what it reads from files or os.environ is not seen, and no part of the run's id
    seed        fixes initialisation, order, crops and masks; the data have a seed of their own
    start       a run whose network is continued; it becomes the parent. The classes are matched by name
    device      "cuda", "mps" or "cpu"; None takes the best there is
    checkpoint  a file: continued from if it is there, and written after an epoch, every ten seconds if it can. A run
                that is stopped, or fails, leaves in it the end of its last whole epoch, if there is one
    callbacks   a function, or several, called after each epoch with its number (from 0), its row of the history, and
                the network in eval mode, images -> logits. They see copies, so that the run stays what it is; one that
                returns True ends training, as Ctrl-C does
    speed       how a step is computed (device.Speed); None takes what is fastest for the device, but for a loss, a
                network or a transform of your own no CUDA graph: that would repeat its kernels, and not its Python
    Ctrl-C (or the kernel's stop button) ends training and returns what was learned, with status "stopped".
    Raises ValueError, naming the argument, for what makes no sense.
    """
    check.flag("progress", progress)
    trainer = Trainer(
        method, data, epochs=epochs, seed=seed, model=model, weights=weights, recipe=recipe, augment=augment,
        head_classes=head_classes, start=start, device=device, checkpoint=checkpoint, callbacks=callbacks,
        speed=speed, **settings,
    )  # fmt: skip
    with interrupts() as guard:
        return with_progress(trainer, guard, progress)


def with_progress(trainer: Trainer, guard: Interrupts, progress: bool) -> Run:
    """The run of a trainer, stopped by Ctrl-C, with or without a bar."""
    with Progress(trainer) if progress and is_first() else nullcontext() as bar:
        run = trainer.run(guard.control, bar.update if bar else None)
        if bar:
            bar.runs = [run]
    return run
