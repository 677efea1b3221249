"""One image moved from wrong to right: what the probe says, and what it refuses. Every method: test_explore.py."""

import numpy as np
import pytest
import torch

from ltviz.methods import METHODS
from ltviz.objective import UnknownMethod
from ltviz.probe import probe, probes

COUNTS = [50, 20, 5]


@pytest.mark.parametrize("counts", [COUNTS, tuple(COUNTS), np.array(COUNTS), torch.tensor(COUNTS)], ids=type)
def test_counts_come_as_any_vector(counts):
    found = probe("class_balanced", counts, np.int64(2), points=5, settings={"beta": 1.0})
    assert found.target == 2 and len(found.p) == 5
    expected = -0.6 / 0.27 * found.p.log()  # weights 1/50, 1/20, 1/5, scaled to mean 1
    torch.testing.assert_close(found.loss, expected, rtol=1e-6, atol=0.0)


def test_an_image_that_is_looked_at_is_not_counted_as_seen():
    """Before training no class is ahead: compensation alone is left of the seesaw loss, and one image has a loss."""
    found = probe("seesaw", COUNTS, 0, settings={"q": 0.0})
    assert not found.whole_batch
    torch.testing.assert_close(found.loss, -found.p.log())


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"method": "focl"}, "unknown method 'focl'.*did you mean 'focal'"),
        ({"method": None}, "method=None: expected a key of METHODS"),
        ({"counts": None}, "^counts=None"),
        ({"counts": [5]}, "^counts="),
        ({"counts": {"a": 5, "b": 3}}, "^counts="),
        ({"counts": [5, 2.5, 1]}, "^counts="),
        ({"target": 3}, "^target=3: expected a whole number from 0 to 2"),
        ({"target": -1}, "^target=-1"),
        ({"target": True}, "^target=True"),
        ({"target": 1.0}, "^target=1.0"),
        ({"points": 1}, "^points=1: expected a whole number of at least 2"),
        ({"points": 9.5}, "^points=9.5"),
        ({"settings": "gamma"}, "^settings='gamma'"),
        ({"settings": {"gama": 1.0}}, "did you mean 'gamma'"),
        ({"settings": {"gamma": float("nan")}}, "^gamma=nan"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_name(changes, words):
    asked = {"method": "focal", "counts": COUNTS, "target": 0, **changes}
    with pytest.raises(ValueError, match=words):
        probe(**asked)


def test_an_unknown_method_keeps_its_class():
    with pytest.raises(UnknownMethod):
        probe("focl", COUNTS, 0)


@pytest.mark.parametrize("key", METHODS)
def test_several_images_are_probed_as_one_after_the_other(key):
    """Under one loss: what it drew or noted for the first image does not reach the second."""
    counts = [100, 30, 10, 3]
    for found in probes(key, counts, (0, 3, 0)):
        alone = probe(key, counts, found.target)
        assert torch.equal(found.p, alone.p) and found.whole_batch == alone.whole_batch
        assert torch.equal(found.loss, alone.loss) and torch.equal(found.gradient, alone.gradient)
