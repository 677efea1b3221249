"""The loop: reproducible, resumable, stoppable, the protocols as published, and errors that say what to do."""

import dataclasses
import gc
import signal
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
from ltviz.run import RunFileError, load_run
from ltviz.training import RECIPES, LiveRun, Recipe, RunControl, Stopped, Trainer, make_data, sweep, train

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
        with ltviz.device.threads(trainer.threads):
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
    with pytest.raises(RunFileError, match="damaged or cut short"):
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
    with ltviz.device.threads(1):
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
    with ltviz.device.threads(1):
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
    with pytest.warns(RuntimeWarning, match="such as lr=0.01 .now 0.1., or a tighter clip, such as clip=0.1 "):
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
    assert first.wait(20).status == "stopped" and first.state == "stopped"
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
    control = RunControl()
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
            control = RunControl()
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
    trainer.enter(0)
    decayed, plain = trainer.optimizer.param_groups
    assert plain["weight_decay"] == 0 and plain["params"] == [trainer.objective.radius]
    assert decayed["weight_decay"] == 5e-4 and len(decayed["params"]) == 6


@pytest.mark.parametrize(
    ("name", "classes", "parameters"), [("resnet32", 10, 464_154), ("resnet32", 100, 470_004), ("mlp", 10, 17_226)]
)
def test_parameter_counts(name, classes, parameters):
    shape = (1, 8, 8) if name == "mlp" else (3, 32, 32)
    net = make_net(name, shape, METHODS["ce"]().build(torch.ones(classes)), torch.Generator())
    assert sum(p.numel() for p in net.parameters()) == parameters
    out = net(torch.zeros(2, *shape))
    assert out.logits.shape == (2, classes) and out.features.shape == (2, 64) and out.head_weight.shape == (classes, 64)


def test_initialisation_depends_on_the_generator_alone():
    objective = METHODS["ce"]().build(torch.ones(4))
    for name in ("mlp", "cnn:4", "resnet8:4"):
        a, b = (make_net(name, (3, 8, 8), objective, torch.Generator().manual_seed(1)) for _ in range(2))
        c = make_net(name, (3, 8, 8), objective, torch.Generator().manual_seed(2))
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
        assert not torch.equal(a.head.weight, c.head.weight)


@pytest.fixture
def cores():
    """Pretend that torch has been given this many threads."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_follow_a_fixed_rule_and_are_restored(data, cores):
    before = torch.get_num_threads()
    quick(data, epochs=1)
    assert torch.get_num_threads() == before
    cores(4)
    with ltviz.device.threads(1):  # what a run uses is not what the machine has
        assert thread_count("mlp", (3, 32, 32), 128) == 1 and thread_count("mlp:128", (3, 32, 32), 512) == 4
        assert [thread_count("cnn", (1, 8, 8), n) for n in (64, 256, 512, 5000)] == [1, 2, 4, 4]
        assert thread_count("resnet32", (3, 32, 32), 128) == 4 and thread_count("cnn", (3, 16, 16), 64) == 2
    assert torch.get_num_threads() == 4
    cores(1)
    assert thread_count("resnet32", (3, 32, 32), 128) == 1


def test_threads_of_runs_that_overlap_are_their_own_and_go_back(cores):
    """A run that begins inside another's and outlives it takes the rule's number, and leaves the user's."""
    cores(3)
    inside, leave, seen = threading.Event(), threading.Event(), []

    def longer():
        seen.append(thread_count("resnet32", (3, 32, 32), 128))
        with ltviz.device.threads(2):
            inside.set()
            leave.wait(20)
            seen.append(torch.get_num_threads())

    with ltviz.device.threads(1):
        other = threading.Thread(target=longer)
        other.start()
        assert inside.wait(20) and torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    leave.set()
    other.join()
    assert seen == [3, 2] and ltviz.device.usual_threads() == 3
    fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    fresh.start()
    fresh.join()
    assert seen[-1] == 3


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
    with pytest.raises(ValueError, match="optimizer='lion': expected one of"):
        Recipe("x", "mlp", 1, optimizer="lion")
    toy_method(objective=Plain, feedback=True)
    with pytest.raises(ValueError, match="listens to the accuracy on a validation set"):
        quick(digits_lt(validation=0), "toy")
    assert quick(data, "toy", epochs=1).status == "finished"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for_where_there_is_none(data):
    with pytest.raises(ValueError, match="device='cuda': expected what torch"):
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


