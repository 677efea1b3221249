"""The loop, part by part, against the same thing done by hand; and the run that is made at its end."""

import copy
import dataclasses
import math
import platform

import numpy as np
import pytest
import torch
from torch import nn

from ltviz import metrics
from ltviz.datasets import digits_lt
from ltviz.device import Speed
from ltviz.models import LinearHead, make_net
from ltviz.objective import METHODS, Method, Objective, Stage
from ltviz.training import RECIPES, RunControl, Trainer, train
from ltviz.training.build import _rows, make_generators, parameter_groups, stage_starts
from ltviz.training.evaluation import answers, class_mean, images_at_once, versions
from ltviz.training.loop import Tally

DIGITS = RECIPES["digits"]


@pytest.fixture(scope="module")
def data():
    return digits_lt(seed=0)


@pytest.fixture
def toy():
    """Register one record for a test."""

    def add(objective, stages=None, **fields):
        given = {"stages": lambda **settings: stages} if stages else {}
        record = Method(**{"key": "toy", "title": "Toy", "paper": "none", "equation": "0", "objective": objective,
                           **given, **fields})  # fmt: skip
        METHODS.add(record)

    yield add
    METHODS.remove("toy")


class Plain(Objective):
    def losses(self, out, targets):
        return nn.functional.cross_entropy(out.logits, targets, reduction="none")


class Known(Objective):
    """A loss that is known without the network: the class of each image, and its square."""

    def losses(self, out, targets):
        return 0 * out.logits.sum(1) + targets

    def terms(self, out, targets):
        return {"one": self.losses(out, targets).mean(), "two": (self.losses(out, targets) ** 2).mean()}


def quick(data, method="ce", epochs=4, **more):
    return train(method, data, epochs=epochs, progress=False, **more)


def recipe(**changes):
    return dataclasses.replace(DIGITS, **changes)


