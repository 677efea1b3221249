"""The loop: reproducible, resumable, stoppable, the protocols as published, and errors that say what to do."""

import dataclasses
import gc
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ltviz
from ltviz.datasets import digits_lt
from ltviz.device import pick_device, thread_count
from ltviz.models import make_net
from ltviz.objective import METHODS, Method, Objective, Stage
from ltviz.optimizer import SGD, clip
from ltviz.run import RunFileError
from ltviz.training import RECIPES, Control, LiveRun, Recipe, Stopped, Trainer, sweep, train

REPO = Path(ltviz.__file__).parent.parent


@pytest.fixture(scope="module")
def data():
    return digits_lt(seed=0)


def quick(data, method="ce", epochs=4, **more):
    return train(method, data, epochs=epochs, progress=False, **more)


@pytest.fixture
def toy_method():
    """Register records for one test."""
    added = []

    def add(**fields):
        record = Method(**{"key": "toy", "title": "Toy", "paper": "none", "equation": "0", **fields})
        METHODS.add(record)
        added.append(record.key)
        return record

    yield add
    for key in added:
        METHODS.remove(key)


class Plain(Objective):
    """Cross-entropy again, to hang hooks on."""

    def losses(self, out, targets):
        return nn.functional.cross_entropy(out.logits, targets, reduction="none")


def same(a, b):
    assert a.history.keys() == b.history.keys()
    for name, values in a.history.items():
        np.testing.assert_array_equal(values, b.history[name], err_msg=name)
    np.testing.assert_array_equal(a.logits, b.logits)


# ------------------------------------------------------------------------------------------------------ reproducible
def test_same_seed_same_numbers_and_another_cell_changes_nothing(data):
    first = quick(data, seed=3)
    torch.manual_seed(99)
    torch.rand(10)
    same(first, quick(data, seed=3))
    assert not np.array_equal(first.logits, quick(data, seed=4).logits)


def test_resumed_equals_uninterrupted(data, tmp_path):
    for model in ("mlp", "cnn"):
        whole = quick(data, epochs=5, model=model)
        file = tmp_path / f"{model}.safetensors"
        trainer = Trainer("ce", data, epochs=5, model=model, checkpoint=file)
        with ltviz.training.threads(trainer.threads):
            for _ in range(2):
                trainer.run_epoch()
            trainer.save_checkpoint()
        resumed = quick(data, epochs=5, model=model, checkpoint=file)
        same(whole, resumed)


def test_a_checkpoint_of_another_run_or_a_cut_one_is_refused(data, tmp_path):
    file = tmp_path / "a.safetensors"
    quick(data, checkpoint=file)
    with pytest.raises(RunFileError, match="another run"):
        quick(data, seed=1, checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunFileError, match="not a whole checkpoint"):
        quick(data, checkpoint=file)


def test_resume_in_the_second_stage_keeps_head_weights_and_freeze(data, tmp_path, toy_method):
    def restart(head):
        return ltviz.models.LinearHead(head.in_features, head.out_features)

    def stages(**settings):
        balanced = Stage(0.5, head=restart, train="head", sampler="class_balanced", schedule="restart")
        return (Stage(0.5), balanced)

    toy_method(objective=Plain, stages=stages)
    whole = quick(data, "toy", epochs=6)
    file = tmp_path / "toy.safetensors"
    trainer = Trainer("toy", data, epochs=6, checkpoint=file)
    with ltviz.training.threads(1):
        for _ in range(4):
            trainer.run_epoch()
        trainer.save_checkpoint()
    frozen = {name: value.clone() for name, value in trainer.net.backbone.state_dict().items()}
    resumed = quick(data, "toy", epochs=6, checkpoint=file)
    same(whole, resumed)
    for name, value in frozen.items():
        np.testing.assert_array_equal(value.numpy(), resumed.network[f"backbone.{name}"])
    assert list(resumed.history["stage"]) == [0, 0, 0, 1, 1, 1]


def test_the_global_generator_is_not_used(data):
    trainer = Trainer("ce", data, epochs=2)
    before = torch.random.get_rng_state()
    with ltviz.training.threads(1):
        trainer.run_epoch()
    assert torch.equal(before, torch.random.get_rng_state())


# ------------------------------------------------------------------------------------------------------- it learns
def test_the_history_is_complete_and_the_net_learns(data):
    run = train("ce", data, progress=False)
    assert run.status == "finished" and run.accuracy > 0.6
    history = run.history
    assert history["weight_norm"].shape == history["feature_norm"].shape == history["val_accuracy"].shape == (60, 10)
    assert history["loss"][-1] < 0.1 * history["loss"][0] and not np.isnan(history["val_accuracy"]).any()
    np.testing.assert_allclose(history["weight_norm"][-1], np.linalg.norm(run.head_weight, axis=1), rtol=1e-6)
    assert run.confusion.sum() == 500 and run.provenance["seconds"] > 0 and run.provenance["threads"] == 1
    logits = run.features.astype(np.float32) @ run.head_weight.T + run.head_bias
    np.testing.assert_allclose(logits, run.logits, atol=0.2)


