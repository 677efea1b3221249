"""The loop where a small change of the code would give another run: clocks, streams, stages, what a rule is given."""

import dataclasses
import gc
import importlib.metadata
import math
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ltviz import metrics
from ltviz.datasets import digits_lt
from ltviz.device import Speed, thread_count
from ltviz.models import CosineHead, LinearHead, initialise, make_net
from ltviz.objective import METHODS, Method, Objective, Setting, Stage
from ltviz.run import stopped_id
from ltviz.samplers import SAMPLERS
from ltviz.training import RECIPES, RunControl, Trainer, loop, train
from ltviz.training.evaluation import answers, class_mean, versions

DIGITS = RECIPES["digits"]
TINY = dataclasses.replace(DIGITS, model="mlp:4")


@pytest.fixture(autouse=True)
def cpu(monkeypatch):
    monkeypatch.setenv("LTVIZ_DEVICE", "cpu")


@pytest.fixture(scope="module")
def data():
    return digits_lt(seed=0)


@pytest.fixture
def toy():
    """Register one record for a test."""

    def add(objective, stages=None, **fields):
        given = {"stages": lambda **settings: stages} if stages else {}
        METHODS.add(Method(**{"key": "toy", "title": "Toy", "paper": "none", "equation": "0", "objective": objective,
                              **given, **fields}))  # fmt: skip

    yield add
    METHODS.remove("toy")


class Plain(Objective):
    def losses(self, out, targets):
        return nn.functional.cross_entropy(out.logits, targets, reduction="none")


class Listens(Plain):
    """Keeps what each hook is given."""

    def __init__(self, counts, **settings):
        super().__init__(counts)
        self.reports, self.losses_of, self.steps = [], [], []

    def begin_epoch(self, report):
        self.reports.append((report, torch.is_grad_enabled()))

    def losses(self, out, targets):
        self.losses_of.append((out, targets))
        return super().losses(out, targets)

    def after_step(self, out, targets):
        self.steps.append((out, targets, torch.is_grad_enabled()))


def state(seed, purpose):
    names = ["init", "order", "crops", "masks", "network", "construction"]
    return int(np.random.SeedSequence(seed).generate_state(6)[names.index(purpose)])


def stream(seed, purpose):
    """A generator at the start of what a run with this seed draws for one purpose."""
    return torch.Generator().manual_seed(state(seed, purpose))


def moved(trainer):
    """The purposes for which a trainer has drawn."""
    return {name for name, g in trainer.generators.items()
            if not torch.equal(g.get_state(), stream(trainer.seed, name).get_state())}  # fmt: skip


# ------------------------------------------------------------------------------------------- what an objective is given
def test_each_step_tells_positions_classes_and_the_head(data, toy):
    toy(Listens)
    trainer = Trainer("toy", data, recipe=TINY, epochs=2)
    epoch = trainer.begin_epoch()
    assert [*trainer.steps(epoch)] == [0, 1, 2, 3, 4]
    told = trainer.objective
    assert len(told.losses_of) == len(told.steps) == len(epoch.batches) == 5, "one look at each batch"
    for batch, (out, targets), (after, again, grad) in zip(epoch.batches, told.losses_of, told.steps, strict=True):
        assert torch.equal(out.index, batch) and torch.equal(targets, data.targets[batch])
        assert after is out and torch.equal(again, targets) and not grad
        assert out.head_weight is trainer.net.head.weight and out.scale is None and out.memory is None
        assert out.logits.shape == (len(batch), 10) and out.features.shape == (len(batch), 4)
    report, grad = told.reports[0]
    assert report.head is trainer.net.head and not grad and len(told.reports) == 1


