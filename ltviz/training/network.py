"""The network of a run, once more: for pictures that it has not seen."""

from __future__ import annotations

import numpy as np
import torch

from .. import check
from ..check import to_array
from ..datasets.augment import normalise
from ..methods import METHODS
from ..models import Net, make_net
from ..run import Run
from . import checkpoint as checkpoints


class Network:
    """`answer(images)` gives what the network of a run makes of uint8 images of the size that it was trained on.

    shape (C, H, W): of its images. Raises ValueError for a run that keeps no network, whose loss is a reader's own, or
    whose network has a classifier that another one made.
    """

    def __init__(self, run: Run, shape: tuple[int, int, int]):
        check.instance("run", run, Run, "a run: what ltviz.train returns, or a full record that load_run reads")
        if run.network is None:
            raise ValueError(
                f"this record of {run.name!r} keeps no network. Train it here, or load a full record (run.save(path) "
                "keeps everything; run.save(path, small=True) does not)."
            )
        self.run, self.shape, self.net = run, shape, _rebuild(run, shape)
        mean, std = (torch.tensor(run.data[name], dtype=torch.float64).view(1, -1, 1, 1) for name in ("mean", "std"))
        self.scale, self.shift = (1 / (255 * std)).float(), (-mean / std).float()

    @torch.no_grad()
    def answer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (n, k) and features (n, d) of images (n, H, W, C) uint8, normalised as the run's data were."""
        channels, height, width = self.shape
        found = check.array("images", images, 4, f"images (n, {height}, {width}, {channels}) as uint8")
        if found.dtype != np.uint8 or found.shape[1:] != (height, width, channels) or not len(found):
            raise check.refuse("images", images, f"images (n, {height}, {width}, {channels}) as uint8, at least one")
        x = torch.from_numpy(np.ascontiguousarray(found)).permute(0, 3, 1, 2)
        out = self.net(normalise(x, self.scale, self.shift))
        return to_array(out.logits), to_array(out.features)


def _rebuild(run: Run, shape: tuple[int, int, int]) -> Net:
    if run.method not in METHODS:
        raise ValueError(f"run={run.name!r}: trained with a loss of one's own, so its classifier is not known here")
    objective = METHODS[run.method](**run.settings).build(torch.from_numpy(run.counts))
    net = make_net(run.recipe["model"], shape, objective, torch.Generator().manual_seed(0))
    try:
        checkpoints.load_state(net, {name: torch.from_numpy(np.asarray(value)) for name, value in run.network.items()})
    except ValueError as error:
        raise ValueError(
            f"run={run.name!r}: its network does not fit {run.recipe['model']!r} for images of {shape} ({error}); pass "
            "images like those it was trained on, and a run whose classifier was trained with it"
        ) from None
    return net.eval()
