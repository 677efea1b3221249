"""ltviz.own: a reader's own loss trains, is recorded and compared like any method."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ltviz as lt
from ltviz.datasets import digits_lt
from ltviz.methods import METHODS
from ltviz.objective import Bound, Objective, Regularizer
from ltviz.own import as_method, bind, own_code, source
from ltviz.training import LiveRun, Trainer


@pytest.fixture(scope="module")
def data():
    return digits_lt(ratio=10, n_max=40, test=10)


def fit(loss, data, **more):
    return lt.train(loss, data, **{"epochs": 2, "device": "cpu", "progress": False, **more})


def plain(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")


def mean(logits, targets):
    return F.cross_entropy(logits, targets)


def with_out(out, targets, strength=0.0):
    return F.cross_entropy(out.logits, targets) + strength * out.features.square().mean()


def adjusted(logits, targets, counts, tau=1.0):
    return F.cross_entropy(logits + tau * (counts / counts.sum()).log(), targets)


class Mine(Objective):
    """Cross-entropy at a temperature."""

    def __init__(self, counts, temperature=1.0):
        super().__init__(counts)
        self.temperature = temperature

    def losses(self, out, targets):
        return F.cross_entropy(out.logits / self.temperature, targets, reduction="none")


class Shrink(Regularizer):
    """A pull of the features to zero."""

    name = "shrink"

    def __init__(self, counts, base, strength=0.1):
        super().__init__(counts, base)
        self.strength = strength

    def penalty(self, out, targets):
        return self.strength * out.features.square().mean()


SAME_AS_CE = [plain, mean, with_out, lambda logits, targets: mean(logits, targets), Mine, nn.CrossEntropyLoss(),
              METHODS["ce"], METHODS["ce"](), "ce"]  # fmt: skip


@pytest.mark.parametrize("loss", SAME_AS_CE)
def test_cross_entropy_in_every_form_is_cross_entropy(loss, data):
    ours, theirs = fit(loss, data), fit("ce", data)
    np.testing.assert_allclose(ours.logits, theirs.logits, rtol=0, atol=1e-4)
    assert ours.status == "finished" and (ours.id == theirs.id) == (ours.method == "ce")


def test_settings_and_counts_reach_the_loss(data):
    own = fit(adjusted, data, tau=1.0)
    np.testing.assert_allclose(own.logits, fit("logit_adjustment", data).logits, rtol=0, atol=1e-3)
    assert own.settings == {"tau": 1.0} and own.name == "adjusted"
    other = fit(adjusted, data, tau=0)
    np.testing.assert_allclose(other.logits, fit("ce", data).logits, rtol=0, atol=1e-4)
    assert other.name == "adjusted tau=0" and other.settings == {"tau": 0.0}


def test_the_whole_output_is_there_for_who_asks(data):
    pulled, free = fit(with_out, data, strength=1.0), fit(with_out, data)
    length = [np.linalg.norm(run.features.astype(float), axis=1).mean() for run in (pulled, free)]
    assert length[0] < 0.9 * length[1]


def test_a_regulariser_of_ones_own_has_a_base(data):
    run = fit(Shrink, data, base=METHODS["focal"](gamma=1.0), strength=0.5)
    assert run.settings == {"base": {"key": "focal", "gamma": 1.0}, "strength": 0.5}
    assert {"term/classification", "term/shrink"} <= set(run.history)


def test_ones_own_loss_under_a_method_of_ltviz(data):
    run = fit("ring", data, base=as_method(plain)(), strength=0.0)
    np.testing.assert_allclose(run.logits, fit("ce", data).logits, rtol=0, atol=1e-4)
    assert run.id != fit("ring", data, strength=0.0).id


def test_it_is_recorded_by_name_and_text_and_found_again(data, tmp_path):
    run = fit(adjusted, data, tau=0.5)
    assert run.method == "adjusted" and "tau * (counts / counts.sum()).log()" in run.provenance["source"]
    assert run.provenance["command"].startswith("lt.train(adjusted, lt.digits_lt(")
    again = lt.load_run(run.save(tmp_path))
    assert again.name == "adjusted tau=0.5" and again.provenance["source"] == run.provenance["source"]
    assert [found.id for found in lt.load_runs(tmp_path, method="adjusted", tau=0.5)] == [run.id]
    assert "source" not in fit("ce", data).provenance


def test_it_is_compared_plotted_swept_and_trained_side_by_side(data, tmp_path):
    runs = lt.sweep([plain, "ce"], digits_lt(ratio=10, n_max=40, test=10), seeds=2, epochs=1, device="cpu",
                    folder=tmp_path, progress=False)  # fmt: skip
    assert [(run.method, run.seed) for run in runs] == [("ce", 0), ("ce", 1), ("plain", 0), ("plain", 1)]
    again = lt.train_many([plain, "ce"], digits_lt(ratio=10, n_max=40, test=10), seeds=2, epochs=1, device="cpu",
                          folder=tmp_path, progress=False)  # fmt: skip
    assert [run.id for run in again] == [run.id for run in runs]  # found in the folder
    fresh = lt.train_many(plain, digits_lt(ratio=10, n_max=40, test=10), seeds=2, epochs=1, device="cpu",
                          progress=False)  # fmt: skip
    for ours, one in zip(fresh, runs[2:], strict=True):
        np.testing.assert_array_equal(ours.logits, one.logits)
    for plot in (lt.plot_class_accuracy, lt.plot_history, lt.plot_comparison, lt.plot_weight_norms):
        assert plot(runs)._repr_png_()
    table = lt.metrics.comparison_table({"ce": runs[:2], "plain": runs[2:]}, "ce")
    assert table.loc["plain", "difference"] == pytest.approx(0.0, abs=0.02)


def test_it_can_be_added_to_the_methods_and_explored(data):
    METHODS.add(as_method(adjusted))
    try:
        assert fit("adjusted", data, tau=0.5).id == fit(adjusted, data, tau=0.5).id
        assert lt.explore.loss_anatomy("adjusted", counts=[50, 5]).error is None
        assert "tau" in METHODS["adjusted"].settings
    finally:
        METHODS.remove("adjusted")


def test_live_and_checkpointed(data, tmp_path):
    live = LiveRun(adjusted, data, epochs=2, device="cpu").start(inline=True)
    assert live.error is None and live.run.status == "finished"
    whole = fit(adjusted, data, epochs=3)
    first = Trainer(adjusted, data, epochs=3, device="cpu", checkpoint=tmp_path / "c")
    first.run_epoch()
    first.save_checkpoint()
    np.testing.assert_array_equal(fit(adjusted, data, epochs=3, checkpoint=tmp_path / "c").logits, whole.logits)


# ------------------------------------------------------------------------------------------------ what names its result
FACTOR = 1.0


def scaled(logits, targets):
    return FACTOR * F.cross_entropy(logits, targets)


def helper(logits):
    return 2.0 * logits


def helped(logits, targets):
    return F.cross_entropy(helper(logits), targets)


def closed(factor):
    def inner(logits, targets):
        return factor * F.cross_entropy(logits, targets)

    return inner


def test_the_id_changes_with_what_the_loss_computes(monkeypatch):
    def code(loss):
        return own_code(bind(loss))

    assert code("ce") is None and code(METHODS["ring"](base="focal")) is None
    assert code(scaled) == code(scaled) and code(scaled) != code(mean)
    assert code(closed(1.0)) == code(closed(1.0)) != code(closed(2.0))
    before = code(scaled), code(helped)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert code(scaled) != before[0]
    monkeypatch.setitem(globals(), "helper", lambda logits: 3.0 * logits)
    assert code(helped) != before[1]
    smooth, weighted = nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0))
    assert len({code(nn.CrossEntropyLoss()), code(smooth), code(weighted)}) == 3
    assert code(Mine) != code(Shrink) and source(bind("ce")) is None


def test_a_module_with_weights_of_its_own_is_trained_on_a_copy(data):
    weighted = nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0))
    run = fit(weighted, data)
    assert run.method == "CrossEntropyLoss" and torch.equal(weighted.weight, torch.arange(1.0, 11.0))
    assert not np.array_equal(run.logits, fit(nn.CrossEntropyLoss(), data).logits)


# ------------------------------------------------------------------------------------------------------------- refusals
def focal(logits, targets):
    return mean(logits, targets)


def reads(logits, targets):
    return torch.tensor(mean(logits, targets).item())


REFUSED = [
    (3, "method=3: expected a key of METHODS"),
    (None, "method=None: expected a key"),
    ("no such", "unknown method 'no such'"),
    (focal, "'focal' is a method of ltviz"),
    (dict, "a class of ltviz.objective.Objective"),
    (lambda logits: logits, "a loss of \\(logits, targets\\)"),
    (lambda logits, targets, more: logits, "parameter 'more' with no default"),
    (lambda logits, targets, more=[1]: logits, "parameter 'more' with the default"),
    (lambda logits, targets: logits, "gave shape \\(64, 10\\): expected a tensor, one loss for each"),
    (lambda logits, targets: 1.0, "gave float: expected a tensor"),
    (reads, "does not depend on the logits"),
]


@pytest.mark.parametrize(("loss", "message"), REFUSED)
def test_what_is_no_loss_is_refused_by_name(loss, message, data):
    with pytest.raises(ValueError, match=message):
        fit(loss, data)


def test_wrong_settings_of_ones_own_loss_are_refused(data):
    with pytest.raises(ValueError, match="adjusted has no setting 'tua' .did you mean 'tau'"):
        fit(adjusted, data, tua=1.0)
    with pytest.raises(ValueError, match="tau='x'"):
        fit(adjusted, data, tau="x")
    assert bind(adjusted, {"tau": 1e9}).settings == {"tau": 1e9}  # whatever the slider's range


def test_binding_keeps_what_was_bound():
    one = METHODS["ring"](base=METHODS["focal"](gamma=1.0), strength=0.1)
    assert isinstance(one, Bound) and bind(one) is one
    other = bind(one, {"form": "auto"})
    assert other.settings == {**one.settings, "form": "auto"} and other.base.settings["gamma"] == 1.0
    assert dataclasses.asdict(bind("ring", {"base": "ce"}))["settings"]["base"] == "ce"


@pytest.mark.parametrize("settings", ["gamma=2", 3, [("gamma", 2.0)], {1.0}])
def test_settings_are_a_mapping(settings):
    with pytest.raises(ValueError, match="^settings=.*a dict"):
        bind("focal", settings)
