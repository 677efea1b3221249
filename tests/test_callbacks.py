"""Functions that look at a run after each epoch: what they see, and that they change nothing."""

import random

import numpy as np
import pytest
import torch

import ltviz as lt
from ltviz.training import LiveRun, Trainer


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt()


def fit(data, callbacks=None, **more):
    return lt.train("ce", data, **{"epochs": 3, "model": "cnn", "callbacks": callbacks, "progress": False, **more})


def test_they_see_each_epoch_and_the_network_as_it_is(data):
    seen = []

    def look(epoch, row, network):
        assert not network.training and not torch.is_grad_enabled()
        right = network(data.val_batch()).argmax(1) == data.val_targets
        seen.append((epoch, row["epoch"], row["loss"], right.float().mean().item()))

    run = fit(data, look)
    assert [one[:2] for one in seen] == [(0, 0), (1, 1), (2, 2)]
    assert [one[2] for one in seen] == run.history["loss"].tolist()
    np.testing.assert_allclose([one[3] for one in seen], run.history["val_accuracy"].mean(1), atol=1e-6)


def test_whatever_they_do_the_run_stays_what_it_is(data):
    def meddle(epoch, row, network):
        row.clear()
        network.train()
        for parameter in network.parameters():
            parameter.zero_()
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        torch.set_num_threads(1)
        torch.set_grad_enabled(True)

    threads = torch.get_num_threads()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    plain, meddled = fit(data), fit(data, [meddle, meddle])
    assert torch.get_num_threads() == threads
    found = torch.rand(()).item(), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    assert found == (torch.rand(()).item(), np.random.rand(), random.random())
    assert plain.id == meddled.id and plain.status == meddled.status == "finished"
    np.testing.assert_array_equal(plain.logits, meddled.logits)
    assert plain.history.keys() == meddled.history.keys()


def test_true_ends_training(data, tmp_path):
    run = fit(data, lambda epoch, row, network: epoch == 1)
    assert run.status == "stopped" and len(run.history["epoch"]) == 2 and run.id != fit(data).id
    assert fit(data, lambda epoch, row, network: np.bool_(True)).status == "stopped"
    for answer in (1, "yes", None, False, np.float64(1.0)):
        assert fit(data, lambda *seen, answer=answer: answer).status == "finished"
    live = LiveRun("ce", data, epochs=3, callbacks=lambda epoch, row, network: True).start(inline=True)
    assert live.state == "stopped" and live.epoch == 1


def test_one_that_ends_its_run_leaves_the_others_of_a_sweep(data, tmp_path):
    def early(epoch, row, network):
        return epoch == 0

    for train in (lt.sweep, lt.train_many):
        runs = train("ce", data, seeds=2, epochs=2, callbacks=[early], folder=tmp_path, progress=False)
        assert [(run.seed, run.status) for run in runs] == [(0, "stopped"), (1, "stopped")]
    whole = lt.sweep("ce", data, seeds=2, epochs=2, folder=tmp_path, progress=False)
    assert [run.status for run in whole] == ["finished"] * 2, "half a run is not taken for a whole one"


def test_an_error_names_the_function(data):
    def plot_it(epoch, row, network):
        raise KeyError("x")

    with pytest.raises(RuntimeError, match="^callbacks: plot_it failed after epoch 0 .KeyError: 'x'"):
        fit(data, plot_it)


@pytest.mark.parametrize("wrong", [3, "print", [3], {print: 1}, [print, None]])
def test_what_cannot_be_called_is_refused(wrong, data):
    with pytest.raises(ValueError, match="^callbacks=.*: expected a function .epoch, row, network., or a list"):
        Trainer("ce", data, callbacks=wrong)


class Plain:
    def __call__(self, epoch, row):
        return None


@pytest.mark.parametrize("wrong", [lambda: None, lambda epoch, row: None, lambda epoch, row, network, more: None,
                                   lambda epoch, row, *, network: None, Plain()])  # fmt: skip
def test_one_of_other_arguments_is_refused_before_the_first_epoch(wrong, data):
    with pytest.raises(ValueError, match=r"^callbacks: .* cannot be called with \(epoch, row, network\)"):
        Trainer("ce", data, callbacks=[print, wrong])
    Trainer("ce", data, callbacks=[print, lambda epoch, row, network, more=1: None, lambda *seen: None, max])
