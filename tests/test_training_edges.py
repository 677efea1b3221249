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
from ltviz.objective import METHODS, Method, Objective
from ltviz.training import RECIPES, Control, LiveRun, Trainer, sweep, train

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
        with pytest.raises(ArithmeticError, match="on purpose") as caught:
            sweep(["ce", "fails"], digits_lt(), seeds=1, epochs=1, folder=tmp_path, progress=False)
    finally:
        METHODS.remove("fails")
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
    control, trainer = Control(), Trainer("ce", data, epochs=5)
    assert trainer.run(control, lambda trainer: control.stop()).status == "stopped"
    with pytest.raises(RuntimeError, match="stopped within an epoch.*start= from its run"):
        trainer.run()


# -------------------------------------------------------------------------------------------------- the caller's torch
@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)], ids=str
)
def test_the_callers_contexts_change_nothing(data, context):
    plain = quick(data, model="cnn")
    with context():
        inside = quick(data, model="cnn")
    np.testing.assert_array_equal(plain.logits, inside.logits)


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


def test_the_network_of_the_parent_is_part_of_the_id(data):
    base = quick(data)
    edited = dataclasses.replace(base, network={name: 0 * value for name, value in base.network.items()})
    assert Trainer("ce", data, start=base).id != Trainer("ce", data, start=edited).id


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
    from ltviz.training.loop import _rows

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
    ltviz.collect(model, loader)
    assert torch.equal(model.fc.weight, weight) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "arguments",
    [["ce", "data=1"], ["ce", "method=ce"], ["ce", "epochs"], ["ce", "epochs=1", "--save", "/dev/null/x"]],
    ids=str,
)
def test_the_shell_names_what_is_wrong_before_training(arguments, capsys, monkeypatch):
    from ltviz.record import main_train

    monkeypatch.setattr(Trainer, "run", lambda *a, **k: pytest.fail("it trained"))
    assert main_train(arguments) == 2 and arguments[-1].partition("=")[0] in capsys.readouterr().err