def test_each_epoch_draws_from_the_sampler_of_its_stage_and_its_progress(data, toy):
    toy(Plain, (Stage(0.5, sampler="progressive"), Stage(0.5, sampler="class_balanced")))
    trainer, order = Trainer("toy", data, recipe=TINY, epochs=6, seed=4), stream(4, "order")
    for sampler, progress in [("progressive", 0.0), ("progressive", 0.5), ("progressive", 1.0)] + [
        ("class_balanced", progress) for progress in (0.0, 0.5, 1.0)
    ]:
        expected = SAMPLERS[sampler](data.targets, 64, progress, order)
        found = trainer.begin_epoch()
        assert all(torch.equal(a, b) for a, b in zip(found.batches, expected, strict=True))
        assert [*trainer.steps(found)] == list(range(5)) and trainer.end_epoch(found)["stage"] == trainer.stage


def test_a_warm_up_by_images_knows_how_many_there_are(data):
    recipe = dataclasses.replace(TINY, warmup=0.5, warmup_by="images")
    rates = Trainer("ce", data, recipe=recipe, epochs=4).begin_epoch().rates
    np.testing.assert_allclose(rates, [step * 64 / 314 / 2 * 0.1 for step in range(5)], rtol=1e-12)


# -------------------------------------------------------------------------------------------------------------- streams
def test_the_network_is_drawn_from_init_and_modules_from_construction(data, toy):
    class Draws(Plain):
        def __init__(self, counts):
            super().__init__(counts)
            self.register_buffer("drawn", torch.rand(3))

    toy(Draws)
    before = torch.get_rng_state()
    trainer = Trainer("toy", data, recipe=TINY, epochs=2, seed=5)
    torch.testing.assert_close(trainer.objective.drawn, torch.rand(3, generator=stream(5, "construction")))
    with torch.random.fork_rng(devices=[]):
        net = make_net("mlp:4", (1, 8, 8), Plain(data.counts), stream(5, "init"))
    assert all(torch.equal(a, b) for a, b in zip(trainer.net.parameters(), net.parameters(), strict=True))
    assert trainer.objective.generator is trainer.generators["masks"]
    assert torch.equal(torch.get_rng_state(), before) and moved(trainer) == {"init", "construction"}


class Dropped(nn.Module):
    """A linear head behind dropout."""

    def __init__(self, dim, k):
        super().__init__()
        self.linear, self.dropout = nn.Linear(dim, k), nn.Dropout(0.5)

    @property
    def weight(self):
        return self.linear.weight

    def forward(self, features):
        return self.linear(self.dropout(features))


def test_dropout_draws_from_a_stream_of_its_own_in_every_stage(data, toy):
    toy(Plain, (Stage(0.5), Stage(0.5, head=lambda head: Dropped(head.in_features, head.out_features))))
    before, trainer = torch.get_rng_state(), Trainer("toy", data, recipe=TINY, epochs=4, seed=1)
    assert trainer.draws is True
    for number in range(4):
        trainer.run_epoch()
        assert ("network" in moved(trainer)) is (number >= 2)
    assert trainer.draws  # a loss of one's own may draw at any time
    known = Trainer("crt", data, recipe=TINY, epochs=4, seed=1)
    known.run_epoch()
    assert known.draws is False, "nothing draws, so nothing stands by"
    own = stream(1, "network")
    for _ in range(2):
        for size in (64, 64, 64, 64, 58):
            torch.empty(size, 4).bernoulli_(0.5, generator=own)
    assert torch.equal(own.get_state(), trainer.generators["network"].get_state())
    assert torch.equal(torch.get_rng_state(), before), "nobody else's generator is touched"


@pytest.mark.parametrize("kind, purpose", [(LinearHead, "init"), (nn.Linear, "construction")])
def test_a_new_head_is_drawn_from_the_run(data, toy, kind, purpose):
    """One with `initialise` from init, any other from construction, as its module draws."""
    toy(Plain, (Stage(0.5), Stage(0.5, head=lambda head: kind(4, 10), train="head")))
    trainer, expected, own = Trainer("toy", data, recipe=TINY, epochs=2, seed=6), nn.Linear(4, 10), torch.Generator()
    trainer.enter(0)
    before = {name: g.get_state() for name, g in trainer.generators.items()}
    own.set_state(before[purpose])
    if purpose == "init":
        initialise(expected, own)
    else:
        with loop.own_draws(own):
            expected.reset_parameters()
    trainer.enter(1)
    assert torch.equal(trainer.net.head.weight, expected.weight)
    assert torch.equal(trainer.net.head.bias, expected.bias)
    assert [n for n, g in trainer.generators.items() if not torch.equal(g.get_state(), before[n])] == [purpose]


