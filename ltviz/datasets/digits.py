"""Digits-LT: 1,797 real handwritten digits of 8 x 8, shipped inside scikit-learn, so it works offline."""

from collections.abc import Sequence

import numpy as np

from .. import check
from .classes import order_classes, plain_order
from .longtailed import LongTailed, cut, hold_out
from .profiles import check_ratio

FIXED_ORDER = (6, 0, 4, 8, 5, 7, 9, 2, 3, 1)  # RandomState(1006).permutation(10), which is class_order="seed" at seed 6


def digits_lt(
    ratio: float = 50,
    n_max: int | None = 114,
    profile: str = "exp",
    seed: int = 0,
    class_order: str | Sequence[int | str] = "fixed",
    validation: int = 10,
    test: int = 50,
) -> LongTailed:
    """Long-tailed handwritten digits: by default 114 73 47 30 20 12 8 5 3 2 images to train on.

    ratio: largest / smallest class. n_max: images of the largest; None: as many as there are. profile: "exp", "step" or
    "pareto". validation, test: images per class held out, always the same ones. seed: draws the training subset.
    class_order: "fixed" (6 0 4 8 5 7 9 2 3 1), "natural" (puts 8 and 9, the hardest digits, in the tail, which hides
    what re-weighting does), "seed", or the ten digits from most to least frequent.
    The network sees (x / 16 - .3053) / .376 for a pixel x of 0 .. 16.

    Raises ValueError for a ratio below 1, an unknown profile or order, an empty class, or more images than there are.
    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), the test part.
    """
    from sklearn.datasets import load_digits

    ratio, validation, test = check_ratio(ratio), check.whole("validation", validation), check.whole("test", test)
    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    names = tuple("0123456789")
    order = order_classes(class_order, names, seed, fixed=FIXED_ORDER)
    # A pixel of 0 .. 16 is kept as 0 .. 240, exactly, so that a plot can show the store as it is.
    images = (bunch.images * 15).astype(np.uint8)[..., None]
    if not np.array_equal(images[..., 0] / 15, bunch.images):
        raise ValueError("scikit-learn's digits are not whole numbers 0 .. 16: its file is damaged; install it again")
    held, left = hold_out(labels, names, test, "test")
    rest = np.concatenate(left)
    return cut(
        "digits_lt",
        (images[rest], labels[rest]),
        (images[held], labels[held]),
        names,
        ratio=ratio,
        n_max=n_max,
        profile=profile,
        seed=seed,
        order=order,
        validation=validation,
        mean=[0.3053 * 240 / 255],
        std=[0.376 * 240 / 255],
        pad=0,
        flip=False,
        recipe="digits",
        spec=dict(
            loader="digits_lt",
            ratio=ratio,
            n_max=n_max,
            profile=profile,
            seed=seed,
            class_order=plain_order(class_order, order, fixed=FIXED_ORDER),
            validation=validation,
            test=test,
        ),
    )
