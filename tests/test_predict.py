"""run.model() and run.predict(): a run's network, asked about other images."""

import numpy as np
import pytest
import torch
from PIL import Image

import ltviz as lt


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt()


@pytest.fixture(scope="module")
def run(data):
    return lt.train("ce", data, epochs=20, progress=False)


@pytest.mark.parametrize("method, model", [("ce", "mlp"), ("logit_adjustment", "cnn"), ("crt", "cnn"), ("lws", "cnn"),
                                           ("tau_norm", "cnn"), ("normface", "resnet8"), ("oltr", "cnn"),
                                           ("focal", "torchvision:shufflenet_v2_x0_5")])  # fmt: skip
def test_it_answers_the_test_images_as_the_run_did(method, model, data, tmp_path):
    if model.startswith("torchvision"):
        data = lt.LongTailed(**{name: getattr(data, name) for name in data.__dataclass_fields__}
                             | {name: getattr(data, name).repeat_interleave(4, 1).repeat_interleave(4, 2)
                                for name in ("images", "val_images", "test_images")} | {"spec": {}})  # fmt: skip
    run = lt.train(method, data, epochs=4, model=model, progress=False)
    for one in (run, lt.load_run(run.save(tmp_path))):
        found = one.predict(data.test_images.numpy())
        np.testing.assert_allclose(found.logits, run.decided, atol=1e-4)
        np.testing.assert_array_equal(found.classes, run.decided.argmax(1))
        np.testing.assert_allclose(found.probabilities.sum(1), 1.0, atol=1e-5)
        net = one.model()
        torch.testing.assert_close(net(data.test_batch()), torch.from_numpy(run.logits), atol=1e-4, rtol=1e-4)


def test_a_rule_that_asks_for_the_training_images(data):
    run = lt.train("ncm", data, epochs=4, progress=False)
    found = run.predict(data.test_images.numpy())
    np.testing.assert_allclose(found.logits, run.decided, atol=1e-2)
    assert (found.classes == run.decided.argmax(1)).mean() > 0.99


def test_images_in_every_form_are_the_same_images(run, data):
    images = data.test_images[:20]
    expected = run.predict(images.numpy())
    assert expected.classes.shape == (20,) and expected.probabilities.shape == (20, 10)
    assert expected.names == [run.class_names[j] for j in expected.classes] and len(expected) == 20
    pictures = [Image.fromarray(one) for one in images[..., 0].numpy()]
    for same in (images[..., 0].numpy(), images.permute(0, 3, 1, 2), pictures, [one.convert("RGB") for one in pictures],
                 images.numpy() / 255, images.permute(0, 3, 1, 2).float() / 255,
                 list(images.permute(0, 3, 1, 2)), tuple(images.permute(0, 3, 1, 2).float() / 255)):  # fmt: skip
        found = run.predict(same)
        np.testing.assert_array_equal(found.classes, expected.classes)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-3)
    one = run.predict(pictures[3])
    assert one.names == expected.names[3:4] and repr(one).startswith(f"{one.names[0]} (")
    assert repr(expected).endswith(", and 10 more")


def test_images_of_another_size_are_cut_and_resized(run, data):
    images = data.test_images[:20, ..., 0].numpy()
    expected = run.predict(images).classes
    large = images.repeat(8, 1).repeat(8, 2)
    wide = np.pad(large, ((0, 0), (0, 0), (16, 16)))
    for other in (large, wide, torch.from_numpy(wide)[:, None], [Image.fromarray(one) for one in wide]):
        assert (run.predict(other).classes == expected).mean() >= 0.85


