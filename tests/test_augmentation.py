"""A transform of the reader's own for training images: what it is given, what it draws from, what names it."""

import functools
import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

import ltviz as lt
from ltviz.training import Trainer, make_request
from ltviz.training.augmentation import Augmentation, as_augmentation


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt()


def same(image):
    return image


def noisy(image):
    """Draws from torch, numpy and Python."""
    shift = int(torch.randint(3, ())) + np.random.randint(3) + random.randrange(3)
    return (image.int() + shift).clamp(0, 255).to(torch.uint8)


def fit(data, augment, **more):
    return lt.train("ce", data, **{"epochs": 2, "augment": augment, "progress": False, **more})


def test_each_training_image_is_transformed_and_no_other(data):
    asked = []

    def black(image):
        asked.append((image.dtype, tuple(image.shape)))
        return torch.zeros_like(image)

    trainer = Trainer("ce", data, epochs=1, augment=black)
    images = trainer.batch(torch.arange(7))
    assert asked == [(torch.uint8, (1, 8, 8))] * 8, "one of them a trial"
    assert torch.equal(images, data.normalise(torch.zeros(7, 1, 8, 8)))
    run = trainer.run()
    assert len(asked) == 8 + len(data), "none of the validation and the test images"
    assert run.recipe["augment"] == "black"


def test_it_takes_the_place_of_padding_and_mirroring(data):
    padded = lt.LongTailed(**{f: getattr(data, f) for f in data.__dataclass_fields__} | {"pad": 1, "flip": True})
    trainer = Trainer("ce", padded, augment=same)
    assert torch.equal(trainer.batch(torch.arange(9)), data.batch(slice(0, 9)))
    assert trainer.id == make_request("ce", data, augment=same).id != make_request("ce", data).id
    np.testing.assert_array_equal(fit(padded, same).logits, fit(data, None).logits)


@pytest.mark.parametrize("augment", [noisy, v2.RandomAffine(20, (0.1, 0.1)), v2.Compose([v2.RandomHorizontalFlip(),
                                     v2.RandAugment()])], ids=["own", "affine", "several"])  # fmt: skip
def test_its_draws_follow_from_the_seed_alone(augment, data, tmp_path):
    def states():
        return random.random(), np.random.rand(), torch.rand(()).item()

    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = states()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    one = fit(data, augment, epochs=3)
    assert states() == expected, "nothing was drawn from what belongs to all"
    halfway = Trainer("ce", data, epochs=3, augment=augment, checkpoint=tmp_path / "a.ckpt")
    halfway.run_epoch()
    halfway.save_checkpoint()
    again = fit(data, augment, epochs=3, checkpoint=tmp_path / "a.ckpt")
    np.testing.assert_array_equal(again.logits, one.logits)
    assert again.id == one.id and not np.array_equal(fit(data, augment, epochs=3, seed=1).logits, one.logits)


def test_side_by_side_it_is_the_same_run(data):
    augment = v2.RandomAffine(20)
    one = fit(data, augment)
    many = lt.train_many("ce", data, augment=[augment, noisy], epochs=2, seeds=2, progress=False)
    np.testing.assert_array_equal(next(run for run in many if run.id == one.id).logits, one.logits)
    assert len({run.id for run in many}) == 4


def made(text):
    scope = {"torch": torch, "__name__": "__main__"}
    exec(f"K = 3\ndef change(image):\n    return [image // {text} for _ in range(1)][0]", scope)
    return scope["change"]


def test_what_it_computes_is_part_of_the_id(data):
    pairs = {
        "source": (made("2"), made("3")),
        "parameters": (v2.RandomRotation(5), v2.RandomRotation(6)),
        "parts": (v2.Compose([v2.RandomRotation(5)]), v2.Compose([v2.RandomRotation(5), v2.RandomHorizontalFlip()])),
        "partial": (functools.partial(torch.add, other=torch.ones((), dtype=torch.uint8)),
                    functools.partial(torch.add, other=torch.zeros((), dtype=torch.uint8))),
        "lambda": (lambda image: image.flip(-1), lambda image: image.flip(-2)),
    }  # fmt: skip
    for what, pair in pairs.items():
        ids = [make_request("ce", data, augment=one).id for one in pair]
        assert ids[0] != ids[1] and ids[0] == make_request("ce", data, augment=pair[0]).id, what
    change = made("K")
    before = make_request("ce", data, augment=change).id
    change.__globals__["K"] = 4
    assert make_request("ce", data, augment=change).id != before, "a global that a comprehension reads"


def test_a_folder_gives_no_stale_run(data, tmp_path):
    sweep = functools.partial(lt.sweep, "ce", data, epochs=1, seeds=1, folder=tmp_path, progress=False)
    one, other = sweep(augment=made("2"))[0], sweep(augment=made("3"))[0]
    assert one.id != other.id and not np.array_equal(one.history["loss"], other.history["loss"])
    assert one.provenance["code"] != other.provenance["code"] and sweep(augment=made("2"))[0].id == one.id


def test_what_records_call_it():
    assert as_augmentation(None) is None and Augmentation(noisy).name == "noisy"
    assert Augmentation(lambda image: image).name == "own transform"
    assert Augmentation(v2.RandomHorizontalFlip(0.3)).name == "RandomHorizontalFlip(p=0.3)"
    assert Augmentation(functools.partial(noisy)).name == "partial"


@pytest.mark.parametrize("augment, words", [
    (3, "augment=3: expected None"), (v2.RandomRotation, "augment=<class"), ("flip", "augment='flip': expected None"),
    (lambda image: image.float(), r"augment: own transform gave torch.float32 \(1, 8, 8\) for uint8 \(1, 8, 8\)"),
    (lambda image: image[:, 1:], r"augment: own transform gave torch.uint8 \(1, 7, 8\)"),
    (lambda image: None, "augment: own transform gave None"),
    (v2.ToDtype(torch.float32), r"augment: ToDtype.*leave out ToDtype and Normalize"),
    (lambda image: image.missing, "augment: own transform failed on an image, uint8 .1, 8, 8. .AttributeError"),
    (lambda: 3, "augment: own transform failed on an image"),
])  # fmt: skip
def test_what_is_no_transform_is_refused_by_name(augment, words, data):
    with pytest.raises(ValueError, match=f"^{words}"):
        make_request("ce", data, augment=augment)