# ------------------------------------------------------------------------------------------------------------ its clock
class Clock(SimpleNamespace):
    """Time that goes on only when it is told to."""

    def __init__(self):
        super().__init__(now=100.0)
        self.monotonic = self.perf_counter = lambda: self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop.checkpoints, "time", clock)
    return clock


def timed(trainer, clock, monkeypatch, durations, fails=()):
    """The epochs after which a checkpoint was written, when they take so many seconds."""
    tried = []

    def write(trainer):
        tried.append(trainer.epoch)
        return trainer.epoch not in fails

    monkeypatch.setattr(loop.checkpoints, "write", write)
    for seconds in durations:
        epoch = trainer.begin_epoch()
        for _ in trainer.steps(epoch):
            pass
        clock.now += seconds
        trainer.end_epoch(epoch)
    return tried


@pytest.mark.parametrize(
    ("durations", "fails", "expected"),
    [
        ((3, 3, 3, 3, 3, 3, 3), (), [3, 6, 7]),  # another 3 s would make 12 without one
        ((5, 5, 5, 5), (), [2, 4]),  # exactly ten are not too many
        ((20, 1, 1, 1), (), [1, 4]),
        ((3, 3, 3, 3, 3), (3,), [3, 4, 5]),  # it failed, and is tried again
        ((1, 1, 1), (), [3]),
    ],
)  # fmt: skip
def test_at_most_ten_seconds_are_lost(data, tmp_path, clock, monkeypatch, durations, fails, expected):
    trainer = Trainer("ce", data, recipe=TINY, epochs=len(durations), checkpoint=tmp_path / "a.safetensors")
    assert timed(trainer, clock, monkeypatch, durations, fails) == expected
    assert trainer.seconds == sum(durations)


def test_without_a_file_nothing_is_written(data, clock, monkeypatch):
    assert timed(Trainer("ce", data, recipe=TINY, epochs=2), clock, monkeypatch, (20, 20)) == []


def test_a_loss_that_is_not_finite_is_not_kept(data, toy, tmp_path, clock, monkeypatch):
    class Explodes(Plain):
        def losses(self, out, targets):
            return super().losses(out, targets) * math.nan

    toy(Explodes)
    trainer = Trainer("toy", data, recipe=TINY, epochs=2, checkpoint=tmp_path / "a.safetensors")
    assert timed(trainer, clock, monkeypatch, (20, 20)) == []


# -------------------------------------------------------------------------------------------------------- stop, diverge
@pytest.mark.filterwarnings("ignore:toy. what .* computes cannot be told from outside")
def test_a_stop_holds_before_the_next_step(data, toy):
    control = RunControl()

    class Stops(Listens):
        def after_step(self, out, targets):
            super().after_step(out, targets)
            if len(self.steps) == 7:
                control.stop()

    toy(Stops)
    trainer = Trainer("toy", data, recipe=TINY, epochs=3)
    assert not trainer.halfway
    run = trainer.run(control)
    assert run.status == "stopped" and len(trainer.objective.steps) == 7 and trainer.epoch == 1
    assert run.id != trainer.id and len(run.history["loss"]) == 1
    for _ in range(2):
        with pytest.raises(RuntimeError, match="stopped within an epoch.*start= from its run"):
            trainer.run()


def test_a_finished_run_may_be_asked_for_again(data):
    trainer = Trainer("ce", data, recipe=TINY, epochs=1)
    first, again = trainer.run(), trainer.run()
    assert first.status == again.status == "finished" and first.id == again.id == trainer.id
    np.testing.assert_array_equal(first.logits, again.logits)