def test_grey_images_have_three_equal_channels_where_there_is_colour(data):
    colour = lt.LongTailed(**{name: getattr(data, name) for name in data.__dataclass_fields__}
                           | {name: getattr(data, name).expand(-1, -1, -1, 3)
                              for name in ("images", "val_images", "test_images")}
                           | {"mean": torch.full((3,), 0.5), "std": torch.full((3,), 0.25), "spec": {}})  # fmt: skip
    run = lt.train("ce", colour, model="cnn", epochs=1, progress=False)
    grey = data.test_images[:9].numpy()
    expected = run.logits[:9]
    np.testing.assert_allclose(run.predict(grey).logits, expected, atol=1e-4)
    picture = Image.fromarray(grey[0, ..., 0]).convert("RGBA")
    np.testing.assert_allclose(run.predict(picture).logits, expected[:1], atol=1e-4)
    with pytest.raises(ValueError, match=r"of one image pass images\[None\]"):
        run.predict(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("wrong, words", [
    (3, "3: expected uint8 images, or floats"), (None, "None: exp"), ("a.png", "'a.png': "), ([], r"\[\]: expected"),
    (np.zeros((2, 8, 8), int), "these are int64"),
    (np.full((2, 8, 8), 7.0), "floats from 0 to 1, not normalised"),
    (np.full((2, 8, 8), np.nan), "floats from 0 to 1"), (-np.ones((2, 8, 8)), "floats from 0 to 1"),
    (np.zeros((0, 8, 8), np.uint8), "at least one"), (np.zeros((8, 8), np.uint8), r"of one image pass images\[None\]"),
    (np.zeros((2, 8, 8, 3), np.uint8), r"expected \(n, h, w, c\) with c = 1$"),
    (np.zeros((2, 8, 8), bool), "expected uint8"),
    (np.zeros((8, 8, 1), np.uint8), r"of one image pass images\[None\]"),
    (np.zeros((8, 8, 3), np.uint8), r"of one image pass images\[None\]"),
    ([torch.zeros(1, 8, 8), torch.zeros(1, 8, 9)], r"a list of tensors of shape \(1, 8, 8\), \(1, 8, 9\); expected"),
    ([torch.zeros(8, 8)], "expected tensors .c, h, w., all of one shape and type"),
    (np.zeros((2, 1, 8, 8), np.uint8), r"with c = 1; torch.from_numpy\(images\) has c first"),
    (torch.zeros(1, 8, 8), r"of one image pass images\[None\]"),
    (torch.zeros(2, 8, 8, 1), r"expected \(n, c, h, w\) with c = 1"), (Image.new("I", (8, 8)), "mode 'I'"),
    (Image.new("F", (8, 8)), "mode 'F'"), ([Image.new("L", (8, 8)), 3], "expected uint8"),
])  # fmt: skip
def test_what_are_no_images_is_refused_by_name(wrong, words, run):
    with pytest.raises(ValueError, match=f"^images(=|:)(?s:.*){words}"):
        run.predict(wrong)


def test_runs_without_a_network_say_so(run, data, tmp_path):
    small = lt.load_run(run.save(tmp_path, small=True))
    table = lt.from_predictions([0, 1, 1], predictions=[0, 1, 0], counts=[1, 2])
    for one in (small, table):
        with pytest.raises(ValueError, match="keeps no network"):
            one.predict(data.test_images.numpy())
        with pytest.raises(ValueError, match="keeps no network"):
            one.model()
    with pytest.raises(ValueError, match="^model='cnn': expected None: the network of 'ce' is 'mlp'"):
        run.model("cnn")


def test_a_recorded_network_answers_as_it_did():
    run, photographs = lt.recorded("cifar16", "ce", seed=0)[0], lt.study.photographs()
    np.testing.assert_allclose(run.predict(photographs.small).logits, run.logits[:100], atol=1e-3)


def test_rows_of_a_table(tmp_path):
    rows = np.random.RandomState(0).randn(200, 5)
    targets = (rows[:, 0] > 0.5).astype(int)
    data = lt.table_lt(rows, targets)
    run = lt.train("ce", data, epochs=2, progress=False)
    test = data.test_images.numpy().reshape(len(data.test_images), -1)
    np.testing.assert_allclose(run.predict(test).logits, run.logits, atol=1e-4)
    with pytest.raises(ValueError, match=r"^images=.*or rows \(n, 5\), as table_lt has standardised them"):
        run.predict(rows[:, :4])

    def own():
        return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

    run = lt.train("ce", data, model=own, epochs=2, progress=False)
    np.testing.assert_allclose(run.predict(test).logits, run.logits, atol=1e-4)
    assert run.model()(torch.from_numpy(test)).shape == (len(test), 2) and run.features.shape == (len(test), 8)
