"""Several runs side by side: the same runs as one after another, by a fixed rule, whatever the method."""

import dataclasses
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from ltviz import benchmark, many
from ltviz.datasets import digits_lt
from ltviz.device import PLAIN, threads
from ltviz.many import Batched, side_by_side, train_many, way
from ltviz.methods import METHODS
from ltviz.training import RECIPES, Trainer, sweep, train

HARD = ("tricdb",)  # a triplet that violates the margin by a rounding error counts in full


@pytest.fixture(scope="module")
def drawn():
    """The digits of three seeds."""
    return [digits_lt(class_order="seed", seed=seed) for seed in range(3)]


def trainers(drawn, method="ce", epochs=4, **more):
    return [Trainer(method, data, seed=seed, epochs=epochs, device="cpu", **more) for seed, data in enumerate(drawn)]


def in_step(runs):
    """The runs as one batch, whatever the rule says."""
    return many._in_step(runs, Batched(runs), None)


def same(ours, theirs):
    assert ours.history.keys() == theirs.history.keys()
    for name, values in theirs.history.items():
        np.testing.assert_array_equal(ours.history[name], values, err_msg=name)
    np.testing.assert_array_equal(ours.logits, theirs.logits)


# --------------------------------------------------------------------------------------------------------- the rule
def test_the_rule(drawn):
    noise = benchmark.synthetic([40, 24], 16)
    assert way(trainers(drawn)) == "batched" and way(trainers(drawn)[:1]) == "one by one"
    assert way(trainers(drawn, recipe="digits_cnn")) == "threads"
    assert way(trainers(drawn)[:1] + trainers(drawn, "focal")[1:]) == "threads"  # not alike
    big = dataclasses.replace(RECIPES["digits"], batch_size=256)
    assert way(trainers(drawn, recipe=big)) == "threads"
    with threads(2):
        assert way(trainers([noise] * 2, recipe="cifar16")) == "one by one"
    others = trainers(drawn)
    others[0].device = torch.device("cuda")
    assert way(others) == "streams"


# ------------------------------------------------------------------------------------------------------------ batched
@pytest.mark.parametrize("key", list(METHODS))
def test_batched_runs_follow_single_ones(key, drawn):
    """Twenty steps of every method: the loss within 1e-4, and so weights, validation and buffers at their ends."""
    alone = [trainer.run() for trainer in trainers(drawn, key)]
    ours = trainers(drawn, key)
    for one, run in zip(alone, in_step(ours), strict=True):
        within = 1e-3 if key in HARD else 1e-4
        np.testing.assert_allclose(run.history["loss"], one.history["loss"], atol=within, err_msg=key)
        np.testing.assert_allclose(run.history["feature_norm"], one.history["feature_norm"], rtol=100 * within)
        assert np.abs(run.history["val_accuracy"] - one.history["val_accuracy"]).mean() < 0.01
        np.testing.assert_allclose(run.head_weight, one.head_weight, atol=30 * within)
        assert np.mean(run.confusion != one.confusion) < 0.1 and run.seed == one.seed and run.id == one.id


def test_batch_statistics_and_crops_are_those_of_each_run():
    """A network with BatchNorm on images with crops: the running statistics too, and each run's own random numbers."""
    data = [benchmark.synthetic([40, 24], 8, validation=20)] * 2
    recipe = dataclasses.replace(RECIPES["cifar16"], batch_size=16, model="cnn:4")
    settings = {"recipe": recipe, "epochs": 3, "speed": PLAIN}
    alone = [Trainer("ce", d, seed=seed, device="cpu", **settings) for seed, d in enumerate(data)]
    ours = [Trainer("ce", d, seed=seed, device="cpu", **settings) for seed, d in enumerate(data)]
    for one in alone:
        one.run()
    in_step(ours)
    for one, trainer in zip(alone, ours, strict=True):
        assert not np.array_equal(alone[0].rows[0]["loss"], alone[1].rows[0]["loss"])
        for name, value in one.net.state_dict().items():
            torch.testing.assert_close(trainer.net.state_dict()[name], value, atol=1e-4, rtol=1e-3)
        for name, generator in one.generators.items():
            assert torch.equal(generator.get_state(), trainer.generators[name].get_state()), name