# --------------------------------------------------------------------------------------------------------------- a step
@pytest.mark.parametrize("limit", [None, 0.05])
def test_epochs_by_hand(data, limit):
    """Batches, rates, clipping, momentum, weight decay: torch's own optimizer on the same batches."""
    trainer = Trainer("ce", data, recipe=recipe(epochs=3, clip=limit), device="cpu")
    net = copy.deepcopy(trainer.net)
    known = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for number in range(2):
        epoch = trainer.begin_epoch()
        assert [len(batch) for batch in epoch.batches] == [64, 64, 64, 64, 58] and number == trainer.epoch
        assert epoch.rates == [trainer.recipe.learning_rate(number, step, 5, 3, 314) for step in range(5)]
        losses, lengths = 0.0, torch.zeros(10)
        for batch, rate in zip(epoch.batches, epoch.rates, strict=True):
            known.param_groups[0]["lr"] = rate
            known.zero_grad()
            out = net(data.batch(batch))
            loss = nn.functional.cross_entropy(out.logits, data.targets[batch])
            loss.backward()
            if limit:
                nn.utils.clip_grad_norm_(net.parameters(), limit)
            known.step()
            losses += loss.item() * len(batch)
            lengths.index_add_(0, data.targets[batch], out.features.detach().norm(dim=1))
        assert [*trainer.steps(epoch)] == [0, 1, 2, 3, 4]
        row = trainer.end_epoch(epoch)
        for a, b in zip(trainer.net.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert row["loss"] == pytest.approx(losses / 314, rel=1e-5) and row["lr"] == epoch.rates[-1]
        np.testing.assert_allclose(row["feature_norm"], lengths / data.counts, rtol=1e-4)
        np.testing.assert_allclose(row["weight_norm"], net.head.weight.detach().norm(dim=1), rtol=1e-4)
        right = (net(data.val_batch()).logits.argmax(1) == data.val_targets).float()
        expected = [float(right[data.val_targets == c].mean()) for c in range(10)]
        np.testing.assert_allclose(row["val_accuracy"], expected, atol=1e-6)


def test_the_tally_counts_an_image_as_often_as_it_was_seen():
    """Means over the images visited, some of them twice and some never."""
    tally, targets = Tally(3, torch.device("cpu")), torch.tensor([0, 0, 1, 2])
    lengths = torch.tensor([1.0, 3.0, 5.0, 7.0])
    for index, loss in [([0, 1, 1], 4.0), ([2, 2], 1.0)]:
        index = torch.tensor(index)
        tally.add({"a": torch.tensor(loss), "b": torch.tensor(-loss)}, lengths[index][:, None], targets[index])
    terms, norms = tally.read(torch.tensor([0, 1, 1, 2, 2]), targets)
    assert terms == {"a": pytest.approx((3 * 4 + 2) / 5), "b": pytest.approx(-(3 * 4 + 2) / 5)}
    np.testing.assert_allclose(norms, [(1 + 3 + 3) / 3, 5, np.nan])
    tally.clear()
    terms, norms = tally.read(torch.tensor([3]), targets)
    assert terms == {"a": 0, "b": 0}
    np.testing.assert_allclose(norms, [np.nan, np.nan, 0])


def test_what_the_history_says_of_a_loss_with_parts(data, toy):
    toy(Known)
    run = train("toy", data, epochs=2, progress=False)
    mean, square = data.targets.float().mean(), (data.targets.float() ** 2).mean()
    np.testing.assert_allclose(run.history["term/one"], [mean, mean], rtol=1e-5)
    np.testing.assert_allclose(run.history["term/two"], [square, square], rtol=1e-5)
    np.testing.assert_allclose(run.history["loss"], [mean + square] * 2, rtol=1e-5)
    assert list(run.history["epoch"]) == [0, 1] and list(run.history["stage"]) == [0, 0]
    assert list(run.history)[:4] == ["epoch", "stage", "lr", "loss"]
    plain = train("ce", data, epochs=1, progress=False)
    assert not [name for name in plain.history if name.startswith("term/")]


# --------------------------------------------------------------------------------------------------------------- stages
class Listens(Plain):
    heard = []

    def begin_epoch(self, report):
        features, targets = report.embed()
        self.heard.append((report.stage, report.epoch, report.progress, report.accuracy, features, targets))


def test_what_an_objective_hears(data, toy):
    Listens.heard = []
    toy(Listens, (Stage(0.5), Stage(0.5, sampler="class_balanced", schedule="restart")))
    trainer = Trainer("toy", data, epochs=6)
    embedded = []
    for _ in range(6):
        embedded.append(None)
        trainer.run_epoch()
    heard = Listens.heard
    assert [(stage, epoch) for stage, epoch, *_ in heard] == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5)]
    assert [one[2] for one in heard] == [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]
    assert heard[0][3] is None
    for one, row in zip(heard[1:], trainer.rows, strict=False):
        np.testing.assert_array_equal(np.asarray(one[3]), row["val_accuracy"])
    assert heard[0][4].shape == (314, 64) and torch.equal(heard[0][5], data.targets)
    rates = [trainer.recipe.learning_rate(epoch, 4, 5, 6, 314) for epoch in range(3)]
    rates += [trainer.recipe.learning_rate(epoch, 4, 5, 3, 314) for epoch in range(3)]
    assert list(trainer.history["lr"]) == rates and list(trainer.history["stage"]) == [0, 0, 0, 1, 1, 1]


def test_a_stage_of_one_epoch_has_no_progress(data, toy):
    Listens.heard = []
    toy(Listens, (Stage(0.5), Stage(0.5)))
    run = train("toy", data, epochs=2, progress=False)
    assert [one[:3] for one in Listens.heard] == [(0, 0, 0.0), (1, 1, 0.0)]
    whole = [DIGITS.learning_rate(epoch, 4, 5, 2, 314) for epoch in range(2)]
    assert list(run.history["lr"]) == whole, "the second stage goes on where the first one was"