def test_a_recipe_field_is_a_keyword(data):
    plain = quick(data)
    run = quick(data, lr=0.01, clip=None, milestones=(0.5,), schedule="step")
    assert (run.recipe["lr"], run.recipe["clip"], run.recipe["schedule"]) == (0.01, None, "step")
    assert run.id != plain.id == quick(data, lr=0.1).id, "written out or not"
    same(run, eval(run.provenance["command"], {"lt": ltviz}))
    recipe = dataclasses.replace(ltviz.RECIPES["digits"], lr=0.01, clip=None, milestones=(0.5,), schedule="step")
    assert quick(data, recipe=recipe).id == run.id
    for wrong, words in [({"lr": 0}, "lr=0: expected a number above 0"), ({"lr": "0.1"}, "lr='0.1'"),
                         ({"batch_size": True}, "batch_size=True"), ({"batch_size": 2.5}, "batch_size=2.5"),
                         ({"optimizer": "sdg"}, "optimizer='sdg'.*did you mean 'sgd'"),
                         ({"weight_decay": float("nan")}, "weight_decay=nan"),
                         ({"schedule": "step"}, "milestones=")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{words}"):
            quick(data, **wrong)

    def own(logits, targets, lr=2.0):
        return lr * torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    run = quick(data, own, lr=3.0)
    assert run.settings == {"lr": 3.0} and run.recipe["lr"] == 0.1, "a setting of the method wins"


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


# ------------------------------------------------------------------------------------------------------------ identity
def test_an_id_says_everything_that_can_change_a_result_once(data):
    def made(method="focal", on=data, **more):
        return Trainer(method, on, **more).id

    base = made()
    parent = quick(data, epochs=1)
    recipe = dataclasses.replace(RECIPES["digits"], lr=0.05)
    others = [
        made("ce"), made(gamma=1.0), made(seed=1), made(epochs=59), made(model="cnn"), made(recipe=recipe),
        made(start=parent), made(start=quick(data, epochs=2)), made(on=digits_lt(seed=1)),
        made(on=dataclasses.replace(data, pad=1)), made(on=dataclasses.replace(data, mean=data.mean + 0.1)),
        made(on=dataclasses.replace(data, class_names=(*data.class_names[:-1], "x"))),
        made(speed=ltviz.device.Speed()),
    ]  # fmt: skip
    assert len({base, *others}) == len(others) + 1
    same_run = [
        made(gamma=2), made(gamma=np.float32(2)), made(seed=np.int64(0)), made(recipe="digits"), made(epochs=60),
        made(on=digits_lt(ratio=50.0)), made(on=digits_lt(class_order=list(data.class_names))),
        made(recipe=dataclasses.replace(RECIPES["digits"], name="mine", lr=0.1)),
    ]  # fmt: skip
    assert set(same_run) == {base}


def test_a_run_has_its_trainers_id_and_a_stopped_one_its_own(data):
    def stopped(epochs):
        control, done = RunControl(), []

        def stop(trainer):
            done.append(trainer.epoch)
            if len(done) == epochs:
                control.stop()

        return Trainer("ce", data, epochs=5).run(control, stop)

    whole, one, two = quick(data, epochs=5), stopped(1), stopped(2)
    assert whole.id == Trainer("ce", data, epochs=5).id
    assert (one.status, two.status) == ("stopped", "stopped") and len({whole.id, one.id, two.id}) == 3
    assert stopped(2).id == two.id
    branches = [quick(data, epochs=1, start=run) for run in (whole, one, two)]
    assert len({branch.id for branch in branches}) == 3 and [b.parent for b in branches] == [whole.id, one.id, two.id]


def test_a_stopped_run_in_a_folder_is_not_taken_for_the_finished_one(data, tmp_path):
    control = RunControl()
    half = Trainer("ce", data.with_seed(0), epochs=2).run(control, lambda trainer: control.stop())
    half.save(tmp_path)
    (whole,) = sweep("ce", data, seeds=1, epochs=2, folder=tmp_path, progress=False)
    assert whole.status == "finished" and len(list(tmp_path.iterdir())) == 2
    assert sweep("ce", data, seeds=1, epochs=2, folder=tmp_path, progress=False)[0].id == whole.id


def test_a_sweep_gives_whole_runs_where_they_are_asked_for(data, tmp_path):
    arguments = {"seeds": 1, "epochs": 2, "folder": tmp_path, "progress": False}
    assert sweep("ce", data, **arguments)[0].network is not None  # just trained
    assert sweep("ce", data, **arguments)[0].network is None  # found, and small
    assert sweep("ce", data, small=False, **arguments)[0].network is not None
    assert sweep("ce", data, small=False, **arguments)[0].network is not None and len(list(tmp_path.iterdir())) == 1


def test_a_damaged_run_in_a_folder_is_trained_again(data, tmp_path):
    (run,) = sweep("ce", data, seeds=1, epochs=2, folder=tmp_path, progress=False)
    (path,) = tmp_path.iterdir()
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.warns(RuntimeWarning, match="damaged.*It is trained again"):
        (again,) = sweep("ce", data, seeds=1, epochs=2, folder=tmp_path, progress=False)
    assert again.accuracy == run.accuracy and load_run(path).id == run.id


# -------------------------------------------------------------------------------------------------- nobody else's state
@pytest.mark.parametrize("method", ["ce", "crt", "lws", "equalization", "fslwf", "ldam"])
def test_training_leaves_the_global_generators_alone(data, method):
    torch.manual_seed(7)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = quick(data, method, epochs=3)
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()
    torch.manual_seed(8)
    same(first, quick(data, method, epochs=3))


class Drops(nn.Module):
    """A network that draws while it trains."""

    def __init__(self, shape):
        super().__init__()
        self.dim = 16
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, images):
        return self.layers(images)