def test_each_run_is_clipped_by_itself():
    gradients = [torch.tensor([[3.0, 4.0], [0.3, 0.4]]), torch.tensor([[0.0], [0.0]]), torch.tensor([12.0, 0.0])]
    alone = [[g[i].clone() for g in gradients] for i in range(2)]
    many._clip_each(gradients, 1.0)
    for i, own in enumerate(alone):
        parameters = [nn.Parameter(torch.zeros_like(g)) for g in own]
        for parameter, gradient in zip(parameters, own, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for gradient, parameter in zip(gradients, parameters, strict=True):
            torch.testing.assert_close(gradient[i], parameter.grad)


def test_a_run_that_diverges_leaves_the_others_alone(drawn):
    alone = [trainer.run() for trainer in trainers(drawn)]
    ours = trainers(drawn)
    with torch.no_grad():
        ours[1].net.head.weight.fill_(torch.nan)
    with pytest.warns(RuntimeWarning, match="the loss is nan after epoch 1 of 4"):
        runs = in_step(ours)
    assert [run.status for run in runs] == ["finished", "diverged", "finished"]
    assert len(runs[1].history["loss"]) == 1 and len(runs[0].history["loss"]) == 4
    for i in (0, 2):
        np.testing.assert_allclose(runs[i].history["loss"], alone[i].history["loss"], atol=1e-4)


def test_accuracies_lie_within_the_spread_of_seeds(drawn):
    alone = np.array([trainer.run().accuracy for trainer in trainers(drawn, epochs=60)])
    ours = np.array([run.accuracy for run in side_by_side(trainers(drawn, epochs=60))])
    assert abs(ours.mean() - alone.mean()) <= alone.std(ddof=1) and (abs(ours - alone) <= 2 * alone.std(ddof=1)).all()


# ------------------------------------------------------------------------------------------------------ bit for bit
@pytest.mark.parametrize("method", ["ce", "equalization", "crt"])
def test_runs_in_threads_equal_single_ones_bit_for_bit(method, drawn):
    with threads(2):
        alone = [trainer.run() for trainer in trainers(drawn, method, epochs=3, model="cnn:4")]
        runs = side_by_side(trainers(drawn, method, epochs=3, model="cnn:4"))
        assert torch.get_num_threads() == 2
    for run, one in zip(runs, alone, strict=True):
        same(run, one)
        assert run.provenance["together"] == "3 threads" and run.provenance["threads"] == 1


def test_runs_one_by_one_equal_train_bit_for_bit():
    noise = benchmark.synthetic([40, 24], 16)
    settings = {"recipe": dataclasses.replace(RECIPES["cifar16"], epochs=2), "model": "cnn:4", "device": "cpu"}
    with threads(2):
        runs = side_by_side([Trainer("ce", noise, seed=seed, **settings) for seed in (0, 1)])
        for seed, run in enumerate(runs):
            same(run, train("ce", noise, seed=seed, progress=False, **settings))
            assert run.provenance["together"] == "2 one by one"


def test_interleaved_steps_are_the_steps_of_each_run(drawn):
    """What several runs do in turns on streams of a GPU, here on a CPU, where it is bit for bit the same."""
    alone = [trainer.run() for trainer in trainers(drawn)]
    ours, taken = trainers(drawn), []
    for i, trainer in enumerate(ours):
        trainer.step.work = lambda index, i=i, work=trainer.step.work: (taken.append(i), work(index))
    for one, run in zip(alone, many._in_step(ours, many._in_turns, None), strict=True):
        same(run, one)
    assert taken[:6] == [0, 1, 2, 0, 1, 2]


def test_no_thread_is_left_and_an_error_stops_all(drawn, monkeypatch):
    before = threading.active_count()
    ours = trainers(drawn, epochs=2000, model="cnn:4")
    monkeypatch.setattr(ours[1], "begin_epoch", lambda: 1 / 0)
    with threads(2), pytest.raises(ZeroDivisionError):
        side_by_side(ours)
    assert threading.active_count() == before and ours[0].epoch < 2000


# ---------------------------------------------------------------------------------------------------------- the door
def test_train_many_gives_what_a_sweep_gives(tmp_path):
    data = digits_lt(class_order="seed")
    asked = {"seeds": 2, "epochs": [1, 2], "progress": False}
    runs = train_many(["ce", "focal"], data, folder=tmp_path, **asked)
    swept = sweep(["ce", "focal"], data, **asked)
    assert [(r.label, r.seed, r.id) for r in runs] == [(r.label, r.seed, r.id) for r in swept]
    for ours, theirs in zip(runs, swept, strict=True):
        np.testing.assert_allclose(ours.history["loss"], theirs.history["loss"], atol=1e-4)
        assert ours.provenance["together"] == "2 batched" and "together" not in theirs.provenance
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(files) == 8 and len(train_many(["ce", "focal"], data, folder=tmp_path, **asked)) == 8
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files


def test_ctrl_c_returns_what_is_done(drawn, tmp_path, monkeypatch):
    done = many.side_by_side
    monkeypatch.setattr(many, "LARGEST", 1)

    def interrupted(group, on_epoch=None):
        if group[0].seed == 2:
            raise KeyboardInterrupt
        return done(group, on_epoch)

    monkeypatch.setattr(many, "side_by_side", interrupted)
    with pytest.warns(UserWarning, match="2 runs are done: call train_many again with the same folder"):
        runs = train_many("ce", drawn[0], seeds=4, epochs=1, folder=tmp_path, progress=False)
    assert [run.seed for run in runs] == [0, 1]


def test_it_tells_of_progress(drawn):
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in ("mlp", "cnn:4"):
            side_by_side(trainers(drawn, model=model), lambda trainer: told.append(trainer.epoch))
    assert told == [1, 2, 3, 4] * 2
