"""The contract: class weights have one writer, stages and settings are validated, bases are passed on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ltviz.check import suggest
from ltviz.methods import METHODS
from ltviz.objective import (
    BASE,
    Limit,
    Method,
    Methods,
    Objective,
    Output,
    Regularizer,
    Report,
    Setting,
    Stage,
    UnknownMethod,
)

COUNTS = torch.tensor([8, 4, 1])


class Plain(Objective):
    """A toy."""

    def losses(self, out, targets):
        return out.logits.logsumexp(1)


class Push(Regularizer):
    """A toy term."""

    name = "push"

    def penalty(self, out, targets):
        return 0.5 * out.features.square().mean()


def toy(**changes):
    fields = {"key": "toy", "title": "Toy", "paper": "nobody", "equation": "z", "objective": Plain}
    return Method(**{**fields, **changes})


def batch():
    return Output(torch.zeros(3, 3), torch.ones(3, 2), torch.zeros(3, 2)), torch.tensor([0, 0, 2])


# ------------------------------------------------------------------------------------------------ class weights


def test_class_weight_multiplies_the_losses_and_divides_by_n():
    objective = Plain(COUNTS)
    objective.set_class_weight(torch.tensor([0.5, 1.0, 4.0]))
    out, targets = batch()
    assert float(objective(out, targets)) == pytest.approx(torch.tensor(3.0).log().item() * 5.0 / 3)


def test_class_weight_is_written_in_place():
    objective = Plain(COUNTS)
    where = objective.class_weight.data_ptr()
    objective.set_class_weight(torch.tensor([1.0, 2.0, 3.0]))
    assert objective.class_weight.data_ptr() == where and objective.class_weight.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("first, second", [("stage", "objective"), ("objective", "stage")])
def test_class_weight_has_one_writer(first, second):
    objective = Plain(COUNTS)
    objective.set_class_weight(torch.ones(3), first)
    objective.set_class_weight(torch.ones(3), first)
    with pytest.raises(ValueError, match=f"already set by the {first}, and now by the {second}.*one writer"):
        objective.set_class_weight(torch.ones(3), second)


@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0], torch.ones(2), torch.tensor([1.0, -1.0, 1.0]),
                                    torch.tensor([1.0, float("nan"), 1.0])], ids=str)  # fmt: skip
def test_class_weights_that_are_none_are_refused(weight):
    objective = Plain(COUNTS)
    with pytest.raises(ValueError, match="^class_weight=.*expected"):
        objective.set_class_weight(weight)
    assert objective.class_weight.tolist() == [1.0, 1.0, 1.0] and objective.weight_writer is None


def test_a_stage_cannot_weight_a_loss_that_weights_itself():
    objective = METHODS["class_balanced"]().build(COUNTS)
    with pytest.raises(ValueError, match="one writer"):
        objective.set_class_weight(torch.ones(3), "stage")


def test_a_regulariser_passes_class_weights_to_the_innermost_base():
    base = Plain(COUNTS)
    outer = Push(COUNTS, Push(COUNTS, base))
    outer.set_class_weight(torch.tensor([0.0, 0.0, 1.0]), "stage")
    assert base.class_weight.tolist() == [0.0, 0.0, 1.0] and base.weight_writer == "stage"
    out, targets = batch()
    terms = outer.terms(out, targets)
    assert float(terms["classification"]) == pytest.approx(torch.tensor(3.0).log().item() / 3)
    assert float(terms["push"]) == 0.5, "class weights multiply the classification term alone"


def test_the_objective_keeps_its_own_counts():
    counts = torch.tensor([5, 2])
    objective = Plain(counts)
    counts[0] = 0
    assert objective.counts.tolist() == [5.0, 2.0] and objective.k == 2


# --------------------------------------------------------------------------------------------------- regularisers


class Listener(Plain):
    """Remembers what it hears."""

    def __init__(self, counts):
        super().__init__(counts)
        self.heard = []

    def begin_epoch(self, report):
        self.heard.append(("epoch", report.epoch, self.generator))

    def after_step(self, out, targets):
        self.heard.append(("step", len(targets)))

    def make_head(self, dim):
        return nn.Linear(dim, self.k, bias=False)


def test_a_regulariser_passes_head_and_hooks_on():
    base = Listener(COUNTS)
    outer = Push(COUNTS, base)
    outer.generator = torch.Generator()
    assert outer.make_head(4).bias is None
    outer.begin_epoch(Report(0, 7, 0.0, outer.make_head(2), None, lambda: None))
    outer.after_step(*batch())
    assert base.heard == [("epoch", 7, outer.generator), ("step", 3)]


def test_the_sum_of_the_terms_is_the_loss():
    out, targets = batch()
    for objective in (Plain(COUNTS), Push(COUNTS, Plain(COUNTS)), Push(COUNTS, Push(COUNTS, Plain(COUNTS)))):
        assert float(sum(objective.terms(out, targets).values())) == pytest.approx(float(objective(out, targets)))


@pytest.mark.parametrize("objective", [Objective(COUNTS), Regularizer(COUNTS, Plain(COUNTS))])
def test_an_unfinished_objective_says_what_is_missing(objective):
    with pytest.raises(TypeError, match=type(objective).__name__):
        objective(*batch())


@pytest.mark.parametrize(
    "base, resolved",
    [
        ("ce", "ce"),
        ("cb", "class_balanced"),
        ({"key": "focal"}, "focal"),
        ({"key": "focal", "gamma": 2.0}, "focal"),
        ({"key": "focal", "gamma": np.float64(2.0), "form": "softmax"}, "focal"),
        ({"key": "cb", "beta": 0.999}, "class_balanced"),
        ({"key": "ring", "base": {"key": "ce"}}, "ring"),
        ({"key": "up", "base": {"key": "focal", "gamma": 2}}, {"key": "up", "base": "focal"}),
        ({"key": "up", "base": {"key": "focal", "gamma": 0}}, {"key": "up", "base": {"key": "focal", "gamma": 0.0}}),
        ({"key": "focal", "gamma": 1}, {"key": "focal", "gamma": 1.0}),
        ({"key": "cb", "beta": 0.9, "loss": "sigmoid"}, {"key": "class_balanced", "beta": 0.9, "loss": "sigmoid"}),
    ],
)
def test_a_base_is_a_key_or_a_key_with_settings(base, resolved):
    method = METHODS["ring"]
    settings = method(**{"base": base}).settings
    assert settings["base"] == resolved and json.loads(json.dumps(settings)) == settings
    assert method(**settings).settings == settings
    key = resolved if isinstance(resolved, str) else resolved["key"]
    assert type(method(base=base).build(COUNTS).base) is METHODS[key].objective


def test_a_regulariser_has_the_stages_the_probability_and_the_needs_of_its_base():
    ring = METHODS["ring"]
    assert ring(base="ldam_drw").stages == METHODS["ldam_drw"]().stages or [
        s.share for s in ring(base="ldam_drw").stages
    ] == [0.8, pytest.approx(0.2)]
    assert ring().probability == "softmax" and ring(base="sigmoid").probability == "sigmoid"
    assert ring(base={"key": "class_balanced", "loss": "focal"}).probability == "sigmoid"
    assert ring(base="cdb").needs_validation and not ring().needs_validation
    assert METHODS["cdb"]().needs_validation


def test_the_probability_may_follow_from_the_settings():
    assert METHODS["focal"](form="sigmoid").probability == "sigmoid"
    assert METHODS["class_balanced"](loss="softmax").probability == "softmax"
    assert {METHODS["class_balanced"](loss=loss).probability for loss in ("sigmoid", "focal")} == {"sigmoid"}


# --------------------------------------------------------------------------------------------------------- stages


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"share": 0.0}, "share=0.0: expected"),
        ({"share": 1.2}, "share=1.2: expected"),
        ({"share": True}, "share=True: expected"),
        ({"share": "half"}, "share='half': expected"),
        ({"sampler": "clas_balanced"}, "sampler='clas_balanced': expected.*did you mean 'class_balanced'"),
        ({"sampler": None}, "sampler=None: expected"),
        ({"class_weight": torch.ones(3)}, "class_weight=.*a function"),
        ({"head": "linear"}, "head='linear'.*a function"),
        ({"train": "tail"}, "train='tail': expected one of 'all', 'head'"),
        ({"schedule": "again"}, "schedule='again': expected one of"),
    ],
)
def test_a_stage_is_validated(wrong, words):
    with pytest.raises(ValueError, match=words):
        Stage(**wrong)


def test_shares_of_stages_sum_to_one():
    with pytest.raises(ValueError, match="shares of the stages of toy must sum to 1"):
        assert toy(stages=lambda: (Stage(0.5), Stage(0.4)))().stages
    assert len(toy(stages=lambda: (Stage(0.1), Stage(0.2), Stage(0.7)))().stages) == 3


@pytest.mark.parametrize("key", METHODS)
def test_stages_of_every_method_are_whole(key):
    stages = METHODS[key]().stages
    assert sum(stage.share for stage in stages) == pytest.approx(1.0)
    assert stages[0].train == "all"


# ------------------------------------------------------------------------------------------------------- settings

NUMBER, WHOLE, SWITCH = Setting(0.5, 0.0, 2.0, meaning="size"), Setting(3, 1, 9), Setting(False, choices=(False, True))


@pytest.mark.parametrize(
    "setting, given, kept",
    [
        (NUMBER, 1, 1.0),
        (NUMBER, np.float32(0.25), 0.25),
        (NUMBER, np.int64(2), 2.0),
        (NUMBER, -0.0, 0.0),
        (NUMBER, torch.tensor(0.5), 0.5),
        (WHOLE, 4.0, 4),
        (WHOLE, np.int8(4), 4),
        (SWITCH, True, True),
        (SWITCH, np.bool_(True), True),
        (Setting("a", choices=("a", "b")), np.str_("b"), "b"),
        (Setting(False, choices=(False, True, "only")), "only", "only"),
    ],
)
def test_a_setting_converts_to_the_type_of_its_default(setting, given, kept):
    found = setting.check("x", given)
    assert repr(found) == repr(kept)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"default": 0.5}, "low=None: expected a number"),
        ({"default": 0.5, "low": 0.0}, "high=None: expected a number"),
        ({"default": 0.5, "low": 1.0, "high": 0.0}, "low=1.0: expected a number below high"),
        ({"default": 3.0, "low": 0.0, "high": 1.0}, "default=3.0: expected a number from 0.0 to 1.0"),
        ({"default": "wide", "low": 0.0, "high": 1.0}, "default='wide'"),
        ({"default": "c", "choices": ("a", "b")}, "default='c': expected one of 'a', 'b'"),
        ({"default": "a", "choices": "ab"}, "choices='ab': expected a tuple"),
        ({"default": 0.5, "low": 0.0, "high": 1.0, "scale": "cubic"}, "scale='cubic': expected one of"),
    ],
)
def test_a_setting_is_validated(wrong, words):
    with pytest.raises(ValueError, match=words):
        Setting(**wrong)


@pytest.mark.parametrize(
    "setting, value, words",
    [
        (NUMBER, 3.0, "^x=3.0: expected a number from 0.0 to 2.0 .size"),
        (NUMBER, "wide", "^x='wide': expected a number from 0.0 to 2.0"),
        (NUMBER, "1.0", "^x='1.0': expected a number"),
        (NUMBER, float("nan"), "^x=nan: expected a number"),
        (NUMBER, True, "^x=True: expected a number"),
        (NUMBER, np.bool_(True), "^x=.*True.*: expected a number"),
        (NUMBER, None, "^x=None: expected a number"),
        (NUMBER, [1.0], "^x=.1.0.: expected a number"),
        (NUMBER, 1j, "^x=1j: expected a number"),
        (WHOLE, 2.5, "^x=2.5: expected a whole number from 1 to 9"),
        (WHOLE, True, "^x=True: expected a whole number"),
        (WHOLE, float("inf"), "^x=inf: expected a whole number"),
        (SWITCH, 1, "^x=1: expected one of False, True"),
        (SWITCH, "True", "^x='True': expected one of"),
        (SWITCH, [], "^x=.*: expected one of"),
    ],
)
def test_a_setting_refuses_and_says_why(setting, value, words):
    with pytest.raises(ValueError, match=words):
        setting.check("x", value)


def test_resolve_fills_in_defaults_and_names_what_is_unknown():
    method = toy(settings={"size": NUMBER, "depth": WHOLE})
    assert method(depth=5).settings == {"size": 0.5, "depth": 5}
    assert method().settings == {"size": 0.5, "depth": 3}
    with pytest.raises(ValueError, match="toy has no setting 'dept'.*did you mean 'depth'.*it has: size, depth"):
        method(dept=5)


def test_different_settings_have_different_labels():
    method = METHODS["class_balanced"]
    labels = [method(**{"beta": b}).label for b in (0.0, 0.9, 0.9999, 0.99999, 0.999990001, 0.9999999, 1.0)]
    assert len(set(labels)) == len(labels)
    assert labels[:3] == ["class_balanced beta=0", "class_balanced beta=0.9", "class_balanced beta=0.9999"]
    assert labels[4] == "class_balanced beta=0.999990001"
    inner, outer = ({"key": "up", "base": {"key": "focal", "gamma": 1.0}},
                    {"key": "up", "base": "focal", "strength": 1.0})  # fmt: skip
    assert METHODS["ring"](**{"base": inner}).label == "ring base=up+base=(focal+gamma=1)"
    assert METHODS["ring"](**{"base": outer}).label == "ring base=up+base=focal+strength=1"


def test_label_names_what_differs_from_the_defaults():
    method = toy(settings={"size": NUMBER, "depth": WHOLE, "base": BASE})
    assert method().label == "toy" and method(**{"size": 0.5}).label == "toy"
    assert method(**{"size": 1.25, "depth": 4}).label == "toy size=1.25 depth=4"
    assert method(**{"base": {"key": "focal", "gamma": 1.0}}).label == "toy base=focal+gamma=1"
    assert METHODS["class_balanced"](**{"beta": 0.9999}).label == "class_balanced beta=0.9999"


# ------------------------------------------------------------------------------------------------------- registry


def test_methods_is_a_mapping_with_aliases():
    methods = Methods()
    methods.add(toy(aliases=("t", "play")))
    assert methods["t"] is methods["toy"] and "play" in methods and len(methods) == 1 and list(methods) == ["toy"]
    methods.add(toy(title="Again"))
    assert len(methods) == 1 and methods["toy"].title == "Again"
    methods.add(toy(aliases=("t",)))
    assert "t" in methods and "play" not in methods, "a replaced record leaves no names behind"
    for other in (toy(key="t"), toy(key="other", aliases=("toy",))):
        with pytest.raises(ValueError, match="is a name of 'toy'"):
            methods.add(other)
    with pytest.raises(ValueError, match="method=.*a Method record"):
        methods.add("toy")
    methods.remove("t")
    assert len(methods) == 0 and "t" not in methods
    with pytest.raises(UnknownMethod):
        methods.remove("toy")


@pytest.mark.parametrize("key", [None, 3, ["ce"], {"key": "ce"}, "", torch.ones(2)], ids=str)
def test_what_is_no_key_is_an_unknown_method(key):
    assert key not in METHODS
    for kind in (KeyError, ValueError, UnknownMethod):
        with pytest.raises(kind, match="^unknown method .*lists all"):
            METHODS[key]


def test_the_table_is_text_and_no_markup():
    methods = Methods()
    methods.add(toy(title="<img src=x onerror=alert(1)>"))
    assert "<img" not in methods._repr_html_() and "&lt;img" in methods._repr_html_()


def test_the_table_has_a_row_a_method():
    lines = repr(METHODS).splitlines()
    assert len(lines) == len(METHODS) + 1
    assert METHODS._repr_html_().count("<tr>") == len(METHODS) + 1
    row = next(row for row in METHODS.rows() if row["key"] == "crt")
    assert row["stages"].startswith("80% instance all -> 20% class balanced head")
    assert next(row for row in METHODS.rows() if row["key"] == "normface")["head"] == "CosineHead"


def test_suggest():
    assert suggest("fokal", ["focal", "ce"]) == " (did you mean 'focal'?)"
    assert suggest("xyz", ["focal", "ce"]) == ""


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        METHODS["ce"].title = "other"
    assert replace(METHODS["ce"], title="other").title == "other"
    assert Limit({}, "ce").other_settings == {}
