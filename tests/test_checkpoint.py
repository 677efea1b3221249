"""Checkpoints: what is in one, that each part of it is read back, and what is no checkpoint of this run."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from ltviz import files
from ltviz.datasets import digits_lt
from ltviz.device import Speed
from ltviz.run import RunFileError
from ltviz.training import RECIPES, RunControl, Trainer
from ltviz.training import checkpoint as checkpoints


@pytest.fixture(scope="module")
def data():
    return dataclasses.replace(digits_lt(), pad=1, flip=True)


def stopped(data, file, method="ce", epochs=4, after=2, **more):
    """A trainer whose checkpoint after some epochs is in the file."""
    trainer = Trainer(method, data, epochs=epochs, checkpoint=file, **more)
    for _ in range(after):
        trainer.run_epoch()
    assert checkpoints.write(trainer) is True
    return trainer


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.safetensors"


# ------------------------------------------------------------------------------------------------------ what is written
def test_a_checkpoint_holds_all_that_a_run_needs(data, file):
    trainer = stopped(data, file)
    meta, arrays = files.read_record(file, "checkpoint")
    assert meta == {"id": trainer.id, "epoch": 2, "stage": 0, "seconds": trainer.seconds} and trainer.seconds > 0
    expected = {f"net/{name}": value.numpy() for name, value in trainer.net.state_dict().items()}
    expected |= {f"objective/{name}": value.numpy() for name, value in trainer.objective.state_dict().items()}
    expected |= {f"generator/{name}": g.get_state().numpy() for name, g in trainer.generators.items()}
    expected |= {f"history/{name}": value for name, value in trainer.history.items()}
    momenta = [trainer.optimizer.state[parameter]["momentum_buffer"] for parameter in trainer.trained]
    expected |= {f"optimizer/{i}/momentum_buffer": value.numpy() for i, value in enumerate(momenta)}
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)


def test_an_array_is_a_copy_that_training_does_not_touch():
    tensor = torch.zeros(3)
    array = checkpoints.to_array(tensor)
    tensor.fill_(1)
    assert array.tolist() == [0, 0, 0]


# --------------------------------------------------------------------------------------------------------- what is read
def equal(a, b):
    """Two trainers stand at the same place: all that decides their next step is equal."""
    for one, other in ((a.net.state_dict(), b.net.state_dict()), (a.objective.state_dict(), b.objective.state_dict())):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(g.get_state(), b.generators[name].get_state()) for name, g in a.generators.items())
    for one, other in zip(a.trained, b.trained, strict=True):
        states = a.optimizer.state[one], b.optimizer.state[other]
        assert states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][name]))
    assert (a.epoch, a.stage, a.frozen, a.seconds) == (b.epoch, b.stage, b.frozen, b.seconds)
    assert a.objective.weight_writer == b.objective.weight_writer
    assert (a.accuracy is None) == (b.accuracy is None) and (a.accuracy is None or torch.equal(a.accuracy, b.accuracy))
    assert a.history.keys() == b.history.keys() and len(a.rows) == len(b.rows)
    for name, values in a.history.items():
        np.testing.assert_array_equal(values, b.history[name])


@pytest.mark.parametrize(
    ("method", "after", "more"),
    [
        ("ce", 1, {}), ("ce", 4, {"model": "cnn:4"}), ("cdb", 2, {}), ("ring", 1, {}), ("seesaw", 2, {}),
        ("crt", 2, {}), ("crt", 3, {}), ("ldam_drw", 4, {}), ("fslwf", 3, {}), ("oltr", 3, {}), ("equalization", 2, {}),
        ("ce", 2, {"recipe": dataclasses.replace(RECIPES["digits"], optimizer="adamw", lr=1e-3)}),
        ("ce", 2, {"recipe": dataclasses.replace(RECIPES["digits"], momentum=0.0)}),
    ],
)  # fmt: skip
def test_a_trainer_stands_where_the_other_stopped(data, file, method, after, more):
    first = stopped(data, file, method, after=after, **more)
    again = Trainer(method, data, epochs=4, checkpoint=file, **more)
    equal(first, again)
    assert again.done == (after == 4)
    if not again.done:
        rows = first.run_epoch(), again.run_epoch()
        assert all(np.array_equal(rows[0][name], rows[1][name], equal_nan=True) for name in rows[0])


def test_the_weight_that_a_stage_has_written_is_the_stages(data, file):
    """After reading, as without: the next stage may write it again, and nobody else."""
    first = stopped(data, file, "ldam_drw", after=4)
    again = Trainer("ldam_drw", data, epochs=4, checkpoint=file)
    assert first.objective.weight_writer == again.objective.weight_writer == "stage"
    with pytest.raises(ValueError, match="already set by the stage"):
        again.objective.set_class_weight(torch.ones(10))


def test_without_validation_images_there_is_no_accuracy(file):
    none = digits_lt(validation=0)
    equal(stopped(none, file), again := Trainer("ce", none, epochs=4, checkpoint=file))
    assert again.accuracy is None


# ------------------------------------------------------------------------------------------------ what is no checkpoint
def change(file, meta=None, drop=(), **arrays):
    old, values = files.read_record(file, "checkpoint")
    kept = {name: value for name, value in {**values, **arrays}.items() if name not in drop}
    files.save_record(file, "checkpoint", {name: v for name, v in {**old, **(meta or {})}.items() if v != "drop"}, kept)


@pytest.mark.parametrize(
    "meta",
    [{"epoch": 0}, {"epoch": -1}, {"epoch": 5}, {"epoch": 1}, {"epoch": "x"}, {"epoch": None}, {"epoch": "drop"},
     {"stage": -1}, {"stage": 1}, {"stage": "drop"}, {"seconds": "x"}, {"seconds": "drop"}],
    ids=str,
)  # fmt: skip
def test_a_description_that_makes_no_sense_is_refused(data, file, meta):
    stopped(data, file)
    change(file, meta)
    with pytest.raises(RunFileError, match=r"a.safetensors: not a whole checkpoint .*Delete it to start the run anew"):
        Trainer("ce", data, epochs=4, checkpoint=file)


def test_a_checkpoint_of_no_epoch_is_none(file):
    """Without validation images too, where no last accuracy is looked for."""
    none = digits_lt(validation=0)
    stopped(none, file)
    empty = {name: v[:0] for name, v in files.read_record(file, "checkpoint")[1].items() if name.startswith("history/")}
    change(file, {"epoch": 0}, **empty)
    with pytest.raises(RunFileError, match=r"not a whole checkpoint \(epoch 0, stage 0\)"):
        Trainer("ce", none, epochs=4, checkpoint=file)


def test_momenta_lie_in_memory_as_their_parameters_do(data, file):
    more = {"model": "cnn:4", "device": "cpu", "speed": Speed(channels_last=True, fused=True)}
    stopped(data, file, **more)
    again = Trainer("ce", data, epochs=4, checkpoint=file, **more)
    weights = [parameter for parameter in again.trained if parameter.dim() == 4]
    assert weights and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    for weight in weights:
        assert again.optimizer.state[weight]["momentum_buffer"].stride() == weight.stride()


@pytest.mark.parametrize("id", ["0" * 12, None, "drop"])
def test_another_runs_checkpoint_is_refused(data, file, id):
    own = stopped(data, file).id
    change(file, {"id": id})
    with pytest.raises(RunFileError, match=f"a checkpoint of another run .*this one is {own}"):
        Trainer("ce", data, epochs=4, checkpoint=file)


@pytest.mark.parametrize("name", [f"history/{name}" for name in checkpoints.HISTORY])
def test_a_history_is_whole(data, file, name):
    stopped(data, file)
    whole = files.read_record(file, "checkpoint")[1]
    for value in (None, whole[name][:1], np.concatenate([whole[name]] * 2)):
        change(file, drop=[name] if value is None else [], **({name: value} if value is not None else whole))
        with pytest.raises(RunFileError, match="the history has not 2 rows of epoch, stage, lr, loss, weight_norm"):
            Trainer("ce", data, epochs=4, checkpoint=file)
        files.save_record(file, "checkpoint", files.read_record(file, "checkpoint")[0], whole)


@pytest.mark.parametrize(
    "arrays",
    [{"optimizer/6/momentum_buffer": np.zeros(3, np.float32)}, {"optimizer/x/momentum_buffer": np.zeros(3)},
     {"optimizer/0/momentum_buffer": np.zeros(3, np.float32)}, {"generator/more": np.zeros(3, np.uint8)},
     {"net/more": np.zeros(3)}, {"objective/more": np.zeros(3)}],
    ids=str,
)  # fmt: skip
def test_arrays_that_belong_nowhere_are_refused(data, file, arrays):
    stopped(data, file)
    change(file, **arrays)
    with pytest.raises(RunFileError, match="not a whole checkpoint"):
        Trainer("ce", data, epochs=4, checkpoint=file)


@pytest.mark.parametrize("group", ["net/", "objective/", "generator/"])
def test_every_array_of_the_state_is_needed(data, file, group):
    stopped(data, file)
    meta, whole = files.read_record(file, "checkpoint")
    for name in [name for name in whole if name.startswith(group)]:
        files.save_record(file, "checkpoint", meta, {n: v for n, v in whole.items() if n != name})
        with pytest.raises(RunFileError, match="not a whole checkpoint"):
            Trainer("ce", data, epochs=4, checkpoint=file)


# ----------------------------------------------------------------------------------------------------------- load_state
def test_a_state_is_copied_in_place_or_not_at_all():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    places = {name: value.data_ptr() for name, value in module.state_dict().items()}
    state = {name: torch.full_like(value, 2) for name, value in module.state_dict().items()}
    checkpoints.load_state(module, state)
    assert all((value == 2).all() and places[name] == value.data_ptr() for name, value in module.state_dict().items())
    state["0.weight"].fill_(3)
    assert (module[0].weight == 2).all(), "a copy"
    for wrong, words in [
        ({"0.bias": torch.ones(1)}, r"0.bias is torch.float32 \(1,\), expected torch.float32 \(3,\)"),
        ({"1.num_batches_tracked": torch.tensor(1.0)}, r"is torch.float32 \(\), expected torch.int64 \(\)"),
        ({"more": torch.ones(1)}, r"it lacks \[\], and has \['more'\]"),
    ]:
        with pytest.raises(ValueError, match=words):
            checkpoints.load_state(module, {**{name: torch.zeros_like(v) for name, v in state.items()}, **wrong})
        assert (module[0].weight == 2).all(), "nothing was changed"
    with pytest.raises(ValueError, match=r"it lacks \['0.bias'\], and has \[\]"):
        checkpoints.load_state(module, {name: value for name, value in state.items() if name != "0.bias"})


# -------------------------------------------------------------------------------------------------------------- stopped
def stop_at(control, number):
    """Asks to stop at a certain look, as Ctrl-C does within an epoch."""
    looks = []
    check = control.check

    def look():
        looks.append(1)
        if len(looks) == number:
            control.stop()
        check()

    control.check = look
    return control


def test_a_stop_within_an_epoch_leaves_the_end_of_the_last_whole_one(data, file):
    whole = Trainer("ce", data, epochs=4).run()
    steps = len(Trainer("ce", data, epochs=4).begin_epoch().batches)
    first = Trainer("ce", data, epochs=4, checkpoint=file)
    run = first.run(stop_at(RunControl(), 2 * steps + 3))
    assert run.status == "stopped" and len(run.history["epoch"]) == 2 and file.exists()
    again = Trainer("ce", data, epochs=4, checkpoint=file)
    assert again.epoch == 2
    resumed = again.run()
    np.testing.assert_array_equal(resumed.logits, whole.logits)
    assert resumed.id == whole.id


def test_a_stop_within_the_first_epoch_leaves_nothing(data, file):
    assert Trainer("ce", data, epochs=4, checkpoint=file).run(stop_at(RunControl(), 3)).status == "stopped"
    assert not file.exists()


def test_a_callback_that_ends_training_leaves_the_end_of_its_epoch(data, file):
    whole, told = Trainer("ce", data, epochs=4).run(), []
    run = Trainer("ce", data, epochs=4, checkpoint=file, callbacks=lambda epoch, row, net: epoch == 2).run()
    assert run.status == "stopped" and len(run.history["epoch"]) == 3
    resumed = Trainer("ce", data, epochs=4, checkpoint=file, callbacks=lambda epoch, *rest: told.append(epoch)).run()
    assert told == [3]
    np.testing.assert_array_equal(resumed.logits, whole.logits)


def test_an_error_leaves_it_too(data, file):
    def fail(epoch, row, network):
        if epoch == 1:
            raise ValueError("mine")

    with pytest.raises(RuntimeError, match="callbacks: fail failed after epoch 1"):
        Trainer("ce", data, epochs=4, checkpoint=file, callbacks=fail).run()
    assert Trainer("ce", data, epochs=4, checkpoint=file).epoch == 2


# ----------------------------------------------------------------------------------------------------- before and after
def test_left_overs_go_before_training(data, file, monkeypatch):
    left = file.with_name(f"{files._prefix(file)}{files._HOST}-111-0123abcd.tmp")
    left.touch()
    monkeypatch.setattr("ltviz.files.is_alive", lambda pid: False)
    Trainer("ce", data, epochs=4, checkpoint=file)
    assert list(file.parent.iterdir()) == []


def test_a_checkpoint_that_could_not_be_written_is_said(data, file, monkeypatch):
    trainer = stopped(data, file)
    before = file.read_bytes()
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.warns(RuntimeWarning, match="a.safetensors could not be written .No space left.*tries again"):
        assert checkpoints.write(trainer) is False
    assert file.read_bytes() == before
