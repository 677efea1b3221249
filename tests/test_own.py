"""ltviz.own: a reader's own loss trains, is recorded and compared like any method."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ltviz as lt
from ltviz.commands import grid_table
from ltviz.datasets import digits_lt
from ltviz.device import Speed
from ltviz.methods import METHODS
from ltviz.objective import Bound, Objective, Output, Regularizer, Stage
from ltviz.own import as_method, bind, own_code, source
from ltviz.plots.series import series_of
from ltviz.probe import probe
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
    (dict, "a class of lt.Objective"),
    (lambda logits: logits, "a loss of \\(logits, targets\\)"),
    (lambda logits, targets, more: logits, "parameter 'more' with no default"),
    (lambda logits, targets, more=[1]: logits, "parameter 'more' with the default"),
    (lambda logits, targets: logits, "gave shape \\(64, 10\\): expected a tensor, one loss for each"),
    (lambda logits, targets: 1.0, "gave float: expected a tensor"),
    (reads, "does not depend on the logits"),
]


def unfinite(logits, targets, tau=float("inf")):
    return mean(logits, targets)


def based(logits, targets, base="ce"):
    return mean(logits, targets)


def hiding(name):
    scope = {"mean": mean}
    exec(f"def hides(logits, targets, {name}=1): return mean(logits, targets)", scope)
    return scope["hides"]


class ScalarLosses(Objective):
    def losses(self, out, targets):
        return mean(out.logits, targets)


class VectorForward(Objective):
    def forward(self, out, targets):
        return plain(out.logits, targets)


class NoSuper(Objective):
    def __init__(self, counts, tau=1.0):
        self.tau = tau


class LateSuper(Objective):
    def __init__(self, counts):
        self.weight = nn.Parameter(torch.ones(3))
        super().__init__(counts)


class ReadsEarly(Objective):
    def __init__(self, counts):
        self.prior = self.counts / self.counts.sum()


class VectorPenalty(Regularizer):
    def penalty(self, out, targets):
        return out.features.square().mean(1)


class Three(nn.Module):
    def forward(self, anchor, positive, negative):
        return (anchor - positive - negative).mean()


class NeedsBase(Objective):
    def __init__(self, counts, base):
        super().__init__(counts)


REFUSED += [
    (unfinite, "unfinite has a parameter 'tau' with the default inf; give it a finite default"),
    (lambda logits, targets, more=float("nan"): logits, "'more' with the default nan; give it a finite"),
    (lambda logits, targets, more=10**400: logits, "'more' with the default 1000.*; give it a finite"),
    (based, "based has a parameter 'base'.*a class of lt.Regularizer"),
    (NeedsBase, "NeedsBase has a parameter 'base'.*a class of lt.Regularizer"),
    *((hiding(name), f"hides has a parameter '{name}', which would hide an argument of lt.train") for name in
      ("seed", "epochs", "model", "recipe", "start", "device", "checkpoint", "speed", "progress", "data", "method")),
    (lambda logits, targets, tau=1.0, /: logits, "'tau' that cannot be given by name"),
    (Mine(torch.ones(10)), r"Mine\(...\) is an objective, made for one data set; pass the class Mine"),
    (nn.CrossEntropyLoss, r"a class of lt.Objective, or a function; make one first: CrossEntropyLoss\(\)"),
    (nn.Linear(10, 10), r"^method=Linear.*a loss of \(logits, targets\)"),
    (nn.ModuleList(), "^method=ModuleList.*a module with a forward"),
    (Three(), "Three has a parameter 'negative' with no default"),
    (nn.GaussianNLLLoss(), r"^method=GaussianNLLLoss\(\): .*GaussianNLLLoss takes other arguments"),
    (nn.NLLLoss(), "^NLLLoss takes log-probabilities, and these logits are none; pass torch.nn.CrossEntropyLoss"),
    (functools.partial(F.nll_loss, ignore_index=3), "^nll_loss takes log-probabilities"),
    (ScalarLosses, r"^ScalarLosses.losses\(\) gave shape \(\): expected one loss a sample.*forward\(\)"),
    (VectorForward, r"^VectorForward.forward\(\) gave shape \(64,\): expected a scalar.*losses\(\)"),
    (VectorPenalty, r"^VectorPenalty.penalty\(\) gave shape \(64,\): expected a scalar"),
    *((kind, rf"^{kind.__name__}.__init__ must begin with super\(\).__init__\(counts\)")
      for kind in (NoSuper, LateSuper, ReadsEarly)),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "message"), REFUSED)
def test_what_is_no_loss_is_refused_by_name(loss, message, data):
    with pytest.raises(ValueError, match=message):
        fit(loss, data)


@pytest.mark.parametrize("kind", [getattr(nn, name) for name in nn.modules.loss.__all__
                                  if name not in ("NLLLoss2d", "LinearCrossEntropyLoss")])  # fmt: skip
def test_of_torchs_losses_those_of_logits_and_class_numbers_are_taken(kind):
    loss, name = kind(), kind.__name__
    if name in ("CrossEntropyLoss", "MultiMarginLoss", "NLLLoss"):
        assert as_method(loss).key == name
        return
    said_of = rf"^method={name}\(.*: expected a loss of logits .n, k. and class numbers"
    with pytest.raises(ValueError, match=said_of) as said:
        as_method(loss)
    if name in ("BCEWithLogitsLoss", "BCELoss", "MSELoss", "KLDivLoss", "MultiLabelSoftMarginLoss", "HuberLoss"):
        assert f"{name} asks for targets (n, k) as well; make them" in str(said.value)
    assert ("METHODS['sigmoid']" in str(said.value)) == (name == "BCEWithLogitsLoss")


@pytest.mark.parametrize(
    "loss", [F.mse_loss, F.kl_div, functools.partial(F.binary_cross_entropy_with_logits, reduction="sum"),
             torch.compile(nn.BCELoss(), backend="eager")],
)  # fmt: skip
def test_torchs_functions_are_named_too_and_so_are_bases(loss):
    with pytest.raises(ValueError, match=r"^method=.*(mse_loss|kl_div|with_logits|BCELoss) asks for targets"):
        as_method(loss)
    with pytest.raises(ValueError, match=r"^base=.*(mse_loss|kl_div|with_logits|BCELoss) asks for targets"):
        METHODS["crl"](base=loss)


class OneHot(nn.BCEWithLogitsLoss):
    def forward(self, logits, targets):
        return super().forward(logits, F.one_hot(targets, logits.shape[1]).float())


def test_a_loss_made_of_torchs_trains_and_nll_of_log_probabilities_is_cross_entropy(data):
    given = as_method(OneHot())().build(data.counts)
    logits, targets = torch.tensor([[1.0, -1.0] + [0.0] * 8]), torch.tensor([1])
    found = given(Output(logits, logits, torch.eye(10)), targets)
    expected = (F.softplus(torch.tensor([1.0, 1.0])).sum() + 8 * np.log(2)) / 10
    torch.testing.assert_close(found, expected)
    nll = as_method(nn.NLLLoss())().build(data.counts)
    torch.testing.assert_close(
        nll(Output(logits.log_softmax(1), logits, torch.eye(10)), targets), F.cross_entropy(logits, targets)
    )
    assert len(fit(OneHot(), data).history["loss"]) == 2


def attribute(logits, targets):
    return logits.softmx(1)


def key(logits, targets):
    return {}["rare"]


def wide(logits, targets):
    return F.mse_loss(logits, targets)


def divides(logits, targets):
    return logits.sum() * (1 / 0)


class Late(Objective):
    def begin_epoch(self, report):
        raise LookupError("no news")

    def losses(self, out, targets):
        return F.cross_entropy(out.logits, targets, reduction="none")


class After(Late):
    def begin_epoch(self, report):
        pass

    def after_step(self, out, targets):
        raise AttributeError("seen")


class Made(Late):
    def __init__(self, counts):
        super().__init__(counts)
        counts.none()


GIVEN = r"given logits \((\d+), 10\) and targets \(\1,\), whole numbers from 0 to 9, "
RAISING = [
    (attribute, f"^method='attribute': {GIVEN}it raised AttributeError: 'Tensor' object has no", AttributeError),
    (key, f"^method='key': {GIVEN}it raised KeyError: 'rare'$", KeyError),
    (wide, f"^method='wide': {GIVEN}it raised RuntimeError: The size of .* such as torch.*one_hot", RuntimeError),
    (divides, f"^method='divides': {GIVEN}it raised ZeroDivisionError: division by zero$", ZeroDivisionError),
    (nn.CrossEntropyLoss(torch.ones(3)), f"^method='CrossEntropyLoss': {GIVEN}it raised RuntimeError", RuntimeError),
    (Late, "^method='Late': it raised LookupError: no news$", LookupError),
    (After, f"^method='After': {GIVEN}it raised AttributeError: seen$", AttributeError),
    (Made, r"^Made\(counts, \.\.\.\) raised AttributeError: 'Tensor' object has no attribute 'none'", AttributeError),
]


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("loss", "message", "cause"), RAISING)
def test_what_ones_own_loss_raises_is_said_with_what_it_was_given(loss, message, cause, data):
    with pytest.raises(ValueError, match=message) as said:
        fit(loss, data)
    assert type(said.value.__cause__) is cause


def test_the_probe_says_so_too_and_a_lack_of_memory_stays_what_it_is(data):
    with pytest.raises(ValueError, match=r"^method='key': given .*it raised KeyError: 'rare'"):
        probe(key, [50, 5], 0)

    def greedy(logits, targets):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        fit(greedy, data)


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


# -------------------------------------------------------------------------------------- settings, modules, names, bases
def counted(logits, targets, steps=2, shift=0, offset=-1, note=None):
    return plain(logits, targets) * steps + shift + offset


def test_whole_settings_go_below_zero_and_take_whole_floats():
    assert bind(counted).settings == {"steps": 2, "shift": 0, "offset": -1}  # None stays as it is
    found = bind(counted, {"steps": -3, "shift": 2.0, "offset": np.int64(4)}).settings
    assert found == {"steps": -3, "shift": 2, "offset": 4} and all(type(value) is int for value in found.values())
    with pytest.raises(ValueError, match="^steps=0.5: expected a whole number.*write the default as 2.0 to take any"):
        bind(counted, {"steps": 0.5})
    for wrong in ("1", True, float("nan"), None):
        with pytest.raises(ValueError, match="^steps="):
            bind(counted, {"steps": wrong})
    largest, half = np.finfo(float).max, np.float32(0.5)
    assert as_method(lambda x, y, a=largest, b=half: x).settings["b"].default == 0.5


class Whole(nn.Module):
    """A module of the whole output and the counts, with a setting."""

    def forward(self, out, targets, counts, tau=1.0):
        assert out.features.shape[0] == len(targets) and len(counts) == 10
        return adjusted(out.logits, targets, counts, tau)


def test_a_modules_forward_is_read(data):
    run = fit(Whole(), data, tau=0.5)
    np.testing.assert_allclose(run.logits, fit(adjusted, data, tau=0.5).logits, rtol=0, atol=1e-5)
    assert run.name == "Whole tau=0.5" and run.settings == {"tau": 0.5}


class Called:
    """Any object that can be called."""

    def __init__(self, factor, smooth=0.0):
        self.factor, self.smooth = factor, smooth

    def __call__(self, logits, targets):
        return self.factor * F.cross_entropy(logits, targets, label_smoothing=self.smooth)


def test_a_label_says_what_tells_losses_of_one_name_apart():
    losses = {
        "CrossEntropyLoss": nn.CrossEntropyLoss(),
        "CrossEntropyLoss label_smoothing=0.3": nn.CrossEntropyLoss(label_smoothing=0.3),
        "Called factor=2": Called(2.0),
        "Called factor=2 smooth=0.1": Called(2.0, 0.1),
        "adjusted tau=0.5": functools.partial(adjusted, tau=0.5),
        "adjusted": functools.partial(adjusted, tau=1.0),
    }
    assert [bind(loss).label for loss in losses.values()] == list(losses)
    assert bind(losses["adjusted tau=0.5"], {"tau": 3}).label == "adjusted tau=3"


def test_different_losses_of_one_name_are_different_series(data, tmp_path):
    weighted = [nn.CrossEntropyLoss(weight=torch.full((10,), w)) for w in (1.0, 2.0)]
    halves = [
        fit(loss, data, seed=seed)
        for loss in (lambda logits, targets: mean(logits, targets), *weighted)
        for seed in (0, 1)
    ]
    found = series_of(halves)
    assert [(one.name, len(one.runs)) for one in found] == [
        ("own_loss", 2), ("CrossEntropyLoss", 2), ("CrossEntropyLoss (2)", 2)]  # fmt: skip
    codes = [run.provenance["code"] for run in halves]
    assert codes[0] == codes[1] and len(set(codes)) == 3 and "code" not in fit("ce", data).provenance
    for run in [*halves, fit("ce", data), fit("ce", data, seed=1)]:
        run.save(tmp_path)
    assert sorted(grid_table(tmp_path).index) == ["CrossEntropyLoss", "CrossEntropyLoss (2)", "ce", "own_loss"]
    other = [fit(closed(factor), data) for factor in (1.0, 2.0)]
    assert [one.name for one in series_of(other)] == ["inner", "inner (2)"]


@pytest.mark.parametrize(("loss", "refused"), [(mean, True), (nn.CrossEntropyLoss(), True), (plain, False)])
def test_class_weights_reach_one_loss_a_sample_and_no_scalar(loss, refused):
    method = dataclasses.replace(as_method(loss), stages=lambda: (Stage(class_weight=lambda counts: 1.0 / counts),))
    objective = method().build([4, 1])
    objective.set_class_weight(torch.ones(2), "stage")
    logits, targets = torch.zeros(2, 2, requires_grad=True), torch.tensor([0, 1])
    out = Output(logits, torch.zeros(2, 3), torch.zeros(2, 3))
    assert objective(out, targets).item() == pytest.approx(np.log(2))
    objective.set_class_weight(torch.tensor([0.5, 2.0]), "stage")
    if refused:
        with pytest.raises(ValueError, match="one loss for the whole batch.*weights of the stage.*reduction='none'"):
            objective(out, targets)
    else:
        assert objective(out, targets).item() == pytest.approx(1.25 * np.log(2))


def test_a_loss_of_ones_own_is_a_base_wherever_one_is_taken(data):
    run = fit("ring", data, base=adjusted, strength=0.5)
    assert run.settings["base"] == "adjusted" and "base=adjusted, strength=0.5)" in run.provenance["command"]
    assert run.id == fit("ring", data, base=as_method(adjusted), strength=0.5).id
    assert METHODS["ring"](base=Mine).build([4, 1]).base.temperature == 1.0
    text = fit(Shrink, data, base=METHODS["up"](base=as_method(adjusted)(tau=0.5))).provenance["command"]
    assert "lt.train(Shrink, " in text and "base=lt.METHODS['up'](base=lt.as_method(adjusted)(tau=0.5)))" in text
    assert "base={'key': 'focal', 'gamma': 1.0})" in fit(Shrink, data, base=METHODS["focal"](gamma=1.0)).provenance[
        "command"]  # fmt: skip
    swept = lt.sweep("ring", digits_lt(ratio=10, n_max=40, test=10), base=[plain, "focal"], seeds=1, epochs=1,
                     device="cpu", progress=False)  # fmt: skip
    assert [one.settings["base"] for one in swept] == ["focal", "plain"]
    with pytest.raises(ValueError, match="^base: <lambda>|^base: own_loss has a parameter 'more'"):
        METHODS["ring"](base=lambda logits, targets, more: logits)
    with pytest.raises(ValueError, match="^base=3: expected .*or your own loss"):
        METHODS["ring"](base=3)


def test_a_loss_with_counts_or_a_base_of_ones_own_has_a_curve():
    ours = lt.plot_loss_curve(adjusted, counts=[90, 10], tau=[0.0, 1.0]).data
    theirs = lt.plot_loss_curve("logit_adjustment", counts=[90, 10], tau=[0.0, 1.0]).data
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=0, atol=1e-6)
    assert list(ours["labels"]) == ["tau = 0.0", "tau = 1.0"]
    found = lt.plot_loss_curve("ring", counts=[90, 10], base=[plain, "ce", METHODS["focal"](gamma=1.0)]).data
    assert list(found["labels"]) == ["base = plain", "base = ce", "base = focal gamma=1"]
    np.testing.assert_allclose(found["loss"][0], found["loss"][1], rtol=0, atol=1e-6)


def test_records_are_taken_and_what_is_none_is_advised():
    assert as_method(METHODS["focal"](gamma=1.0)) is METHODS["focal"]
    with pytest.raises(ValueError, match="^method=.*a Method record; lt.METHODS.add.lt.as_method.loss.."):
        METHODS.add(adjusted)
    with pytest.raises(ValueError, match="^method=.*without settings"):
        METHODS.add(METHODS["focal"]())
    with pytest.raises(ValueError, match="^unknown method .*passed as it is, lt.train.loss, data., or.*lt.as_method"):
        METHODS[adjusted]
    assert lt.Objective is Objective and lt.Regularizer is Regularizer


def test_a_loss_of_ones_own_is_captured_as_a_graph_only_where_that_is_asked_for(monkeypatch):
    """A graph repeats the kernels of one step, so Python that counts, draws or branches in a loss would run once."""
    from ltviz.training import request

    graph = Speed(graph=True)
    monkeypatch.setattr(request, "default_speed", lambda device, model: graph)

    def loss(logits, targets):
        return torch.nn.functional.cross_entropy(logits, targets)

    def asked(method, **how):
        return request.make_request(method, digits_lt(), device="cpu", **how).speed.graph

    assert asked("ce") and not asked(loss) and asked(loss, speed=graph)
    assert not asked("ring", base=loss), "nor one that a regulariser is added to"