def test_ctrl_c_in_what_is_called_after_an_epoch_stops_the_run(data):
    def press(trainer):
        raise KeyboardInterrupt

    trainer = Trainer("ce", data, recipe=TINY, epochs=3)
    assert trainer.run(on_epoch=press).status == "stopped" and trainer.epoch == 1


def test_a_network_that_answers_nan_has_diverged(data, toy):
    class Poisons(Plain):
        def after_step(self, out, targets):
            out.head_weight.fill_(math.nan)

    toy(Poisons)
    recipe = dataclasses.replace(TINY, batch_size=400)
    with pytest.warns(RuntimeWarning, match="^toy: the loss is not finite any more after epoch 1 of 1"):
        run = train("toy", data, recipe=recipe, epochs=1, progress=False)
    assert run.status == "diverged" and np.isfinite(run.history["loss"]).all() and run.scores is None
    assert run.confusion.shape == (10, 10) and run.confusion.sum() == 0 and run.confusion.dtype == np.int64
    assert math.isnan(run.ece) and run.id == Trainer("toy", data, recipe=recipe, epochs=1).id


# ---------------------------------------------------------------------------------------------------------- how it runs
def test_work_is_done_on_as_many_threads_as_the_rule_says(data, toy):
    seen = []

    class Counts(Plain):
        def after_step(self, out, targets):
            seen.append(torch.get_num_threads())

    toy(Counts)
    recipe = dataclasses.replace(TINY, batch_size=32)
    trainer, before = Trainer("toy", data, recipe=recipe, epochs=1), torch.get_num_threads()
    assert trainer.threads == thread_count("mlp:4", (1, 8, 8), 32)
    trainer.threads = before + 1
    trainer.run_epoch()
    assert set(seen) == {before + 1} and torch.get_num_threads() == before
    with trainer.place():
        assert torch.get_num_threads() == before + 1


def test_the_rule_for_threads_is_asked_for_this_run(data, monkeypatch):
    asked = []
    monkeypatch.setattr(loop, "thread_count", lambda *arguments: asked.append(arguments) or 1)
    Trainer("ce", data, recipe=dataclasses.replace(DIGITS, model="cnn:4", batch_size=50))
    assert asked == [("cnn:4", (1, 8, 8), 50)]


@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")],
    ids=("no_grad", "inference_mode", "autocast"),
)
def test_the_callers_contexts_change_nothing(data, context):
    plain = Trainer("ce", data, recipe=TINY, epochs=1).run()
    with context():
        inside = Trainer("ce", data, recipe=TINY, epochs=1).run()
    for name, value in plain.network.items():
        np.testing.assert_array_equal(value, inside.network[name])
    np.testing.assert_array_equal(plain.logits, inside.logits)
    assert inside.scores is None and inside.ece == plain.ece


@pytest.mark.parametrize("speed", [Speed(graph=True), Speed(channels_last=True), Speed(fused=True)], ids=str)
def test_what_makes_a_step_fast_gives_the_same_run(data, speed):
    """Up to rounding; a rate that lies on the device included."""
    recipe = dataclasses.replace(DIGITS, model="cnn:4")
    plain = Trainer("ce", data, recipe=recipe, epochs=2, speed=Speed())
    fast = Trainer("ce", data, recipe=recipe, epochs=2, speed=speed)
    for trainer in (plain, fast):
        trainer.run_epoch()
        trainer.run_epoch()
    assert isinstance(fast.rate, torch.Tensor) is speed.graph and type(plain.rate) is float
    if speed.graph:
        assert fast.rate.item() == pytest.approx(fast.rows[-1]["lr"], rel=1e-6)
    assert isinstance(fast.optimizer, torch.optim.SGD) is speed.channels_last
    for a, b in zip(plain.net.parameters(), fast.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    images = torch.zeros(2, 3, 4, 4)
    wanted = torch.channels_last if speed.channels_last else torch.contiguous_format
    assert images.contiguous(memory_format=fast.layout).is_contiguous(memory_format=wanted)


@pytest.mark.parametrize("optimizer, kind", [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam),
                                             ("adamw", torch.optim.AdamW)])  # fmt: skip