def test_without_validation_the_history_says_so(data):
    run = quick(digits_lt(validation=0))
    assert np.isnan(run.history["val_accuracy"]).all()


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)])
def test_our_sgd_takes_the_steps_of_torch(rate, momentum):
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=draw) for shape in ((8, 4, 3, 3), (5,), (), (2, 3))]
    start[0] = start[0].contiguous(memory_format=torch.channels_last)
    ours, theirs = ([nn.Parameter(value.clone()) for value in start] for _ in range(2))
    groups = [[{"params": p[:2], "weight_decay": 5e-4}, {"params": p[2:], "weight_decay": 0.0}] for p in (ours, theirs)]
    mine, known = SGD(groups[0], rate, momentum), torch.optim.SGD(groups[1], lr=0.1, momentum=momentum, fused=True)
    for step in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.empty_like(a).copy_(torch.randn(a.shape, generator=draw))
            b.grad = a.grad.clone()
        if step == 0:  # its first gradient comes later
            ours[3].grad = theirs[3].grad = None
            ours[1].grad = theirs[1].grad = None
            kept = ours[3].detach().clone()
        mine.step()
        known.step()
        if step == 0:
            assert torch.equal(ours[3], kept)
            for parameter in (theirs[1], theirs[3]):
                known.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter) if momentum else None
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
        if momentum:
            assert torch.equal(mine.state[a]["momentum_buffer"], known.state[b]["momentum_buffer"])


def test_a_run_that_is_done_gives_its_memory_back(data):
    trainer = Trainer("ring", data, epochs=2)
    gone = weakref.ref(trainer)
    gc.disable()
    try:
        trainer.run()
        del trainer
        assert gone() is None
    finally:
        gc.enable()


def test_a_first_run_loads_no_compiler():
    code = (
        "import sys, ltviz; ltviz.train('ce', ltviz.digits_lt(), epochs=1, progress=False, device='cpu'); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_gradients_are_clipped_as_torch_does(size):
    draw = torch.Generator().manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (), (5,))] for _ in range(2))
    for a, b in zip(ours, theirs, strict=True):
        a.grad = size * torch.randn(a.shape, generator=draw)
        b.grad = a.grad.clone()
    unused = nn.Parameter(torch.zeros(2))
    clip([*ours, unused], 1.0)
    nn.utils.clip_grad_norm_([*theirs, unused], 1.0)
    assert unused.grad is None and all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))
    assert (torch.stack([a.grad.norm() for a in ours]).norm() > 0.999) == (size > 1)


# ----------------------------------------------------------------------------------------------- stop, pause, branch
def test_ctrl_c_returns_what_was_learned(data, monkeypatch):
    steps = []
    step = Trainer._step

    def interrupt(self, *arguments):
        steps.append(1)
        if len(steps) == 12:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", interrupt)
    run = quick(data, epochs=50)
    assert run.status == "stopped" and len(run.history["loss"]) == 12 // 5 and run.accuracy > 0.05


def test_a_diverged_run_stops_says_so_and_keeps_its_history(data, toy_method):
    class Explodes(Plain):
        def losses(self, out, targets):
            return super().losses(out, targets) / (out.logits.detach().sum() * 0)

    toy_method(objective=Explodes)
    with pytest.warns(RuntimeWarning, match="smaller lr"):
        run = quick(data, "toy", epochs=9)
    assert run.status == "diverged" and len(run.history["loss"]) == 1 and np.isnan(run.accuracy)


def test_a_branch_continues_the_network_and_names_its_parent(data):
    base = quick(data, epochs=20)
    branch = quick(data, epochs=1, start=base, seed=1)
    assert branch.parent == base.id and branch.history["loss"][0] < base.history["loss"][0]
    with pytest.raises(ValueError, match="keeps no network"):
        quick(data, start=dataclasses.replace(base, network=None))


def test_a_live_run_pauses_resumes_and_ends_like_a_blocking_one(data):
    whole = quick(data, epochs=12)
    live = LiveRun("ce", data, epochs=12)
    seen = []
    live.on_epoch(lambda live: seen.append(live.epoch))
    live.on_epoch(lambda live: live.pause() if live.epoch == 3 and live.state == "running" else None)
    live.start(inline=False)
    deadline = time.monotonic() + 20
    while live.state != "paused" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert live.state == "paused" and live.epoch == 3
    live.resume()
    same(whole, live.wait(30))
    assert live.state == "finished" and seen == [*range(1, 13), 12]
    with pytest.raises(RuntimeError, match="new LiveRun"):
        live.start()