def test_dropout_draws_from_the_runs_own_generator(data, monkeypatch, tmp_path):
    monkeypatch.setattr("ltviz.models.TorchvisionBackbone", lambda name, shape: Drops(shape))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = quick(data, model="torchvision:resnet18")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    same(first, quick(data, model="torchvision:resnet18"))
    file = tmp_path / "a.safetensors"
    trainer = Trainer("ce", data, epochs=4, model="torchvision:resnet18", checkpoint=file)
    trainer.run_epoch(), trainer.run_epoch()
    trainer.save_checkpoint()
    same(first, quick(data, model="torchvision:resnet18", checkpoint=file))
    assert not np.array_equal(first.logits, quick(data, model="torchvision:resnet18", seed=1).logits)


# -------------------------------------------------------------------------------------------------------- nothing lost
def test_a_failed_checkpoint_is_a_warning_and_tried_again(data, tmp_path, monkeypatch):
    file, write, calls = tmp_path / "a.safetensors", ltviz.files.write_atomically, []

    def full_at_first(path, content):
        calls.append(path)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr("ltviz.files.write_atomically", full_at_first)
    trainer = Trainer("ce", data, epochs=4, checkpoint=file)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="could not be written .No space.*the run goes on"):
            trainer.save_checkpoint() if trainer.epoch else trainer.enter(0) or trainer.save_checkpoint()
    run = trainer.run()
    assert run.status == "finished" and len(calls) == 3 and file.exists()


