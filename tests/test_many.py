"""Several runs side by side: the same runs as one after another, by a fixed rule, whatever the method."""

import dataclasses
import threading
import time
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
    done = {}
    many._in_step(runs, Batched(runs), lambda trainer: None, done.__setitem__)
    return [done[i] for i in range(len(runs))]


def same(ours, theirs):
    assert ours.history.keys() == theirs.history.keys()
    for name, values in theirs.history.items():
        np.testing.assert_array_equal(ours.history[name], values, err_msg=name)
    np.testing.assert_array_equal(ours.logits, theirs.logits)


# --------------------------------------------------------------------------------------------------------- the rule
def test_the_rule(drawn):
    noise = benchmark.synthetic([40, 24], 16)
    four = [*drawn, drawn[0]]
    assert way(trainers(four)) == "batched" and way(trainers(drawn)) == "one by one"
    assert way(trainers(four[:2]) + trainers(four, "focal")[2:]) == "one by one"  # not alike
    ahead = trainers(four)
    ahead[1].run_epoch()
    assert way(ahead) == "one by one"
    big = dataclasses.replace(RECIPES["digits"], batch_size=256)
    with threads(2):
        assert way(trainers(drawn, recipe="digits_cnn")) == way(trainers(drawn, recipe=big)) == "threads"
        assert way(trainers(drawn, recipe="digits_cnn")[:1]) == "one by one"
        assert way(trainers([noise] * 2, recipe="cifar16")) == "one by one"
    with threads(1):
        assert way(trainers(drawn, recipe="digits_cnn")) == "one by one"
    others = trainers(drawn)
    others[0].device = torch.device("cuda")
    assert way(others) == "streams"


def test_what_is_asked_for_is_grouped_by_the_rule():
    data = digits_lt()
    asked = [(key, seed, {"device": "cpu"}) for seed in range(9) for key in ("ce", "focal")]
    groups = list(many._groups(asked, data))
    assert [len(group) for group in groups] == [8, 1, 8, 1] and {key for key, _, _ in groups[0]} == {"ce"}
    asked = [(key, seed, {"device": "cpu", "model": "cnn"}) for seed in range(5) for key in ("ce", "focal")]
    assert list(many._groups(asked, data)) == [asked[:8], asked[8:]]


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
    ours = np.array([run.accuracy for run in in_step(trainers(drawn, epochs=60))])
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
        assert run.provenance["together"] == "2 threads" and run.provenance["threads"] == 1


def test_runs_one_by_one_equal_train_bit_for_bit():
    noise = benchmark.synthetic([40, 24], 16)
    settings = {"recipe": dataclasses.replace(RECIPES["cifar16"], epochs=2), "model": "cnn:4", "device": "cpu"}
    with threads(2):
        runs = side_by_side([Trainer("ce", noise, seed=seed, **settings) for seed in (0, 1)])
        for seed, run in enumerate(runs):
            same(run, train("ce", noise, seed=seed, progress=False, **settings))
            assert "together" not in run.provenance


def test_interleaved_steps_are_the_steps_of_each_run(drawn):
    """What several runs do in turns on streams of a GPU, here on a CPU, where it is bit for bit the same."""
    alone = [trainer.run() for trainer in trainers(drawn)]
    ours, taken = trainers(drawn), []
    for i, trainer in enumerate(ours):
        trainer.step.work = lambda index, i=i, work=trainer.step.work: (taken.append(i), work(index))
    done = {}
    many._in_step(ours, many._in_turns, lambda trainer: None, done.__setitem__)
    for i, one in enumerate(alone):
        same(done[i], one)
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
    asked = {"seeds": 4, "epochs": [1, 2], "progress": False, "device": "cpu"}
    runs = train_many(["ce", "focal"], data, folder=tmp_path, **asked)
    swept = sweep(["ce", "focal"], data, **asked)
    assert [(r.label, r.seed, r.id) for r in runs] == [(r.label, r.seed, r.id) for r in swept]
    for ours, theirs in zip(runs, swept, strict=True):
        np.testing.assert_allclose(ours.history["loss"], theirs.history["loss"], atol=1e-4)
        assert ours.provenance["together"] == "4 batched" and "together" not in theirs.provenance
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(files) == 16 and len(train_many(["ce", "focal"], data, folder=tmp_path, **asked)) == 16
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files


def test_different_methods_and_settings_run_side_by_side():
    with threads(2):
        runs = train_many(["ce", "focal"], digits_lt(), seeds=1, epochs=2, model="cnn:4", progress=False, device="cpu")
    assert [run.provenance["together"] for run in runs] == ["2 threads"] * 2


@pytest.mark.parametrize("model", ["mlp", "cnn:4"])
def test_ctrl_c_keeps_what_is_done_and_begins_nothing_more(model, drawn, tmp_path, monkeypatch):
    """One by one (the MLP, twice) and in threads: the third run is interrupted in its second epoch."""
    epoch, begun = Trainer.run_epoch, set()

    def interrupted(self, control=None):
        begun.add(self.seed)
        if self.seed == 2 and self.epoch == 1:
            while model != "mlp" and len(list(tmp_path.iterdir())) < 2:
                time.sleep(0.01)  # until the first two have been kept
            raise KeyboardInterrupt
        return epoch(self, control)

    monkeypatch.setattr(Trainer, "run_epoch", interrupted)
    monkeypatch.setattr(many, "FEWEST", 99)
    epochs = 2 if model == "mlp" else 40  # so that in threads the others are still under way
    asked = {"seeds": 8, "epochs": epochs, "model": model, "folder": tmp_path, "progress": False, "device": "cpu"}
    with threads(2), pytest.warns(UserWarning, match="runs are done: call train_many again with the same folder"):
        runs = train_many("ce", digits_lt(), **asked)
    assert {0, 1} <= {run.seed for run in runs} and 2 not in {run.seed for run in runs} and len(begun) < 8
    assert len(list(tmp_path.iterdir())) == len(runs) and {run.status for run in runs} == {"finished"}


def test_ctrl_c_in_a_batch_keeps_nothing_by_halves(tmp_path, monkeypatch):
    def interrupted(self, trainers, epochs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Batched, "__call__", interrupted)
    with pytest.warns(UserWarning, match="0 runs are done"):
        assert train_many("ce", digits_lt(), seeds=4, epochs=1, folder=tmp_path, progress=False, device="cpu") == []
    assert not list(tmp_path.iterdir())


def test_streams_leave_a_diverged_run_behind(drawn):
    ours, done = trainers(drawn), {}
    with torch.no_grad():
        ours[1].net.head.weight.fill_(torch.nan)
    with pytest.warns(RuntimeWarning, match="the run stops here"):
        many._in_step(ours, many._in_turns, lambda trainer: None, done.__setitem__)
    assert [trainer.epoch for trainer in ours] == [4, 1, 4] and done[1].status == "diverged"


def test_a_checkpoint_is_for_one_run(tmp_path):
    for several in (train_many, sweep):
        with pytest.raises(ValueError, match="give folder="):
            several("ce", digits_lt(), checkpoint=tmp_path / "a", progress=False)


@pytest.mark.parametrize("model", ["mlp", "cnn:4"])
def test_it_tells_of_every_epoch_of_every_run(model, drawn):
    told = []
    with warnings.catch_warnings(), threads(2):
        warnings.simplefilter("error")
        side_by_side(trainers([*drawn, drawn[0]], model=model), lambda trainer: told.append(trainer.seed))
    assert sorted(told) == sorted([0, 1, 2, 3] * 4)
    assert model != "mlp" or told == [0, 1, 2, 3] * 4
