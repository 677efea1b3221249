"""The loop where somebody else is at work too: the caller's contexts, other threads, methods of one's own, bad luck."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ltviz
from ltviz.datasets import digits_lt
from ltviz.device import Speed
from ltviz.many import train_many
from ltviz.objective import METHODS, Method, Objective
from ltviz.training import RECIPES, LiveRun, RunControl, Trainer, sweep, train
from ltviz.training.request import make_request

EXPLODES = dataclasses.replace(RECIPES["digits"], lr=1e38, epochs=1, batch_size=400, clip=None, warmup=0.0)


@pytest.fixture(scope="module")
def data():
    return digits_lt()


def quick(data, method="ce", epochs=2, **more):
    return train(method, data, epochs=epochs, progress=False, **more)


# ------------------------------------------------------------------------------------------------------------- bad luck
def test_a_run_whose_last_step_explodes_has_diverged(data):
    """The loss is that before the step, and finite; what the network answers afterwards is not."""
    with pytest.warns(RuntimeWarning, match="not finite any more"):
        run = train("ce", data, recipe=EXPLODES, progress=False)
    assert run.status == "diverged" and np.isfinite(run.history["loss"]).all() and np.isnan(run.accuracy)
    assert run.id == Trainer("ce", data, recipe=EXPLODES).id


def test_an_error_in_a_sweep_hands_over_what_was_done(tmp_path):
    class Fails(Objective):
        def losses(self, out, targets):
            raise ArithmeticError("on purpose")

    METHODS.add(Method(key="fails", title="F", paper="none", equation="0", objective=Fails))
    try:
        with pytest.raises(ValueError, match="'fails': given .* it raised ArithmeticError: on purpose") as caught:
            sweep(["ce", "fails"], digits_lt(), seeds=1, epochs=1, folder=tmp_path, progress=False)
    finally:
        METHODS.remove("fails")
    assert isinstance(caught.value.__cause__, ArithmeticError)
    assert [run.method for run in caught.value.runs] == ["ce"]
    assert "1 runs were done before" in caught.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_live_run_without_a_thread_fails_and_blocks_nobody(data, monkeypatch):
    def none(self):
        raise RuntimeError("can't start new thread")

    live = LiveRun("ce", data, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        with pytest.raises(RuntimeError, match="new thread"):
            live.start(inline=False)
    assert live.state == "failed" and live.wait(5) is None and "new thread" in str(live.error)
    assert LiveRun("ce", data, epochs=1).start(inline=False).wait(20).status == "finished"


def test_a_trainer_that_was_stopped_within_an_epoch_does_not_go_on(data):
    control, trainer = RunControl(), Trainer("ce", data, epochs=5)
    assert trainer.run(control, lambda trainer: control.stop()).status == "stopped"
    with pytest.raises(RuntimeError, match="stopped within an epoch.*start= from its run"):
        trainer.run()


# -------------------------------------------------------------------------------------------------- the caller's torch
@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_callers_contexts_change_nothing(data, context):
    plain = quick(data, model="cnn")
    with context():
        inside = quick(data, model="cnn")
    np.testing.assert_array_equal(plain.logits, inside.logits)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_another_default_type_is_refused_and_left_alone(data, dtype):
    plain = quick(data, epochs=1)
    torch.set_default_dtype(dtype)
    try:
        for call in (lambda: quick(data), lambda: sweep("ce", data, epochs=1), lambda: LiveRun("ce", data)):
            with pytest.raises(ValueError, match=rf"^torch.get_default_dtype\(\) is {dtype}: .*set_default_dtype\("):
                call()
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(plain.logits, quick(data, epochs=1).logits)


def test_another_default_device_is_refused_and_left_alone(data):
    with torch.device("cpu"):
        plain = quick(data, epochs=1)
    with torch.device("meta"):
        for call in (lambda: quick(data), lambda: train_many("ce", data, epochs=1), lambda: Trainer("ce", data)):
            with pytest.raises(ValueError, match=r"^torch.get_default_device\(\) is meta: device= says where"):
                call()
        assert torch.get_default_device().type == "meta"
    np.testing.assert_array_equal(plain.logits, quick(data, epochs=1).logits)


class Drops(Objective):
    """Cross-entropy with dropout on the logits: a loss that draws, and says so to nobody."""

    def losses(self, out, targets):
        return F.cross_entropy(F.dropout(out.logits, 0.5, self.training), targets, reduction="none")


@pytest.fixture
def drops():
    METHODS.add(Method(key="drops", title="D", paper="none", equation="0", objective=Drops))
    yield "drops"
    METHODS.remove("drops")


def test_a_loss_that_draws_draws_from_the_runs_generator(data, drops):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = quick(data, drops)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    np.testing.assert_array_equal(first.logits, quick(data, drops).logits)
    assert not np.array_equal(first.logits, quick(data).logits)


def test_draws_of_another_thread_are_left_alone(data, drops):
    """While runs are made and draw in one thread, seeded draws in another are what they always are."""
    torch.manual_seed(5)
    expected, wrong, tries, done = torch.rand(3), 0, 0, threading.Event()

    def runs():
        for _ in range(8):
            quick(data, drops, epochs=3)
        done.set()

    thread = threading.Thread(target=runs)
    thread.start()
    while not done.is_set():
        torch.manual_seed(5)
        wrong += not torch.equal(torch.rand(3), expected)
        tries += 1
    thread.join()
    assert tries > 20 and wrong == 0


# ------------------------------------------------------------------------------------------------------------- identity
def one_of_ones_own(sign):
    class Mine(Objective):
        def losses(self, out, targets):
            return sign * F.cross_entropy(out.logits, targets, reduction="none")

    class Other(Objective):
        def losses(self, out, targets):
            return F.cross_entropy(2 * out.logits, targets, reduction="none")

    return Mine if sign == 1 else Other


def test_the_code_of_a_method_of_ones_own_is_part_of_the_id(data):
    ids = []
    for sign in (1, 1, -1):
        METHODS.add(Method(key="mine", title="M", paper="none", equation="0", objective=one_of_ones_own(sign)))
        ids.append(Trainer("mine", data).id)
        METHODS.remove("mine")
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda data: data.images[3].zero_(), "images or targets"),
        (lambda data: data.test_targets.add_(0) is None or data.test_targets[:2].copy_(data.test_targets[:2].flip(0)),
         "images or targets"),
        (lambda data: data.std.mul_(2.0), "std"),
        (lambda data: setattr(data, "pad", 1), "pad"),
        (lambda data: setattr(data, "class_names", data.class_names[::-1]), "class_names"),
    ],
)  # fmt: skip
def test_a_request_is_named_by_the_data_of_its_moment(edit, what):
    """And says whether they are still the same when training begins."""
    own = digits_lt()
    asked, before = make_request("ce", own), digits_lt()
    asked.check_data(own)
    edit(own)
    assert asked.id == make_request("ce", before).id != make_request("ce", own).id
    assert asked.data_record["fingerprint"] == before.fingerprint
    with pytest.raises(ValueError, match=f"^data: {what} changed after this run was asked for"):
        asked.check_data(own)
    asked.check_data(before)
    own.images.add_(0)  # counted as an edit, and none
    with pytest.raises(ValueError, match=f"^data: {what} changed"):
        asked.check_data(own)


def test_the_network_of_the_parent_is_part_of_the_id(data):
    base = quick(data)
    edited = dataclasses.replace(base, network={name: 0 * value for name, value in base.network.items()})
    assert Trainer("ce", data, start=base).id != Trainer("ce", data, start=edited).id


SAME = {
    "drop of a cosine": [{"drop": 0.5}, {}],
    "momentum of Adam": [{"optimizer": "adam", "momentum": 0.0}, {"optimizer": "adam"}],
    "decay of Adam": [{"optimizer": "adamw", "weight_decay": 0.0}, {"optimizer": "adam", "weight_decay": 0.0}],
    "no warm-up": [{"warmup": 0.0, "warmup_by": "epoch"}, {"warmup": 0.0}],
    "a drop by 1": [{"schedule": "step", "milestones": (m,), "drop": 1.0} for m in (0.3, 0.6)],
    "no frozen backbone": [{"model": "cnn:4", "move_statistics": on} for on in (True, False)],
    "no statistics": [{"move_statistics": on, "method": "crt"} for on in (True, False)],
    "flat images": [{"speed": Speed(channels_last=on, fused=True)} for on in (True, False)],
    "a graph is fused": [{"speed": Speed(graph=True, fused=on)} for on in (True, False)],
    "no cuDNN": [{"model": "cnn:4", "speed": Speed(probe=on)} for on in (True, False)],
}


def changed(data, method="ce", speed=None, **fields):
    recipe = dataclasses.replace(RECIPES["digits"], epochs=2, **fields)
    return train(method, data, recipe=recipe, speed=speed, device="cpu", progress=False)


@pytest.mark.parametrize("name", SAME)
def test_one_result_has_one_id_however_it_is_asked_for(data, name):
    one, two = (changed(data, **change) for change in SAME[name])
    assert one.id == two.id
    np.testing.assert_array_equal(one.logits, two.logits)
    asked = {field: value for field, value in SAME[name][0].items() if field in one.recipe}
    assert {field: one.recipe[field] for field in asked} == asked, "the record keeps what was asked for"


@pytest.mark.parametrize("fields", [
    {"warmup": 0.0, "warmup_by": "images"}, {"warmup": 0.5, "warmup_by": "epoch"}, {"momentum": 0.5},
    {"model": "cnn:4", "method": "crt", "move_statistics": True}, {"optimizer": "adamw"},
    {"model": "cnn:4", "speed": Speed(bf16=True)}, {"schedule": "step", "milestones": (0.6,)}], ids=str)  # fmt: skip
def test_another_result_has_another_id(data, fields):
    """The rules above leave out nothing that has an effect."""
    plain = {name: fields[name] for name in ("method", "model", "warmup") if name in fields}
    one, two = changed(data, **fields), changed(data, **plain)
    assert one.id != two.id and not np.array_equal(one.logits, two.logits)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda run: {"network": {n: v for n, v in run.network.items() if "layers.1.bias" not in n}}, "lacks backbone"),
        (lambda run: {"network": {n: v * np.nan for n, v in run.network.items()}}, "holds NaN"),
        (lambda run: {"network": {n: v.tolist() for n, v in run.network.items()}}, "does not say"),
        (lambda run: {"recipe": {"name": ""}}, "does not say which model"),
    ],
)
def test_a_parent_that_is_not_whole_is_refused(data, change, match):
    base = quick(data, epochs=1)
    with pytest.raises(ValueError, match=f"start: .*{match}"):
        Trainer("ce", data, start=dataclasses.replace(base, **change(base)))


def test_a_head_with_its_classes_on_another_axis_is_not_reordered_by_guess():
    from ltviz.training.build import _rows

    rank = torch.tensor([2, 0, 1])
    assert _rows("head.bias", torch.tensor([0, 1, 2]), rank).tolist() == [2, 0, 1]
    assert _rows("head.scale", torch.tensor(4.0), rank) == 4.0
    assert torch.equal(_rows("head.q", torch.eye(4), rank), torch.eye(4))
    for shape in [(1, 3), (3, 3), (2, 3, 2)]:
        with pytest.raises(ValueError, match="does not say which axis"):
            _rows("head.shift", torch.zeros(shape), rank)


# ---------------------------------------------------------------------------------------------------------------- files
def test_filters_are_checked_and_compared_by_kind(data, tmp_path):
    quick(data, seed=1).save(tmp_path, small=True)
    found = ltviz.load_runs(tmp_path, seed=np.array([0, 1]))
    assert [run.seed for run in found] == [1] and len(ltviz.load_runs(tmp_path, seed=np.int64(1))) == 1
    for wrong in ({"seed": True}, {"seed": "1"}, {"status": "finishd"}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}="):
            ltviz.load_runs(tmp_path, **wrong)


def test_foreign_files_do_not_block_a_folder(data, tmp_path):
    run = quick(data)
    run.save(tmp_path, small=True)
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.warns(UserWarning, match="passed over") as said:
        assert [r.id for r in ltviz.load_runs(tmp_path)] == [run.id]
    assert len(said) == 2 and "Git LFS" in str(said[1].message)


def test_numbers_of_another_byte_order_come_back(data, tmp_path):
    run = quick(data)
    swapped = dataclasses.replace(run, logits=run.logits.astype(">f4"), ece=np.float32(run.ece))
    back = ltviz.load_run(swapped.save(tmp_path))
    np.testing.assert_array_equal(back.logits, run.logits)
    assert back.logits.dtype.isnative and back.ece == np.float32(run.ece)


def test_a_module_with_a_train_of_its_own_is_left_as_it_was():
    class Merges(nn.Linear):
        def train(self, mode=True):
            with torch.no_grad():
                self.weight.add_(0.0 if mode else 1.0)
            return super().train(mode)

    model = nn.Sequential()
    model.add_module("fc", Merges(4, 3))
    weight, state = model.fc.weight.clone(), torch.get_rng_state()
    loader = torch.utils.data.DataLoader([(torch.ones(4), i % 3) for i in range(6)], batch_size=2, shuffle=True)
    ltviz.collect(model, loader, counts=[1] * 3)
    assert torch.equal(model.fc.weight, weight) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "arguments",
    [["ce", "data=1"], ["ce", "method=ce"], ["ce", "epochs"], ["ce", "epochs=1", "--save", "/dev/null/x"]],
    ids=str,
)
def test_the_shell_names_what_is_wrong_before_training(arguments, capsys, monkeypatch):
    from ltviz.commands import main_train

    monkeypatch.setattr(Trainer, "run", lambda *a, **k: pytest.fail("it trained"))
    assert main_train(arguments) == 2 and arguments[-1].partition("=")[0] in capsys.readouterr().err


def test_data_edited_after_a_run_was_asked_for_are_noticed():
    """The id names the data of the moment; what is trained must be those."""
    data = digits_lt(ratio=10, n_max=40, test=10)
    trainer = Trainer("ce", data, epochs=2, device="cpu")
    data.images[0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match="data: images or targets changed after this run was asked for"):
        trainer.run()
    data.images[0, 0, 0, 0] -= 1  # as it was
    assert trainer.run().status == "finished"
    live = LiveRun("ce", data, epochs=2, device="cpu")
    data.targets[0] = 1
    live.start(inline=True)
    assert "images or targets changed" in str(live.error)


class Noisy(Objective):
    """Cross-entropy that adds noise from the second epoch on, and draws before each epoch."""

    def __init__(self, counts):
        super().__init__(counts)
        self.late, self.drawn = False, 0.0

    def begin_epoch(self, report):
        self.late, self.drawn = report.epoch > 0, float(torch.rand(()))

    def losses(self, out, targets):
        noise = torch.rand(len(targets)) + self.drawn if self.late else 1.0
        return noise * F.cross_entropy(out.logits, targets, reduction="none")


def test_a_loss_of_ones_own_draws_from_the_run_whenever_it_draws():
    data, runs = digits_lt(ratio=10, n_max=40, test=10), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        runs.append(train(Noisy, data, epochs=3, device="cpu", progress=False))
        assert torch.equal(torch.get_rng_state(), before)
    assert runs[0].id == runs[1].id
    np.testing.assert_array_equal(runs[0].logits, runs[1].logits)


def test_a_run_does_not_go_on_after_an_error_within_an_epoch():
    failing = [True]

    def breaks(logits, targets):
        if failing and len(targets) < 64:  # the last batch of an epoch
            failing.pop()
            raise ArithmeticError("once")
        return F.cross_entropy(logits, targets)

    trainer = Trainer(breaks, digits_lt(ratio=10, n_max=40, test=10), epochs=2, device="cpu")
    with pytest.raises(ValueError, match="ArithmeticError: once"):
        trainer.run()
    with pytest.raises(RuntimeError, match="was stopped within an epoch"):
        trainer.run()
