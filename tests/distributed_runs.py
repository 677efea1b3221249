"""What the processes of test_distributed.py do; torchrun starts this file. Arguments: a folder, and what to do."""

import json
import os
import random
import signal
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import ltviz as lt
from ltviz.datasets import stream
from ltviz.methods import METHODS
from ltviz.training import Trainer, distributed
from ltviz.training.augmentation import Augmentation


def trained(key, data, **more):
    """After every step of a short run: the network, and the history, as arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(key, data, **{"epochs": 3, "model": "cnn:4", "device": "cpu", **more})
        while not trainer.done:
            trainer.run_epoch()
    found = {f"net/{name}": value.numpy().copy() for name, value in trainer.net.state_dict().items()}
    found |= {f"objective/{name}": value.numpy().copy() for name, value in trainer.objective.state_dict().items()}
    return found | {f"history/{name}": np.asarray(value) for name, value in trainer.history.items()}


def small():
    return lt.digits_lt(ratio=10, n_max=30)


WITH_BATCH_STATISTICS = ("ce", "crl", "dual", "mixup", "oltr", "range", "crt")


def every_method():
    """Every method once, with batches that do not divide by the processes; some with BatchNorm.

    Under seed 0, one image of the dual loss lies so near a switch (of ReLU, or of max-pooling) that rounding throws it.
    """
    data, found = small(), {}
    for key in METHODS:
        epochs = max(2, len(METHODS[key]().stages))
        for model in ("mlp:16", *(("cnn:4",) if key in WITH_BATCH_STATISTICS else ())):
            for name, value in trained(key, data, batch_size=33, epochs=epochs, model=model, seed=1).items():
                found[f"{key}|{model}|{name}"] = value
    return found


def save(folder, name, arrays):
    if distributed.is_first():
        np.savez(Path(folder) / name, **arrays)


def dropout(folder):
    """Features of eight equal images, of which each process masks its own."""
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 512), torch.nn.Dropout(0.5))
    part = distributed.spread(net, "same", own=True)
    with torch.no_grad():
        save(folder, "dropout.npz", {"features": part(torch.ones(4, 1, 8, 8), 8).numpy()})


PARTS = {"train": (41, 14, 6), "val": (3, 2, 2), "test": (5, 4, 4)}  # images of each class


def written(folder):
    """Lists of small images in three classes, and the images."""
    for part, counts in PARTS.items():
        rows, draws = [], np.random.RandomState(len(part))
        for label, n in enumerate(counts):
            for i in range(n):
                rows.append(f"{part}_{label}_{i}.png {label}")
                image = Image.fromarray(draws.randint(0, 256, (8, 8, 3), dtype=np.uint8))
                image.save(folder / f"{part}_{label}_{i}.png")
        (folder / f"{part}.txt").write_text("\n".join(rows))


def turned(image):
    """A transform that draws from torch, numpy and Python."""
    shift = int(torch.randint(50, ())) + np.random.randint(50)
    return (image.int() + shift).clamp(0, 255).to(torch.uint8).flip(-1 if random.random() < 0.5 else -2)


def streamed(folder):
    """Networks trained on images that stay on the disk, and how many of each part this process read and transformed."""
    lists = {part: Path(folder) / f"{part}.txt" for part in PARTS}
    data, seen, arrays, counts = lt.list_lt(**lists, memory=1e-6), Counter(), {}, {}
    part_of = {sum(numbers): part for part, numbers in PARTS.items()}
    read, one = stream.Pixels.read, Augmentation._one
    stream.Pixels.read = lambda file, rows: seen.update({part_of[file.shape[0]]: len(rows)}) or read(file, rows)
    Augmentation._one = lambda own, image: seen.update(["transformed"]) or one(own, image)
    try:
        for key, augment in (("ce", None), ("mixup", None), ("ce", turned), ("mixup", turned)):
            name = f"{key} {'own' if augment else 'usual'}"
            trainer = Trainer(key, data, epochs=2, model="cnn:4", device="cpu", batch_size=15, augment=augment)
            seen.clear()
            while not trainer.done:
                trainer.run_epoch()
            counts[name] = {"epochs": dict(seen)}
            seen.clear()
            with trainer.place():
                run = trainer.finish()
            counts[name]["end"] = dict(seen)
            kept = {what: getattr(run, what) for what in ("logits", "features", "train_features")} | run.network
            kept |= {f"history/{what}": np.asarray(value) for what, value in run.history.items()}
            arrays |= {f"{name}|{what}": value for what, value in kept.items()}
    finally:
        stream.Pixels.read, Augmentation._one = read, one
    return arrays, counts


def main(folder, what):
    torch.set_num_threads(1)
    if what == "methods":
        save(folder, f"methods-{distributed.count()}.npz", every_method())
    elif what == "resume":
        # Two epochs here, the rest wherever the checkpoint is continued.
        seen = []

        def stop(epoch, row, network):
            seen.append(epoch)
            if epoch == 1 and "--stop" in sys.argv:  # Ctrl-C reaches this process alone
                os.kill(os.getpid(), signal.SIGINT)
            if epoch == 1 and "--die" in sys.argv:
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGKILL)

        run = lt.train("cdb", small(), epochs=5, model="cnn:4", device="cpu", callbacks=stop, progress=False,
                       augment=turned, checkpoint=Path(folder) / "run.ckpt")  # fmt: skip
        if distributed.is_first():
            told = {"status": run.status, "seen": seen, "processes": run.provenance.get("processes", 1), "id": run.id}
            (Path(folder) / f"resume-{distributed.count()}.json").write_text(json.dumps(told))
            np.savez(Path(folder) / f"resume-{distributed.count()}.npz", logits=run.logits, loss=run.history["loss"])
    elif what == "folder":
        runs = lt.train_many(["ce", "focal"], small(), seeds=2, epochs=2, device="cpu", folder=Path(folder) / "runs",
                             progress=False)  # fmt: skip
        assert len(runs) == 4 and all(run.status == "finished" for run in runs)
        dropout(folder)
    elif what == "streamed":
        arrays, counts = streamed(folder)
        save(folder, "streamed-2.npz", arrays)
        (Path(folder) / f"streamed-{os.environ['RANK']}.json").write_text(json.dumps(counts))
    elif what == "unlike":
        lt.train("ce", small(), seed=int(os.environ["RANK"]), epochs=1, progress=False, device="cpu")


if __name__ == "__main__":
    main(*sys.argv[1:3])