@pytest.mark.parametrize(
    ("shares", "epochs", "starts"),
    [
        ((1.0,), 5, (0,)), ((0.5, 0.5), 6, (0, 3)), ((0.8, 0.2), 10, (0, 8)), ((0.25, 0.5, 0.25), 8, (0, 2, 6)),
        ((0.99, 0.01), 5, (0, 4)), ((0.01, 0.99), 5, (0, 1)), ((0.1, 0.1, 0.8), 3, (0, 1, 2)),
        ((0.9, 0.05, 0.05), 4, (0, 2, 3)), ((0.05, 0.05, 0.9), 10, (0, 1, 2)),
    ],
)  # fmt: skip
def test_where_stages_begin(shares, epochs, starts):
    assert stage_starts(tuple(Stage(share) for share in shares), epochs) == starts
    with pytest.raises(ValueError, match=f"^epochs={len(shares) - 1}, but the method has {len(shares)} stages"):
        stage_starts(tuple(Stage(share) for share in shares), len(shares) - 1)


def test_the_class_weight_is_the_stages(data, toy):
    toy(Plain, (Stage(0.4), Stage(0.4, class_weight=lambda counts: 1.0 / counts), Stage(0.2)))
    trainer, seen = Trainer("toy", data, epochs=5), []
    for _ in range(5):
        trainer.run_epoch()
        seen.append(trainer.objective.class_weight.clone())
    for one, expected in zip(seen, [torch.ones(10)] * 2 + [1.0 / data.counts] * 2 + [torch.ones(10)], strict=True):
        torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("moves", [False, True])
def test_a_frozen_backbone_stays_as_it_is(data, toy, moves):
    def fresh(head):
        return LinearHead(head.in_features, head.out_features)

    toy(Plain, (Stage(0.5), Stage(0.5, head=fresh, train="head", schedule="restart")))
    trainer = Trainer("toy", data, recipe=recipe(model="cnn:4", epochs=2, move_statistics=moves))
    trainer.run_epoch()
    assert not trainer.frozen and all(parameter.requires_grad for parameter in trainer.net.backbone.parameters())
    before, head = copy.deepcopy(trainer.net.backbone.state_dict()), trainer.net.head
    trainer.run_epoch()
    assert trainer.frozen and trainer.net.head is not head
    assert not any(parameter.requires_grad for parameter in trainer.net.backbone.parameters())
    assert {id(p) for p in trainer.trained} == {id(p) for p in trainer.net.head.parameters()}
    moved = {name for name, value in trainer.net.backbone.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert moved == (statistics if moves else set())


def test_a_stage_that_changes_nothing_keeps_the_momentum(data, toy):
    toy(Plain, (Stage(0.25), Stage(0.25, sampler="class_balanced"), Stage(0.5, schedule="restart")))
    trainer, optimizers = Trainer("toy", data, epochs=4), []
    for _ in range(4):
        trainer.run_epoch()
        optimizers.append(trainer.optimizer)
    assert optimizers[0] is optimizers[1] is not optimizers[2] is optimizers[3]


def test_what_is_decayed():
    net = make_net("mlp:4", (1, 2, 2), METHODS["ce"]().build(torch.ones(3)), torch.Generator())
    objective = METHODS["ring"]().build(torch.ones(3))

    def groups():
        return [(len(group["params"]), group["weight_decay"]) for group in parameter_groups(net, objective, DIGITS)]

    assert groups() == [(6, 5e-4), (1, 0.0)]
    net.head.bias.no_decay = True
    assert groups() == [(5, 5e-4), (2, 0.0)]
    net.head.weight.only_decay = True
    assert groups() == [(1, 5e-4), (6, 0.0)]
    net.requires_grad_(False)
    assert groups() == [(1, 0.0)]
    with pytest.raises(ValueError, match="nothing to train"):
        parameter_groups(net, METHODS["ce"]().build(torch.ones(3)), DIGITS)


# -------------------------------------------------------------------------------------------------------------- streams
def test_each_purpose_has_a_stream_of_its_own():
    state = np.random.SeedSequence(3).generate_state(6)
    found = {name: g.initial_seed() for name, g in make_generators(3, torch.device("cpu")).items()}
    names = ["init", "order", "crops", "masks", "network", "construction"]
    assert found == dict(zip(names, map(int, state), strict=True))


def test_crops_leave_the_order_alone(data):
    cropped = dataclasses.replace(data, pad=1, flip=True)
    plain, other = Trainer("ce", data, epochs=2), Trainer("ce", cropped, epochs=2)
    for trainer in (plain, other):
        trainer.run_epoch()
    states = [{name: g.get_state() for name, g in t.generators.items()} for t in (plain, other)]
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == ["crops"]


# ------------------------------------------------------------------------------------------------------------- branches
def test_rows_of_a_head_follow_the_classes():
    rank = torch.tensor([2, 0, 1])
    assert _rows("scale", torch.tensor(4.0), rank).item() == 4.0
    assert _rows("head.bias", torch.tensor([5.0, 6.0, 7.0]), rank).tolist() == [7.0, 5.0, 6.0]
    assert _rows("head.weight", torch.arange(6).view(3, 2), rank).tolist() == [[4, 5], [0, 1], [2, 3]]
    assert _rows("head.query", torch.arange(4), rank).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"start: the classes .* another order here, and head.x of shape \(3, 3\)"):
        _rows("head.x", torch.zeros(3, 3), rank)