def test_an_unwritable_place_is_noticed_before_training(data, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(Trainer, "run", lambda *a, **k: pytest.fail("it trained"))
    with pytest.raises(RunFileError, match="checkpoint=.*nothing can be written there"):
        quick(data, checkpoint=tmp_path / "file" / "a.safetensors")
    with pytest.raises(ValueError, match="checkpoint=.*not a folder"):
        quick(data, checkpoint=tmp_path)
    with pytest.raises(RunFileError, match="folder=.*no run can be kept there"):
        sweep("ce", data, folder=tmp_path / "file" / "runs", progress=False)


def test_a_run_that_cannot_be_saved_is_returned_all_the_same(data, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ltviz.files.write_atomically", full)
    with pytest.warns(RuntimeWarning, match="could not be saved in .*No space.*it is returned"):
        runs = sweep("ce", data, seeds=1, epochs=1, folder=tmp_path, progress=False)
    assert [run.status for run in runs] == ["finished"]


def press(times):
    """Ctrl-C, as the terminal sends it."""
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("where", ["make_run", "step", "epoch"])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_any_number_of_times_keeps_what_was_learned(data, monkeypatch, where, times):
    before = signal.getsignal(signal.SIGINT)
    if where == "make_run":
        whole = ltviz.training.loop.make_run
        monkeypatch.setattr("ltviz.training.loop.make_run", lambda *a: press(times) or whole(*a))
    elif where == "step":
        step, seen = Trainer._step, []
        monkeypatch.setattr(
            Trainer, "_step", lambda self, index: step(self, index) or seen.append(1) or press(times * (len(seen) == 7))
        )
    else:
        monkeypatch.setattr("ltviz.training.loop.Trainer.end_epoch", _pressing(Trainer.end_epoch, times))
    run = quick(data, epochs=3)
    assert run.status == ("finished" if where == "make_run" else "stopped") and run.accuracy > 0.05
    assert signal.getsignal(signal.SIGINT) is before


def _pressing(function, times):
    def pressed(*arguments):
        result = function(*arguments)
        press(times)
        return result

    return pressed


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("where", ["save", "data"])
def test_ctrl_c_in_a_sweep_keeps_the_runs_that_are_done(tmp_path, monkeypatch, where, times):
    data = digits_lt(class_order="seed")
    if where == "save":
        save = ltviz.run.Run.save
        monkeypatch.setattr("ltviz.run.Run.save", lambda self, *a, **k: press(times) or save(self, *a, **k))
    else:
        draw = type(data).with_seed
        monkeypatch.setattr(
            type(data), "with_seed", lambda self, seed: press(times if seed == 1 else 0) or draw(self, seed)
        )
    with pytest.warns(UserWarning, match="1 runs are done"):
        runs = sweep("ce", data, seeds=3, epochs=1, folder=tmp_path, progress=False)
    assert [run.seed for run in runs] == [0] and len(list(tmp_path.iterdir())) == 1


# ------------------------------------------------------------------------------------------------------------ live runs
def test_pause_after_stop_does_not_hold_a_run(data):
    control = RunControl()
    control.stop()
    control.pause()
    with pytest.raises(Stopped):
        control.check()
    live = LiveRun("ce", data, epochs=5000).start(inline=False)
    live.stop()
    live.pause()
    assert live.wait(20).status == "stopped"


def test_a_live_run_waits_for_the_one_before_and_can_be_stopped_meanwhile(data):
    hold = threading.Event()
    first = LiveRun("ce", data, epochs=5000).on_epoch(lambda live: hold.wait(20)).start(inline=False)
    second = LiveRun("ce", data, epochs=5000).start(inline=False)
    assert second.wait(0.05) is None and second.state == "running" and second.epoch == 0
    second.stop()
    hold.set()
    assert second.wait(20).status == "stopped" and second.epoch == 0 and first.wait(20).status == "stopped"


def test_a_run_does_not_begin_before_the_last_but_one_has_ended(data):
    """The one between them is stopped before its turn: it does not wait, and the third has to."""
    hold = threading.Event()
    first = LiveRun("ce", data, epochs=5000).on_epoch(lambda live: hold.wait(20)).start(inline=False)
    second = LiveRun("ce", data, epochs=5000).start(inline=False)
    second.stop()
    assert second.wait(20).status == "stopped"
    third = LiveRun("ce", data, epochs=1).start(inline=False)
    assert third.wait(0.2) is None and third.epoch == 0 and not first.ended.is_set()
    hold.set()
    assert third.wait(20).status == "finished" and first.state == "stopped"


def test_many_threads_that_start_live_runs_end_them_all(data):
    lives = [LiveRun("ce", data, epochs=3) for _ in range(12)]
    errors = []

    def start(live):
        try:
            live.start(inline=False)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(live,)) for live in lives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and all(live.wait(30) is not None for live in lives)
    assert {live.state for live in lives} <= {"finished", "stopped"} and LiveRun.newest is None


# ------------------------------------------------------------------------------------------------------ what is refused
WRONG_FIELDS = [
    ("milestones", (160, 180)), ("milestones", (0.9, 0.8)), ("milestones", 0.8), ("lr", -0.1), ("lr", float("nan")),
    ("lr", "0.1"), ("momentum", 5), ("momentum", True), ("weight_decay", -1), ("clip", -1), ("clip", 0),
    ("epochs", 2.5), ("epochs", 0), ("batch_size", 1), ("drop", 2), ("warmup", 1.5), ("warmup_by", "week"),
    ("schedule", "linear"),
    ("move_statistics", 1), ("name", None), ("model", 3),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG_FIELDS)
def test_a_recipe_refuses_what_makes_no_sense(field, value):
    with pytest.raises(ValueError, match=f"^{field}="):
        dataclasses.replace(RECIPES["cui2019"], **{field: value})


def test_a_stepped_schedule_needs_milestones():
    with pytest.raises(ValueError, match="milestones"):
        Recipe("x", "mlp", 10, schedule="step")


WRONG_ARGUMENTS = [
    {"data": None}, {"data": "digits"}, {"recipe": {}}, {"recipe": 3}, {"device": "gpu"}, {"device": 3},
    {"model": "mlp:0"}, {"model": 3}, {"seed": "3"}, {"seed": -1}, {"seed": True}, {"seed": 2.0}, {"epochs": 2.5},
    {"epochs": True}, {"epochs": "3"}, {"epochs": 0}, {"start": "run"}, {"speed": "fast"}, {"checkpoint": 3},
    {"checkpoint": ""}, {"progress": "no"},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_ARGUMENTS, ids=str)
def test_wrong_arguments_are_named(data, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        train("ce", **{"data": data, "progress": False, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [{"seeds": -3}, {"seeds": 2.0}, {"seeds": "2"}, {"seeds": []}, {"seed": 1}, {"folder": 3}, {"small": "no"},
     {"epochs": []}, {"method": []}, {"data": None}, {"checkpoint": "x"}],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_of_a_sweep_are_named(data, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        sweep(**{"method": "ce", "data": data, "progress": False, **wrong})


def test_wrong_arguments_of_make_data_are_named():
    for arguments in (("x",), (None,), ("digits", "0")):
        with pytest.raises(ValueError, match="recipe|seed"):
            make_data(*arguments)
    with pytest.raises(ValueError, match="digits_lt has no argument 'rato' .did you mean 'ratio'"):
        make_data("digits", rato=3)
    assert make_data("digits", np.int64(3)).spec["seed"] == 3


# -------------------------------------------------------------------------------------------------- what a mutant shows
def test_a_cosine_follows_the_step_and_a_source_the_images():
    digits = RECIPES["digits"]
    rates = [digits.learning_rate(30, step, 5, 60) for step in range(5)]
    expected = [0.05 * (1 + np.cos(np.pi * (30 + step / 5 - 3) / 57)) for step in range(5)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert len(set(rates)) == 5
    # Cui et al. 2019 (cifar_main.py): epoch = step x 128 / n; up to epoch 5, 0.1 x epoch / 5; x 0.01 from 160 and 180.
    images, steps = 12_406, 97
    cui = RECIPES["cui2019"]
    ours, theirs = [], []
    for step in range(200 * steps):
        epoch = step * 128 / images
        theirs.append(0.1 * epoch / 5 if epoch < 5 else 0.1 if epoch < 160 else 1e-3 if epoch < 180 else 1e-5)
        ours.append(cui.learning_rate(step // steps, step % steps, steps, 200, images))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert ours[0] == 0.0


def test_resumed_at_every_epoch_equals_uninterrupted(tmp_path, toy_method):
    """With crops, buffers of an objective, validation feedback, two stages: each is read back."""
    from ltviz.objective import METHODS as methods

    cropped = dataclasses.replace(digits_lt(), pad=1, flip=True)
    for method in ("cdb", "equalization", "seesaw", "crt", "ldam_drw", "ring"):
        epochs = 5
        whole = quick(cropped, method, epochs=epochs, model="cnn")
        for stop in (1, 3, 4):
            file = tmp_path / f"{methods[method].key}{stop}.safetensors"
            trainer = Trainer(method, cropped, epochs=epochs, model="cnn", checkpoint=file)
            for _ in range(stop):
                trainer.run_epoch()
            trainer.save_checkpoint()
            same(whole, quick(cropped, method, epochs=epochs, model="cnn", checkpoint=file))


def test_checkpoints_are_written_as_time_goes_by(data, tmp_path, monkeypatch):
    """At the latest when another epoch would make it more than ten seconds, and at the end."""
    clock = [0.0]
    monkeypatch.setattr("ltviz.training.loop.time.monotonic", lambda: clock[0])
    saved = []
    write = Trainer.save_checkpoint
    monkeypatch.setattr(Trainer, "save_checkpoint", lambda self: saved.append(self.epoch) or write(self))

    def tick(trainer):
        clock[0] += 4.0

    Trainer("ce", data, epochs=7, checkpoint=tmp_path / "a.safetensors").run(on_epoch=tick)
    assert saved == [4, 7]


CHECKPOINT_WRONG = [
    ("net/head.bias", lambda v: v[:1]), ("net/head.weight", lambda v: v[:1]), ("net/head.bias", lambda v: v[None]),
    ("net/head.bias", lambda v: v.astype(np.float64)), ("optimizer/0/momentum_buffer", lambda v: v[:1]),
    ("generator/order", lambda v: v[:10]), ("history/loss", lambda v: v[:1]), ("objective/counts", lambda v: v[:1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change"), CHECKPOINT_WRONG)
def test_a_checkpoint_of_another_shape_or_type_is_refused(data, tmp_path, name, change):
    """Even with the right checksums: nothing is broadcast or cast."""
    file = tmp_path / "a.safetensors"
    quick(data, epochs=2, checkpoint=file)
    meta, arrays = ltviz.files.read_record(file, "checkpoint")
    ltviz.files.save_record(file, "checkpoint", meta, {**arrays, name: change(arrays[name])})
    with pytest.raises(RunFileError, match="not a whole checkpoint"):
        quick(data, epochs=2, checkpoint=file)
    del arrays[name]
    ltviz.files.save_record(file, "checkpoint", meta, arrays)
    if not name.startswith("optimizer"):
        with pytest.raises(RunFileError, match="not a whole checkpoint"):
            quick(data, epochs=2, checkpoint=file)


def test_a_progress_line_shows_names_as_text(data):
    from ltviz.training.progress import _Line

    assert "<img" not in _Line("<img src=x onerror=y>", 0.5)._repr_html_()
    assert "&lt;img" in _Line("<img src=x onerror=y>")._repr_html_()