def test_stop_ends_a_live_run_and_a_second_one_ends_the_first(data):
    first = LiveRun("ce", data, epochs=5000).start(inline=False)
    second = LiveRun("ce", data, epochs=5000).start(inline=False)
    assert first.state == "stopped" and first.run.status == "stopped"
    second.stop()
    assert second.wait(20).status == "stopped" and second.state == "stopped"


def test_a_live_run_that_fails_keeps_the_error(data, toy_method):
    class Fails(Plain):
        def losses(self, out, targets):
            raise ArithmeticError("on purpose")

    toy_method(objective=Fails)
    live = LiveRun("toy", data, epochs=2).start(inline=False)
    live.wait(20)
    assert live.state == "failed" and "on purpose" in str(live.error)


def test_control_stops_a_paused_run():
    control = Control()
    control.pause()
    threading.Timer(0.05, control.stop).start()
    with pytest.raises(Stopped):
        control.check()


# ------------------------------------------------------------------------------------------------------------ sweep
def test_a_sweep_varies_lists_pairs_seeds_and_resumes(tmp_path):
    data = digits_lt(class_order="seed")
    runs = sweep(["ce"], data, seeds=2, folder=tmp_path, epochs=[1, 2], progress=False)
    assert sorted((r.recipe["epochs"], r.seed) for r in runs) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert runs[0].data["seed"] == runs[0].seed
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = sweep(["ce"], data, seeds=2, folder=tmp_path, epochs=[1, 2], progress=False)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files and len(again) == 4


# --------------------------------------------------------------------------------------------------------- protocols
def test_a_stopped_sweep_returns_what_is_done_and_leaves_no_half_run(data, tmp_path, monkeypatch):
    whole, calls = Trainer.run, []

    def interrupted(self, control=None, on_epoch=None):
        calls.append(self.seed)
        if len(calls) == 2:
            control = Control()
            control.stop()
        return whole(self, control, on_epoch)

    monkeypatch.setattr(Trainer, "run", interrupted)
    with pytest.warns(UserWarning, match="1 runs are done.*same folder"):
        runs = sweep("ce", data, seeds=3, epochs=1, folder=tmp_path, progress=False)
    assert [run.seed for run in runs] == [0] and len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    assert [run.seed for run in sweep("ce", data, seeds=3, epochs=1, folder=tmp_path, progress=False)] == [0, 1, 2]


def test_the_recorded_command_gives_the_same_run(data):
    base = quick(data, "class_balanced", epochs=2, beta=0.99, seed=3)
    again = eval(base.provenance["command"], {"lt": ltviz})
    assert again.id == base.id
    same(base, again)
    assert quick(data, epochs=1, start=base).provenance["command"].endswith("start=run)")