def test_a_head_that_does_not_fit_starts_anew(data):
    base = train("ce", data, epochs=2, progress=False)
    with pytest.warns(UserWarning, match="start: the head of 'ce' does not fit normface; the head starts anew"):
        branch = Trainer("normface", data, epochs=2, start=base)
    fresh = Trainer("normface", data, epochs=2)
    for name, value in branch.net.state_dict().items():
        own = fresh.net.state_dict()[name].numpy() if name.startswith("head.") else base.network[name]
        np.testing.assert_array_equal(value.numpy(), own)


def test_a_start_of_another_network_or_other_classes_is_refused(data):
    base = train("ce", data, epochs=1, progress=False)
    with pytest.raises(ValueError, match="start: 'ce' has 10 classes on 'mlp', this run has 10 on 'cnn'"):
        Trainer("ce", data, start=base, model="cnn")
    fewer = dataclasses.replace(base, counts=base.counts[:9])
    with pytest.raises(ValueError, match="start: 'ce' has 9 classes on 'mlp', this run has 10 on 'mlp'"):
        Trainer("ce", data, start=fewer)


# ---------------------------------------------------------------------------------------------------------- at the end
def test_answers_are_those_of_the_whole_set_at_once():
    """Several batches of them, in eval mode; the mode of the network is put back."""
    data = digits_lt(test=110, n_max=60)
    trainer = Trainer("ce", data, epochs=1, model="cnn:4")
    trainer.run_epoch()
    trainer.net.eval()
    with torch.no_grad():
        expected = trainer.net(data.test_batch())
    for mode in (True, False):
        trainer.net.train(mode)
        logits, features = answers(trainer, data.test_batch, 1100)
        assert trainer.net.training is mode and not logits.requires_grad and logits.dtype == torch.float32
        torch.testing.assert_close(logits, expected.logits)
        torch.testing.assert_close(features, expected.features)
    features, targets = trainer.embed_training()
    assert features.shape == (len(data), 16) and torch.equal(targets, data.targets)


def test_class_means_by_hand():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    found = class_mean(values, torch.tensor([1, 1, 3]), 4).numpy()
    np.testing.assert_allclose(found, [[np.nan, np.nan], [2, 3], [np.nan, np.nan], [5, 9]])


