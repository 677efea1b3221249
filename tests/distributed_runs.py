"""What the processes of test_distributed.py do; torchrun starts this file. Arguments: a folder, and what to do."""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import ltviz as lt
from ltviz.methods import METHODS
from ltviz.training import Trainer, distributed


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
        save(folder, "dropout.npz", {"features": part(torch.ones(8, 1, 8, 8)).numpy()})


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
                       checkpoint=Path(folder) / "run.ckpt")  # fmt: skip
        if distributed.is_first():
            told = {"status": run.status, "seen": seen, "processes": run.provenance.get("processes", 1), "id": run.id}
            (Path(folder) / f"resume-{distributed.count()}.json").write_text(json.dumps(told))
            np.savez(Path(folder) / f"resume-{distributed.count()}.npz", logits=run.logits, loss=run.history["loss"])
    elif what == "folder":
        runs = lt.train_many(["ce", "focal"], small(), seeds=2, epochs=2, device="cpu", folder=Path(folder) / "runs",
                             progress=False)  # fmt: skip
        assert len(runs) == 4 and all(run.status == "finished" for run in runs)
        dropout(folder)
    elif what == "unlike":
        lt.train("ce", small(), seed=int(os.environ["RANK"]), epochs=1, progress=False, device="cpu")


if __name__ == "__main__":
    main(*sys.argv[1:3])