def test_learning_rates_of_the_published_protocols():
    cui, cao = RECIPES["cui2019"], RECIPES["cao2019"]
    for recipe in (cui, cao):
        rates = {epoch: recipe.learning_rate(epoch, 0, 97, 200) for epoch in (5, 159, 160, 179, 180, 199)}
        np.testing.assert_allclose(list(rates.values()), [0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5])
    np.testing.assert_allclose([cao.learning_rate(e, 50, 97, 200) for e in range(5)], [0.02, 0.04, 0.06, 0.08, 0.1])
    steps = [cui.learning_rate(i // 97, i % 97, 97, 200) for i in range(5 * 97)]
    np.testing.assert_allclose(np.diff(steps), 0.1 / 485)
    digits = RECIPES["digits"]
    rates = [digits.learning_rate(e, s, 5, 60) for e in range(60) for s in range(5)]
    assert max(rates) == pytest.approx(0.1) and rates[-1] < 1e-4 and np.argmax(rates) == 14


def test_weight_decay_spares_the_parameters_of_a_loss(data, toy_method):
    class Learned(Plain):
        def __init__(self, counts):
            super().__init__(counts)
            self.radius = nn.Parameter(torch.ones(()))

    toy_method(objective=Learned)
    trainer = Trainer("toy", data, epochs=1)
    trainer._enter(0)
    decayed, plain = trainer.optimizer.param_groups
    assert plain["weight_decay"] == 0 and plain["params"] == [trainer.objective.radius]
    assert decayed["weight_decay"] == 5e-4 and len(decayed["params"]) == 6


@pytest.mark.parametrize(
    ("name", "classes", "parameters"), [("resnet32", 10, 464_154), ("resnet32", 100, 470_004), ("mlp", 10, 17_226)]
)
def test_parameter_counts(name, classes, parameters):
    shape = (1, 8, 8) if name == "mlp" else (3, 32, 32)
    net = make_net(name, shape, METHODS["ce"].build(torch.ones(classes)), torch.Generator())
    assert sum(p.numel() for p in net.parameters()) == parameters
    out = net(torch.zeros(2, *shape))
    assert out.logits.shape == (2, classes) and out.features.shape == (2, 64) and out.head_weight.shape == (classes, 64)


def test_initialisation_depends_on_the_generator_alone():
    objective = METHODS["ce"].build(torch.ones(4))
    for name in ("mlp", "cnn:4", "resnet8:4"):
        a, b = (make_net(name, (3, 8, 8), objective, torch.Generator().manual_seed(1)) for _ in range(2))
        c = make_net(name, (3, 8, 8), objective, torch.Generator().manual_seed(2))
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
        assert not torch.equal(a.head.weight, c.head.weight)


def test_threads_follow_a_fixed_rule_and_are_restored(data):
    before = torch.get_num_threads()
    quick(data, epochs=1)
    assert torch.get_num_threads() == before
    with ltviz.device.threads(4):
        assert thread_count("mlp", (3, 32, 32), 128) == 1 and thread_count("mlp:128", (3, 32, 32), 512) == 4
        assert [thread_count("cnn", (1, 8, 8), n) for n in (64, 256, 512, 5000)] == [1, 2, 4, 4]
        assert thread_count("resnet32", (3, 32, 32), 128) == 4 and thread_count("cnn", (3, 16, 16), 64) == 2
    with ltviz.device.threads(1):
        assert thread_count("resnet32", (3, 32, 32), 128) == 1


# -------------------------------------------------------------------------------------------------------- bad input
def test_errors_name_the_argument_and_say_what_to_do(data, toy_method):
    with pytest.raises(KeyError, match="did you mean 'ce'"):
        quick(data, "cee")
    with pytest.raises(ValueError, match="no setting 'gama'"):
        quick(data, gama=1)
    with pytest.raises(ValueError, match="unknown recipe.*did you mean 'digits'"):
        quick(data, recipe="digit")
    with pytest.raises(ValueError, match="unknown model.*did you mean 'resnet32'"):
        quick(data, model="resnet31")
    with pytest.raises(ValueError, match="unknown model"):
        quick(data, model="transformer")
    with pytest.raises(ValueError, match="optimizer must be"):
        Recipe("x", "mlp", 1, optimizer="lion")
    toy_method(objective=Plain, feedback=True)
    with pytest.raises(ValueError, match="listens to the accuracy on a validation set"):
        quick(digits_lt(validation=0), "toy")
    assert quick(data, "toy", epochs=1).status == "finished"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for_where_there_is_none(data):
    with pytest.raises(ValueError, match="finds none on this machine"):
        quick(data, device="cuda")
    assert pick_device().type in ("cpu", "mps")


def test_two_writers_of_class_weight_are_refused(data, toy_method):
    class Weighted(Plain):
        def __init__(self, counts):
            super().__init__(counts)
            self.set_class_weight(1 / counts)

    toy_method(objective=Weighted, stages=lambda **settings: (Stage(class_weight=lambda counts: 1.0 / counts),))
    with pytest.raises(ValueError, match="one writer"):
        quick(data, "toy")


def test_more_stages_than_epochs_is_refused(data, toy_method):
    toy_method(objective=Plain, stages=lambda **settings: (Stage(0.5), Stage(0.5)))
    with pytest.raises(ValueError, match="2 stages"):
        quick(data, "toy", epochs=1)


def test_a_recipe_field_given_as_a_setting_says_where_it_belongs(data):
    with pytest.raises(ValueError, match=r"lr belongs to the recipe.*RECIPES\['digits'\], lr=0.01"):
        quick(data, lr=0.01)


def test_a_listener_that_fails_does_not_end_the_training(data):
    def fails(live):
        raise ArithmeticError("the listener")

    live = LiveRun("ce", data, epochs=2).on_epoch(fails).start(inline=True)
    assert live.state == "finished" and live.run.status == "finished" and "the listener" in str(live.error)


def test_a_diverged_epoch_is_not_a_checkpoint(data, toy_method, tmp_path):
    class Explodes(Plain):
        def losses(self, out, targets):
            return super().losses(out, targets) / (out.logits.detach().sum() * 0)

    toy_method(objective=Explodes)
    with pytest.warns(RuntimeWarning, match="milder setting"):
        quick(data, "toy", epochs=1, checkpoint=tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