def test_the_recipe_names_the_optimizer(data, optimizer, kind):
    recipe = dataclasses.replace(TINY, optimizer=optimizer, momentum=0.7, weight_decay=0.02, lr=0.03)
    trainer = Trainer("ce", data, recipe=recipe, speed=Speed())
    trainer.enter(0)
    (group,) = trainer.optimizer.param_groups
    assert type(trainer.optimizer) is kind and group["weight_decay"] == 0.02 and group["lr"] == trainer.rate == 0.03
    assert group.get("momentum", 0.7) == 0.7 and len(group["params"]) == len(trainer.trained) == 6


def test_bfloat16_is_for_the_backbone_alone(data, toy):
    toy(Listens)
    trainer = Trainer("toy", data, recipe=DIGITS, epochs=1, speed=Speed(bf16=True))
    weights = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    epoch = trainer.begin_epoch()
    next(trainer.steps(epoch))
    (out, _), images = trainer.objective.losses_of[0], data.batch(epoch.batches[0])
    net = make_net("mlp", (1, 8, 8), Plain(data.counts), torch.Generator())
    net.load_state_dict(weights)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = net.backbone(images)
    assert features.dtype == torch.bfloat16 and out.features.dtype == out.logits.dtype == torch.float32
    torch.testing.assert_close(out.features, features.float())
    torch.testing.assert_close(out.logits, net.head(features.float()))
    logits, features = answers(trainer, data.test_batch, 20)
    net.load_state_dict(trainer.net.state_dict())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = net.backbone(data.test_batch(slice(0, 20)))
    torch.testing.assert_close(features, expected.float())
    torch.testing.assert_close(logits, net.head(expected.float()))
    assert logits.dtype == features.dtype == torch.float32


def test_weights_that_a_step_has_changed_are_cast_anew(data):
    """Also where the caller is in a context that keeps cast weights."""

    def trained():
        trainer = Trainer("ce", data, recipe=DIGITS, epochs=1, speed=Speed(bf16=True))
        return trainer.run().logits

    alone = trained()
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(trained(), alone)


def test_only_the_backbone_is_compiled_and_only_when_asked(data, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module, **how: compiled.append(module) or module)
    Trainer("ce", data, recipe=TINY)
    assert compiled == []
    trainer = Trainer("ce", data, recipe=TINY, speed=Speed(compile=True))
    assert compiled == [trainer.net.backbone]


def test_a_step_draws_crops_and_masks_and_a_validation_nothing(data):
    """What a graph of it must go on with."""
    trainer = Trainer("ce", data, recipe=TINY)
    generators = trainer.generators
    assert trainer.step.generators == (generators["crops"], generators["masks"])
    assert trainer.validate.generators == ()
    assert trainer.step.stream is trainer.validate.stream is trainer.stream is None


def test_a_trainer_that_nobody_holds_is_gone(data):
    trainer = Trainer("ce", data, recipe=TINY, epochs=1)
    trainer.run_epoch()
    gone = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert gone() is None, "at once, without a collection"
    finally:
        gc.enable()


# --------------------------------------------------------------------------------------------------------------- stages
def test_a_stage_says_what_is_trained_and_by_which_weights(data, toy):
    weight = torch.arange(1.0, 11.0)
    toy(Plain, (Stage(0.25), Stage(0.25, class_weight=lambda counts: weight, train="head"), Stage(0.25, train="head"),
                Stage(0.25)))  # fmt: skip
    trainer = Trainer("toy", data, recipe=TINY, epochs=4)
    found, optimizers = [], []
    for number in range(4):
        trainer.enter(number)
        found.append((trainer.stage, trainer.frozen, trainer.objective.class_weight.tolist(), len(trainer.trained)))
        optimizers.append(trainer.optimizer)
    ones = [1.0] * 10
    assert found == [(0, False, ones, 6), (1, True, weight.tolist(), 2), (2, True, ones, 2), (3, False, ones, 6)]
    assert len({id(one) for one in optimizers}) == 3 and optimizers[1] is optimizers[2]
    assert trainer.objective.weight_writer == "stage"