def test_what_a_run_holds(data):
    trainer = Trainer("logit_adjusted", data, epochs=2, seed=3, tau=0.5, device="cpu")
    run, net = trainer.run(), trainer.net.eval()
    assert (run.method, run.seed, run.status, run.parent, run.probability) == ("logit_adjusted", 3, "finished", None,
                                                                              "softmax")  # fmt: skip
    assert run.id == trainer.id and run.label == trainer.request.label and run.settings == trainer.request.settings
    assert run.data == trainer.request.data_record and run.recipe == trainer.request.recipe_record
    assert run.counts.tolist() == data.counts.tolist() and run.class_names == list(data.class_names)
    with torch.no_grad():
        out, train_out = net(data.test_batch()), net(data.batch(slice(None)))
    np.testing.assert_allclose(run.logits, out.logits, atol=1e-5)
    np.testing.assert_allclose(run.features, out.features, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(run.train_features, train_out.features, rtol=2e-3, atol=1e-3)
    adjusted = out.logits.numpy() - 0.5 * np.log(run.counts / run.counts.sum())
    np.testing.assert_allclose(run.scores, adjusted, atol=1e-4)
    assert run.targets.tolist() == data.test_targets.tolist() and run.train_targets.tolist() == data.targets.tolist()
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (run.targets, run.scores.argmax(1)), 1)
    assert run.confusion.tolist() == expected.tolist()
    assert run.ece == metrics.ece(metrics.probabilities(run.scores), run.targets)
    np.testing.assert_array_equal(run.head_weight, net.head.weight.detach())
    np.testing.assert_array_equal(run.head_bias, net.head.bias.detach())
    assert run.scale is None and run.network.keys() == net.state_dict().keys()
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(run.network[name], value)
    cosine = Trainer("normface", data, epochs=1, scale=8.0).run()
    assert cosine.scale == 8.0 and cosine.head_bias is None and cosine.scores is None
    assert Trainer("sigmoid", data, epochs=1).run().probability == "sigmoid"


def test_where_a_run_comes_from(data):
    trainer = Trainer("ce", data, epochs=1, device="cpu", speed=Speed())
    run = trainer.run()
    kept = dict(run.provenance)
    assert kept.pop("date")[:2] == "20" and kept == {
        "command": trainer.request.command, "device": "cpu", "threads": trainer.threads, "speed": "plain",
        "seconds": round(trainer.seconds, 3), "versions": versions(), "shape": [1, 8, 8],
    }  # fmt: skip
    assert versions()["python"] == platform.python_version() and versions()["torch"] == torch.__version__
    assert versions().keys() == {"python", "ltviz", "torch", "numpy"} and versions()["numpy"] == np.__version__


def test_images_at_once_are_a_rule_of_their_size():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for shape, expected in [
        ((1, 8, 8), (500, 1000)), ((3, 32, 32), (250, 1000)), ((3, 64, 64), (62, 250)),
        ((3, 224, 224), (5, 20)), ((3, 4000, 4000), (1, 1)), ((1, 1, 30), (500, 1000)),
    ]:  # fmt: skip
        assert (images_at_once(cpu, shape), images_at_once(gpu, shape)) == expected


def test_a_run_that_never_began(data):
    control = RunControl()
    control.stop()
    run = Trainer("ce", data, epochs=3).run(control)
    assert run.status == "stopped" and run.history == {} and run.confusion.sum() == 500
    net = Trainer("ce", data, epochs=3).net
    np.testing.assert_array_equal(run.head_weight, net.head.weight.detach())


def test_a_trainer_that_never_took_a_step_has_a_run(data):
    trainer = Trainer("crt", data, epochs=3)
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    run = trainer.finish("stopped")
    assert trainer.stage == 0 and run.status == "stopped" and run.id != trainer.id
    for name, value in before.items():
        np.testing.assert_array_equal(run.network[name], value)


def test_a_diverged_run_claims_nothing(data, toy):
    class Explodes(Plain):
        def losses(self, out, targets):
            return super().losses(out, targets) * math.inf

    toy(Explodes)
    trainer, seen = Trainer("toy", data, epochs=5), []
    with pytest.warns(
        RuntimeWarning, match=r"^toy: the loss is (inf|nan) after epoch 1 of 5.*lr=0.01 \(now 0.1\).*now 1.0"
    ):
        run = trainer.run(on_epoch=lambda t: seen.append(t.epoch))
    assert run.status == "diverged" and run.confusion.tolist() == np.zeros((10, 10)).tolist() and seen == [1]
    assert run.scores is None and math.isnan(run.ece) and math.isnan(run.accuracy)


def test_epochs_are_told_and_counted(data):
    trainer, seen = Trainer("ce", data, epochs=3), []
    assert not trainer.done and trainer.history == {}
    assert (trainer.epoch, trainer.stage, trainer.seconds) == (0, -1, 0.0)
    trainer.run_epoch()
    run = trainer.run(on_epoch=lambda t: seen.append((t.epoch, t.done, len(t.rows))))
    assert seen == [(2, False, 2), (3, True, 3)] and trainer.done and run.status == "finished"
    assert list(run.history["epoch"]) == [0, 1, 2] and trainer.seconds > 0