def test_a_head_of_the_first_stage_is_made_once(data, toy):
    """What the run holds is the head that was trained, not one made anew at the end."""
    toy(Plain, (Stage(head=lambda head: LinearHead(4, 10)),))
    trainer = Trainer("toy", data, recipe=TINY, epochs=1)
    trainer.run_epoch()
    head, optimizer = trainer.net.head, trainer.optimizer
    run = trainer.finish()
    assert run.status == "finished" and trainer.net.head is head and trainer.optimizer is optimizer
    np.testing.assert_array_equal(run.head_weight, head.weight.detach())


def test_an_epoch_may_enter_several_stages(data, toy):
    """A trainer that starts late goes through each stage before: heads and weights follow one another."""
    heads = []

    def head(before):
        heads.append(before)
        return LinearHead(before.in_features, before.out_features)

    toy(Plain, (Stage(0.25), Stage(0.25, head=head), Stage(0.5, head=head)))
    trainer = Trainer("toy", data, recipe=TINY, epochs=4)
    first = trainer.net.head
    trainer.epoch = 2
    assert trainer.begin_epoch().stage == trainer.stage == 2
    assert len(heads) == 2 and heads[0] is first and heads[1] is not first


def test_the_last_epoch_of_a_stage_of_two_is_its_end(data, toy):
    toy(Listens, (Stage(0.5), Stage(0.5)))
    trainer = Trainer("toy", data, recipe=TINY, epochs=4)
    for _ in range(4):
        trainer.run_epoch()
    assert [report.progress for report, _ in trainer.objective.reports] == [0.0, 1.0, 0.0, 1.0]


def test_a_last_class_without_validation_images_has_no_accuracy(data):
    kept = data.val_targets < 9
    fewer = dataclasses.replace(data, val_images=data.val_images[kept], val_targets=data.val_targets[kept])
    row = Trainer("ce", fewer, recipe=TINY, epochs=1).run_epoch()
    assert row["val_accuracy"].shape == (10,) and np.flatnonzero(np.isnan(row["val_accuracy"])).tolist() == [9]
    assert class_mean(torch.ones(2, 3), torch.tensor([0, 0]), 2).tolist()[0] == [1.0] * 3
    assert class_mean(torch.ones(2, 3), torch.tensor([0, 0]), 4)[1:].isnan().all()


def test_a_term_that_comes_later_is_nan_before(data):
    trainer = Trainer("ce", data, recipe=TINY, epochs=3)
    trainer.rows = [{"epoch": 0, "loss": 1.0}, {"epoch": 1, "loss": 2.0, "term/late": 0.5}]
    history = trainer.history
    assert list(history) == ["epoch", "loss", "term/late"] and history["loss"].tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(history["term/late"], [np.nan, 0.5])


@pytest.mark.parametrize("validation", [0, 10])
def test_a_run_without_validation_images_is_the_same_run(validation, toy):
    toy(Listens)
    data = digits_lt(validation=validation)
    trainer = Trainer("toy", data, recipe=TINY, epochs=2)
    rows = [trainer.run_epoch() for _ in range(2)]
    assert [one[0].accuracy is None for one in trainer.objective.reports] == [True, validation == 0]
    for row in rows:
        assert row["val_accuracy"].shape == (10,) and row["val_accuracy"].dtype == np.float32
        assert np.isnan(row["val_accuracy"]).all() == (validation == 0)


# --------------------------------------------------------------------------------------------------- the run at the end
def test_what_a_rule_is_given(data, toy):
    """The output on the test images with its head, scale and all, the counts, the training images, the settings."""
    given = []

    def posthoc(out, counts, gallery, scale, shift):
        given.append((out, counts, gallery(), scale, shift))
        return shift - out.logits

    class Cosine(Plain):
        def __init__(self, counts, scale, shift):
            super().__init__(counts)
            self.scale = scale

        def make_head(self, dim):
            return CosineHead(dim, self.k, self.scale)

    settings = {"scale": Setting(8.0, 1.0, 64.0), "shift": Setting(0.5, 0.0, 9.0)}
    toy(Cosine, posthoc=posthoc, settings=settings)
    trainer = Trainer("toy", data, recipe=TINY, epochs=1, scale=5.0, shift=2.0)
    run = trainer.run()
    ((out, counts, gallery, scale, shift),) = given
    logits, features = answers(trainer, data.test_batch, len(data.test_targets))
    assert torch.equal(out.logits, logits) and torch.equal(out.features, features)
    assert out.head_weight is trainer.net.head.weight and float(out.scale) == run.scale == 5.0 and run.head_bias is None
    assert (scale, shift) == (5.0, 2.0) and counts.tolist() == data.counts.tolist()
    assert torch.equal(gallery[1], data.targets) and torch.equal(gallery[0], trainer.embed_training()[0])
    np.testing.assert_array_equal(run.scores, 2.0 - run.logits)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (data.test_targets.numpy(), run.logits.argmin(1)), 1)
    assert run.confusion.tolist() == expected.tolist()


def test_a_rule_for_a_linear_head_has_no_scale(data, toy):
    given = []
    toy(Plain, posthoc=lambda out, counts, gallery: given.append(out) or out.logits)
    run = Trainer("toy", data, recipe=TINY, epochs=1).run()
    assert given[0].scale is None and run.scale is None and run.head_bias.shape == (10,)
    np.testing.assert_array_equal(run.scores, run.logits)


def test_the_calibration_of_a_sigmoid_is_that_of_sigmoids(data):
    run = Trainer("sigmoid", data, recipe=TINY, epochs=2).run()
    p = 1.0 / (1.0 + np.exp(-run.logits.astype(np.float64)))
    assert run.ece == pytest.approx(metrics.ece(p, run.targets), rel=1e-9)
    assert abs(run.ece - metrics.ece(metrics.probabilities(run.logits, "softmax"), run.targets)) > 1e-3


def test_a_stopped_run_is_named_by_the_request_and_its_network(data):
    runs = [Trainer(method, data, recipe=TINY, epochs=2).finish("stopped") for method in ("ce", "focal")]
    ids = [Trainer(method, data, recipe=TINY, epochs=2).id for method in ("ce", "focal")]
    np.testing.assert_array_equal(runs[0].head_weight, runs[1].head_weight)
    assert [run.id for run in runs] == [stopped_id(id, run.network) for id, run in zip(ids, runs, strict=True)]
    assert len({*ids, *(run.id for run in runs)}) == 4


def test_the_confusion_has_a_row_for_a_class_without_test_images(data, toy):
    kept = data.test_targets < 8
    fewer = dataclasses.replace(data, test_images=data.test_images[kept], test_targets=data.test_targets[kept])
    toy(Plain, posthoc=lambda out, counts, gallery: nn.functional.one_hot(data.test_targets[kept], 10).float())
    run = Trainer("toy", fewer, recipe=TINY, epochs=1).run()
    assert run.confusion.tolist() == np.diag([50] * 8 + [0] * 2).tolist()


def test_the_version_is_that_of_the_package(monkeypatch):
    asked = []
    monkeypatch.setattr("importlib.metadata.version", lambda name: asked.append(name) or "1.2.3")
    assert versions()["ltviz"] == "1.2.3" and asked == ["ltviz"]

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    assert versions()["ltviz"] == "source"


def test_a_branch_names_its_parent(data):
    base = Trainer("ce", data, recipe=TINY, epochs=1).run()
    branch = Trainer("ce", data, recipe=TINY, epochs=1, start=base)
    for name, value in branch.net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), base.network[name])
    run = branch.run()
    assert base.parent is None and run.parent == base.id != run.id