# --------------------------------------------------------------------------------------------------------- class order
def test_a_branch_finds_its_classes_by_name(data):
    """The network moves to another class order without a change: the rows of its classifier follow the names."""
    base = quick(data, epochs=20)
    natural = digits_lt(class_order="natural")
    tiny = dataclasses.replace(RECIPES["digits"], lr=1e-9)
    branch = quick(natural, epochs=1, start=base, recipe=tiny)
    rows = [base.class_names.index(name) for name in branch.class_names]
    np.testing.assert_allclose(branch.head_weight, base.head_weight[rows], atol=1e-6)
    np.testing.assert_allclose(branch.head_bias, base.head_bias[rows], atol=1e-6)
    recall = dict(zip(base.class_names, base.per_class, strict=True))
    assert abs(branch.per_class - [recall[name] for name in branch.class_names]).max() < 0.03
    assert base.accuracy > 0.6 and rows != sorted(rows)


@pytest.mark.parametrize("method", ["ldam", "crt", "normface"])
def test_a_branch_of_any_head_follows_the_names(data, method):
    base = quick(data, method, epochs=10)
    natural = digits_lt(class_order="natural")
    trainer = Trainer(method, natural, epochs=10, start=base)
    trainer.enter(0)
    rows = [base.class_names.index(name) for name in natural.class_names]
    for name, value in trainer.net.state_dict().items():
        own = base.network[name]
        np.testing.assert_array_equal(value.numpy(), own[rows] if name in ("head.weight", "head.bias") else own)


def test_a_branch_to_other_classes_is_refused(data):
    base = quick(data, epochs=1)
    other = dataclasses.replace(data, class_names=tuple("abcdefghij"))
    with pytest.raises(ValueError, match="start: .*classes that these data lack, such as '0'"):
        quick(other, epochs=1, start=base)


def test_means_of_a_run_are_over_the_images_of_each_class(data):
    run = quick(data, epochs=2)
    features, targets = run.train_features.astype(np.float64), run.train_targets
    for c in range(10):
        np.testing.assert_allclose(run.class_means[c], features[targets == c].mean(0), rtol=2e-3, atol=1e-3)
        norms = np.linalg.norm(run.features[run.targets == c].astype(np.float64), axis=1)
        np.testing.assert_allclose(run.class_feature_norm[c], norms.mean(), rtol=2e-3)


def test_calibration_is_that_of_the_decision(data):
    run = quick(data, "logit_adjusted", epochs=4)
    after = metrics.ece(metrics.probabilities(run.scores, "softmax"), run.targets)
    before = metrics.ece(metrics.probabilities(run.logits, "softmax"), run.targets)
    assert run.ece == after and abs(before - after) > 1e-3


def test_classes_that_are_strange_are_named_and_a_network_must_be_whole(data):
    base = quick(data, epochs=1)
    other = dataclasses.replace(data, class_names=("0", *"bcdefghij"))
    with pytest.raises(ValueError, match="lack, such as '1', '2', '3'; its classifier would name others"):
        Trainer("ce", other, start=base)
    name = "backbone.layers.1.weight"
    nan = dataclasses.replace(base, network={**base.network, name: base.network[name] * np.nan})
    fewer = dataclasses.replace(base, network={n: v for n, v in base.network.items() if n != name})
    for wrong, words in ((nan, "holds NaN or infinity"), (fewer, f"lacks {name}")):
        with pytest.raises(ValueError, match=f"^start: .*{words}"):
            Trainer("ce", data, start=wrong)


@pytest.mark.parametrize("method", ["ncm", "tau_norm"])
def test_rules_that_look_at_features_training_images_and_the_head(data, method):
    """What a run decides by is what the same rule says of what it keeps."""
    run = quick(data, method, epochs=3)
    np.testing.assert_allclose(run.scores, run.posthoc(method), rtol=5e-3, atol=5e-3)
    assert run.confusion.tolist() == metrics.confusion(run.targets, run.scores.argmax(1), 10).tolist()
    assert not np.allclose(run.scores, run.logits, atol=0.1)
