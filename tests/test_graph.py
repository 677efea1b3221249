"""ltviz.graph and the fast paths of the loop: what a graph replays is what every call would have computed.

Here graphs are those of tests/standin.py, which need no GPU; the tests at the end take the real ones.
"""

import contextlib
import copy
import dataclasses
import gc
import math
import threading
import warnings

import numpy as np
import pytest
import torch
from battery import make_case, stage_numbers, variants
from standin import Graph, StandIn, install
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ltviz import graph as graph_module
from ltviz import many
from ltviz.datasets import digits_lt
from ltviz.device import PLAIN, Speed, default_speed
from ltviz.graph import Captured
from ltviz.methods import METHODS
from ltviz.objective import Objective, Output
from ltviz.training import RECIPES, Recipe, RunControl, Stopped, Trainer, train
from tools.benchmark.measure import never_waiting, synthetic

FAST = Speed(channels_last=True, fused=True)
CPU = torch.device("cpu")


@pytest.fixture
def standin(monkeypatch):
    yield from install(monkeypatch)


@pytest.fixture
def early(monkeypatch):
    """Capture at the second call, so that short runs replay."""
    monkeypatch.setattr(Captured, "WARM", 1)


@pytest.fixture(scope="module")
def digits():
    """An epoch is two steps of 64 images and one of 31."""
    return digits_lt(ratio=10, n_max=40, test=10)


@pytest.fixture(scope="module")
def noise():
    """16 x 16 noise in four classes, with crops and flips; an epoch is two steps of 32 images and one of 14."""
    return synthetic([40, 20, 12, 6], 16, validation=12)


def small(model: str, **changes) -> Recipe:
    """Steps of 32 images of noise, at a rate at which rounding does not grow within 20 steps."""
    return dataclasses.replace(RECIPES["cao2019"], model=model, batch_size=32, lr=0.003, clip=1.0, **changes)


# ---------------------------------------------------------------------------------------------------- one captured work
class Sum:
    """total += 2 x, and how often Python was run."""

    def __init__(self):
        self.total, self.calls = torch.zeros(()), 0

    def __call__(self, x: Tensor) -> None:
        self.calls += 1
        self.total.add_((2.0 * x).sum())


def test_the_first_calls_are_real_and_the_next_ones_replay(standin):
    work = Sum()
    captured = Captured(work, (), standin.stream)
    for n in range(1, 8):
        captured(torch.ones(3))
        assert float(work.total) == 6.0 * n  # every call counts once, that of the capture too
        assert work.calls == min(n, Captured.WARM + 1)
    assert [graph.replays for graph in standin.graphs] == [7 - Captured.WARM]
    asked = standin.graphs[0].asked
    assert asked == {"pool": None, "stream": standin.stream, "capture_error_mode": "thread_local"}


def test_without_a_stream_every_call_is_a_plain_one(standin):
    work = Sum()
    captured = Captured(work)
    for _ in range(6):
        captured(torch.ones(3))
    assert work.calls == 6 and not standin.graphs


def test_inputs_are_copied_at_each_call(standin):
    work = Sum()
    captured, given = Captured(work, (), standin.stream), [torch.full((2,), float(n)) for n in range(6)]
    for x in given:
        captured(x)
        x.fill_(100.0)  # whoever called owns it
    assert float(work.total) == 4.0 * sum(range(6))


def test_each_shape_has_a_graph_and_all_share_the_first_ones_memory(standin):
    work = Sum()
    captured = Captured(work, (), standin.stream)
    for n in range(1, 9):
        captured(torch.ones(5))
        captured(torch.ones(2))
        assert float(work.total) == 14.0 * n
    first, second = standin.graphs
    assert work.calls == 2 * (Captured.WARM + 1)
    assert first.asked["pool"] is None and second.asked["pool"] is first.pool()
    captured.reset()
    for _ in range(Captured.WARM + 1):
        captured(torch.ones(5))
    assert len(standin.graphs) == 3 and standin.graphs[2].asked["pool"] is None
    assert float(work.total) == 14.0 * 8 + 10.0 * (Captured.WARM + 1)


def test_draws_go_on_as_those_of_calls_would(standin):
    def work() -> None:
        drawn.copy_(torch.rand(4, generator=generator))

    drawn, generator, twin = torch.zeros(4), torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    captured = Captured(work, (generator,), standin.stream)
    for n in range(8):
        captured()
        torch.testing.assert_close(drawn, torch.rand(4, generator=twin), rtol=0, atol=0)
        if n == 5:  # a draw between two replays
            assert torch.equal(torch.rand(2, generator=generator), torch.rand(2, generator=twin))
    assert standin.graphs[0].replays == 8 - Captured.WARM
    assert [g is generator for g in standin.graphs[0].registered] == [True]


def test_later_torch_finds_the_generators_by_itself(standin, monkeypatch):
    """There, registering does nothing and says so each time."""
    monkeypatch.setattr(graph_module, "REGISTERS", False)
    generator, twin, drawn = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3), torch.zeros(4)
    captured = Captured(lambda: drawn.copy_(torch.rand(4, generator=generator)), (generator,), standin.stream)
    for _ in range(6):
        captured()
        assert torch.equal(drawn, torch.rand(4, generator=twin))
    assert standin.graphs[0].replays == 3 and not standin.graphs[0].registered


def test_the_reason_is_that_of_the_capture(standin):
    """Not an error that the caller is just dealing with, nor one that the work has dealt with."""

    def work() -> None:
        try:
            raise KeyError("dealt with")
        except KeyError:
            torch.rand(3, generator=stranger)

    stranger = torch.Generator()
    captured = Captured(work, (), standin.stream)
    try:
        raise OSError("of the caller")
    except OSError:
        with pytest.warns(RuntimeWarning, match="cannot be captured"):
            for _ in range(5):
                captured()
    assert captured.reason.startswith("Refused: Attempt to increase offset")


REFUSED = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).all()),
    "float": lambda x: float(x[0]),
    "mask": lambda x: x[x > 0.5],
    "masked write": lambda x: x.__setitem__(x > 0.5, x.clone()),
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: torch.bincount(x.long()),
    "repeat": lambda x: torch.repeat_interleave(x.long()),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.numpy(),
    "list": lambda x: x.tolist(),
    "from Python": lambda x: x + torch.tensor([1.0]),
    "another generator": lambda x: torch.rand(3, generator=torch.Generator()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_captured_is_called_as_it_is(standin, name):
    """Every call counts once, one warning says why, and what waits for the device is never captured."""

    def work(x: Tensor) -> None:
        total.add_(x.sum())
        REFUSED[name](x.clone())

    total, waits = torch.zeros(()), name != "another generator"
    captured = Captured(work, (), standin.stream)
    with pytest.warns(RuntimeWarning, match="cannot be captured as a CUDA graph") as caught:
        for _ in range(Captured.WARM + 1):
            captured(torch.ones(3))
    assert float(total) == 3.0 * (Captured.WARM + 1)
    assert len(caught) == 1 and captured.reason in str(caught[0].message)
    assert captured.reason.startswith("it waits for the device: called a synch" if waits else "Refused: Attempt to")
    assert "previous error" not in captured.reason  # the first error says why, not that of ending the capture
    for _ in range(5):
        captured(torch.ones(3))
        captured(torch.ones(4))
    assert float(total) == 3.0 * (Captured.WARM + 6) + 4.0 * 5
    assert [graph.replays for graph in standin.graphs] == ([] if waits else [0])


def test_what_another_thread_waits_for_does_not_count(standin, monkeypatch):
    """torch warns for the whole process; another cell may be reading a result at that moment."""

    def work() -> None:
        other = threading.Thread(target=warnings.warn, args=("called a synchronizing CUDA operation",))
        other.start()
        other.join()
        total.add_(1.0)

    total = torch.zeros(())
    with graph_module.noticing_waits() as waits:
        work()
    assert waits == []
    with graph_module.noticing_waits() as waits:
        total.item()
    assert len(waits) == 1 and "_local_scalar_dense" in waits[0]
    with graph_module.noticing_waits() as waits, pytest.warns(UserWarning, match="of the work"):
        warnings.warn("of the work itself", stacklevel=1)
    assert waits == [] and torch.cuda.get_sync_debug_mode() == 0


def test_after_a_broken_capture_the_generators_have_a_state_outside_it(standin, monkeypatch):
    """CUDA may leave a generator inside a capture that never ended; the next draw would then raise."""

    class Generator:
        def __init__(self, state="own"):
            self.device, self.state = torch.device("cuda"), state

        def clone_state(self):
            return Generator("copy of " + self.state)

        def graphsafe_set_state(self, other):
            self.state = other.state

    def work():
        calls.append(captured.reason)
        if standin.graphs and captured.reason is None:
            ours.state = default.state = "in a capture"
            raise ValueError("not now")

    ours, default, calls = Generator(), Generator("default"), []
    monkeypatch.setattr(torch.cuda, "default_generators", (default,))
    captured = Captured(work, (ours,), standin.stream)
    for _ in range(Captured.WARM):
        captured()
    with pytest.warns(RuntimeWarning, match="ValueError: not now"):
        captured()
    assert (ours.state, default.state) == ("copy of own", "copy of default")
    assert calls == [None] * (Captured.WARM + 1) + ["ValueError: not now"]


def test_one_capture_at_a_time_and_no_garbage_collection_inside(standin, early):
    inside, most, gate = [], [], threading.Barrier(2, timeout=10)

    def work() -> None:
        if graph_module._CAPTURING.locked():
            inside.append(1)
            most.append(len(inside))
            total.add_(1)
            inside.pop()

    def run() -> None:
        captured = Captured(work, (), standin.stream)
        captured()
        gate.wait()
        captured()

    total = torch.zeros(())
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [graph.collecting for graph in standin.graphs] == [False, False] and gc.isenabled()
    assert set(most) == {1}


# ----------------------------------------------------------------------------------------------- the stand-in is strict
def captured_by(standin: StandIn, work, *inputs: Tensor) -> Graph:
    captured = Captured(work, (), standin.stream)
    for _ in range(Captured.WARM + 1):
        captured(*inputs)
    assert captured.reason is None
    return standin.graphs[-1]


def test_a_buffer_bound_anew_is_noticed(standin):
    state = {"x": torch.ones(3)}
    total = torch.zeros(())
    graph = captured_by(standin, lambda: total.add_(state["x"].sum()))
    graph.replay()
    state["x"] = torch.zeros(3)  # nobody holds the first one any more
    with pytest.raises(AssertionError, match="memory that has been freed"):
        graph.replay()


def test_a_number_of_pythons_is_that_of_the_capture(standin):
    factor, total = [1.0], torch.zeros(())
    graph = captured_by(standin, lambda: total.add_(factor[0]))
    factor[0] = 100.0
    total.zero_()
    graph.replay()
    assert float(total) == 1.0


def test_a_capture_computes_nothing_and_a_replay_everything(standin):
    """Forward, backward with batch norm, clipping and a fused step, against the same by call."""

    def make():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
        rate = torch.tensor(0.1)
        optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, fused=True)

        def work(x: Tensor) -> None:
            for parameter in net.parameters():
                parameter.grad = None
            net(x).square().mean().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()

        return net, rate, work

    (net, rate, work), (twin, twin_rate, plain) = make(), make()
    captured, x = Captured(work, (), standin.stream), torch.randn(5, 3, 6, 6)
    places = [value.data_ptr() for value in net.state_dict().values()]
    for n in range(8):
        rate.fill_(0.1 / (n + 1))
        twin_rate.fill_(0.1 / (n + 1))
        captured(x + n)
        plain(x + n)
        for ours, theirs in zip(net.state_dict().values(), twin.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)
    assert standin.graphs[0].replays == 5
    assert places == [value.data_ptr() for value in net.state_dict().values()]


# ---------------------------------------------------------------------------------------------------- whole runs, equal
def same_run(standin: StandIn, method: str, data, *, epochs: int, **arguments) -> Trainer:
    """Run with graphs and by call: equal bit for bit, each stage replayed, all that is kept where it was."""
    eager = standin.trainer(method, data, epochs=epochs, graph=False, **arguments)
    ours = standin.trainer(method, data, epochs=epochs, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while not ours.done:
            before, made = dict(_kept(ours)) if ours.stage >= 0 else {}, ours.stage
            rows = ours.run_epoch(), eager.run_epoch()
            for name in rows[1]:
                np.testing.assert_array_equal(rows[0][name], rows[1][name], err_msg=f"{name}, epoch {ours.epoch}")
            if made == ours.stage:
                moved = [name for name, place in before.items() if _kept(ours).get(name) != place]
                assert not moved, f"{moved} lie elsewhere than before the epoch"
            if ours.done or ours.starts[ours.stage + 1 :][:1] == (ours.epoch,):
                shapes = {len(batch) for batch in _batches(ours)}
                assert {shape[0][0] for shape in ours.step._graphs} == shapes and ours.validate._graphs
    assert ours.step.reason is None and ours.validate.reason is None
    for mine, theirs in ((ours.net, eager.net), (ours.objective, eager.objective)):
        for (name, value), other in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert torch.equal(value, other), name
    for name, generator in ours.generators.items():
        assert torch.equal(generator.get_state(), eager.generators[name].get_state()), name
    assert all(graph.replays for graph in standin.graphs)
    pools = {memory.data_ptr() for graph in standin.graphs for memory in graph.tape.made.values()}
    inside = [name for name, place in _kept(ours).items() if place in pools]
    assert not inside, f"{inside} were made in a capture: another graph may use that memory, too"
    return ours


def _kept(trainer: Trainer) -> dict[str, int]:
    """Where everything lies that a step changes."""
    tensors = {f"net.{n}": v for n, v in trainer.net.state_dict().items()}
    tensors |= {f"objective.{n}": v for n, v in trainer.objective.state_dict().items()}
    tensors |= {f"tally.{n}": v for n, v in trainer.tally.terms.items()}
    for i, parameter in enumerate(trainer.trained):
        tensors |= {f"optimizer.{i}.{n}": v for n, v in trainer.optimizer.state[parameter].items()}
    return {name: v.data_ptr() for name, v in tensors.items() if isinstance(v, Tensor)}


def _batches(trainer: Trainer) -> tuple[Tensor, ...]:
    return torch.arange(len(trainer.data)).split(trainer.recipe.batch_size)


def epochs_of(method, settings: dict) -> int:
    """As many as it takes for the shortest stage to warm up, capture and replay."""
    return max(4, math.ceil(3 / min(stage.share for stage in method(**settings).stages)))


RUNS = [
    pytest.param(method, settings, id=f"{key}-{name}")
    for key, method in METHODS.items()
    for name, settings in variants(method)
    if name not in ("middle", "last choices")
]


@pytest.mark.parametrize("method, settings", RUNS)
def test_every_method_gives_the_same_run_with_graphs(standin, early, digits, method, settings):
    same_run(standin, method.key, digits, epochs=epochs_of(method, settings), **settings)


@pytest.mark.parametrize("method, model", [("equalization", "cnn:4"), ("ldam_drw", "cnn:4"), ("crt", "cnn:4"),
                                           ("fslwf", "cnn:4"), ("ce", "resnet8:4")])  # fmt: skip
def test_convolutions_and_crops_give_the_same_run_with_graphs(standin, early, noise, method, model):
    epochs = epochs_of(METHODS[method], {})
    ours = same_run(standin, method, noise, epochs=epochs, model=model, recipe=small(model))
    crops = ours.generators["crops"]
    assert crops in standin.graphs[0].registered
    untouched = Trainer(method, noise, device="cpu", recipe=small(model)).generators["crops"]
    assert not torch.equal(crops.get_state(), untouched.get_state())


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "lr": 1e-3},
        {"optimizer": "adamw", "lr": 1e-3},
        {"momentum": 0.0, "clip": None},
        {"schedule": "step", "milestones": (0.5,)},
    ],
)
def test_every_optimiser_and_schedule_gives_the_same_run_with_graphs(standin, early, digits, changes):
    recipe = dataclasses.replace(RECIPES["digits"], **changes)
    for speed in (Speed(fused=True, graph=True), Speed(graph=True)):
        same_run(standin, "ring", digits, epochs=5, recipe=recipe, speed=speed)


@pytest.mark.parametrize("method", ["ce", "crt"])
def test_bfloat16_gives_the_same_run_with_graphs(standin, early, digits, method):
    """Autocast keeps cast weights for one forward; kept any longer, a replay would not cast those of its own step."""
    same_run(standin, method, digits, epochs=8, speed=Speed(bf16=True, fused=True, graph=True))


@pytest.mark.parametrize("method, settings", RUNS)
def test_every_tensor_of_a_loss_moves_to_the_device(method, settings):
    """Head, loss and hooks on a device that only exists as shapes: a tensor left on the CPU would be an error."""
    for stage in stage_numbers(method, settings):
        case = make_case(method, settings, stage=stage, dtype=torch.float32)
        with FakeTensorMode():
            for module in (*case.objective.modules(), *case.head.modules()):
                for name, p in module._parameters.items():
                    module._parameters[name] = None if p is None else nn.Parameter(_on_a_gpu(p), p.requires_grad)
                for name, buffer in module._buffers.items():
                    module._buffers[name] = None if buffer is None else _on_a_gpu(buffer)
            case.features, case.targets, case.index = map(_on_a_gpu, (case.features, case.targets, case.index))
            case.blend = None if case.blend is None else tuple(map(_on_a_gpu, case.blend))
            out = case.output()
            terms = case.objective.terms(out, case.targets)
            with torch.no_grad():
                case.objective.after_step(out, case.targets)
        assert {value.device.type for value in terms.values()} == {"cuda"}


def _on_a_gpu(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


# ----------------------------------------------------------------------------------------------- the loop around graphs
def test_a_default_run_warms_up_for_three_calls_of_each_shape(standin, digits):
    ours = standin.trainer("ce", digits, epochs=6)
    made = []
    while not ours.done:
        ours.run_epoch()
        made.append((len(ours.step._graphs), len(ours.validate._graphs)))
    # two large steps an epoch and a small one: the fourth large one is in epoch 2, the fourth small one in epoch 4
    assert made == [(0, 0), (1, 0), (1, 0), (2, 1), (2, 1), (2, 1)]


def test_the_learning_rate_reaches_the_graph(standin, early, digits):
    ours = standin.trainer("ce", digits, epochs=3)
    ours.run_epoch()
    ours.run_epoch()
    epoch = ours.begin_epoch()
    epoch.rates = [0.0] * len(epoch.rates)
    before = [p.clone() for p in ours.trained]
    for _ in ours.steps(epoch):
        assert all(torch.equal(a, b) for a, b in zip(before, ours.trained, strict=True))
    epoch.rates = [0.3] * len(epoch.rates)
    for _ in ours.steps(epoch):
        assert not any(torch.equal(a, b) for a, b in zip(before, ours.trained, strict=True))
    assert len(standin.graphs) == 3 and ours.step.reason is None


def test_deferred_weights_need_no_new_graph(standin, early, digits):
    ours = standin.trainer("ce_drw", digits, epochs=10)
    weights, made = [], []
    while not ours.done:
        ours.run_epoch()
        weights.append(ours.objective.class_weight.clone())
        made.append(len(standin.graphs))
    assert ours.stage == 1 and not torch.equal(weights[0], weights[-1])
    assert made[2:] == [3] * 8  # two shapes of a step and the validation


def test_a_stage_with_new_parameters_is_captured_anew(standin, early, digits):
    ours = standin.trainer("crt", digits, epochs=8)
    made = {}
    while not ours.done:
        ours.run_epoch()
        made[ours.stage] = len(standin.graphs)
    assert ours.stage == 1 and made[1] == 2 * made[0] == 6
    assert standin.graphs[made[0]].asked["pool"] is None  # the memory of the graphs that are gone is not shared


class Stops(RunControl):
    """Pressed at the n-th step."""

    def __init__(self, at: int):
        super().__init__()
        self.at, self.seen = at, 0

    def check(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.stop()
        super().check()


def test_stop_between_replays_keeps_what_was_learned(standin, early, digits):
    ours, eager = (standin.trainer("ce", digits, epochs=9, graph=graph) for graph in (True, False))
    runs = [trainer.run(Stops(17)) for trainer in (ours, eager)]
    assert [run.status for run in runs] == ["stopped", "stopped"] and standin.graphs[0].replays > 5
    for name, value in runs[0].network.items():
        np.testing.assert_array_equal(value, runs[1].network[name])


def test_pause_holds_between_replays(standin, early, digits):
    ours, control = standin.trainer("ce", digits, epochs=40), RunControl()
    for _ in range(3):
        ours.run_epoch()
    control.pause()
    thread = threading.Thread(target=ours.run, args=(control,))
    thread.start()
    replays = [graph.replays for graph in standin.graphs]
    thread.join(0.2)
    assert thread.is_alive() and [graph.replays for graph in standin.graphs] == replays
    control.resume()
    thread.join(30)
    assert not thread.is_alive() and ours.done and standin.graphs[0].replays > replays[0]


@pytest.mark.parametrize("method, epochs", [("equalization", 8), ("ldam_drw", 10), ("crt", 10)])
def test_a_resumed_run_equals_an_uninterrupted_one(standin, early, digits, tmp_path, method, epochs):
    whole = standin.trainer(method, digits, epochs=epochs).run()
    path = tmp_path / "run.safetensors"
    first = standin.trainer(method, digits, epochs=epochs, checkpoint=path)
    for _ in range(epochs - 3):
        first.run_epoch()
    first.save_checkpoint()
    second = standin.trainer(method, digits, epochs=epochs, checkpoint=path)
    made = len(standin.graphs)
    assert second.epoch == epochs - 3
    run = second.run()
    assert len(standin.graphs) > made and second.step.reason is None
    for name, value in whole.network.items():
        np.testing.assert_array_equal(run.network[name], value, err_msg=name)
    np.testing.assert_array_equal(run.history["loss"], whole.history["loss"])


def test_stopped_is_no_error_of_a_capture(standin, early, digits):
    """Ctrl-C in the middle of a capture ends the run, with what was learned so far."""
    ours = standin.trainer("ce", digits, epochs=4)
    plain, step = standin.trainer("ce", digits, epochs=4, graph=False), ours.step.work

    def interrupted(index: Tensor) -> None:
        step(index)
        if standin.graphs:
            raise KeyboardInterrupt

    ours.step.work = interrupted
    run = ours.run()
    assert run.status == "stopped" and ours.step.reason is None and gc.isenabled()
    with pytest.raises(Stopped):
        plain.run_epoch(Stops(2))
    for name, value in plain.net.state_dict().items():
        np.testing.assert_array_equal(run.network[name], value.numpy())


def test_runs_in_turns_enter_their_streams_once_an_epoch(digits, monkeypatch):
    """Entering one waits for all that was launched before: at every step, each run would wait for the others."""
    place, entered = Trainer.place, []
    monkeypatch.setattr(Trainer, "place", lambda self: entered.append(self) or place(self))
    ours = [Trainer("ce", digits, epochs=2, seed=seed, device="cpu") for seed in range(3)]
    epochs = [trainer.begin_epoch() for trainer in ours]
    many._in_turns(ours, epochs)
    assert entered == ours
    assert all(row["loss"] > 0 for row in map(Trainer.end_epoch, ours, epochs))


class Reads(Objective):
    """Cross-entropy by somebody who looks at the loss."""

    def losses(self, out: Output, targets: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(out.logits, targets, reduction="none")
        assert loss.sum().item() >= 0.0
        return loss


def test_a_loss_that_reads_a_value_is_trained_all_the_same(standin, digits):
    METHODS.add(dataclasses.replace(METHODS["ce"], key="reads", objective=Reads, aliases=()))
    try:
        eager = standin.trainer("reads", digits, epochs=6, graph=False).run()
        ours = standin.trainer("reads", digits, epochs=6)
        with pytest.warns(RuntimeWarning, match="_local_scalar_dense") as caught:
            run = ours.run()
    finally:
        METHODS.remove("reads")
    assert len(caught) == 1 and ours.validate.reason is None
    np.testing.assert_array_equal(run.history["loss"], eager.history["loss"])
    for name, value in eager.network.items():
        np.testing.assert_array_equal(run.network[name], value)


# ------------------------------------------------------------------------------------------------------------- fidelity
def trace(trainer: Trainer, steps: int = 20) -> np.ndarray:
    """The loss of each of the first steps."""
    losses = []
    with trainer.place():
        while len(losses) < steps:
            epoch = trainer.begin_epoch()
            for step in trainer.steps(epoch):
                total = sum(float(value) for value in trainer.tally.terms.values())
                losses.append(total / len(epoch.batches[step]))
                trainer.tally.clear()
            trainer.end_epoch(epoch)
    return np.array(losses[:steps])


def usual(trainer: Trainer, steps: int = 20) -> np.ndarray:
    """The same steps of cross-entropy as they are usually written, from this trainer's start, batches and crops."""
    net, data, recipe = copy.deepcopy(trainer.net), trainer.data, trainer.recipe
    order, crops = (copy_of(trainer.generators[name]) for name in ("order", "crops"))
    optimizer = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    losses = []
    for epoch in range(steps):
        batches = torch.randperm(len(data), generator=order).split(recipe.batch_size)
        for step, index in enumerate(batches):
            optimizer.param_groups[0]["lr"] = recipe.learning_rate(epoch, step, len(batches), recipe.epochs)
            loss = nn.functional.cross_entropy(net(data.batch(index, crops)).logits, data.targets[index])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
            optimizer.step()
            losses.append(loss.item())
    return np.array(losses[:steps])


def copy_of(generator: torch.Generator) -> torch.Generator:
    return torch.Generator().set_state(generator.get_state())


WAYS = {
    "default": None,
    "channels_last": Speed(channels_last=True),
    "fused": Speed(fused=True),
    "both": FAST,
    "rate in a tensor": Speed(fused=True, graph=True),
    "graph": Speed(channels_last=True, fused=True, graph=True),
}


@pytest.mark.parametrize("model", ["mlp", "cnn:8", "resnet8:8"])
def test_every_fast_path_follows_the_plain_one(standin, early, digits, noise, model):
    data, recipe = (digits, RECIPES["digits"]) if model == "mlp" else (noise, small(model))
    assert data is digits or (data.pad and data.flip)
    arguments = {"model": model, "recipe": recipe, "epochs": 30}
    plain = trace(Trainer("ce", data, device="cpu", speed=PLAIN, **arguments))
    loop = usual(Trainer("ce", data, device="cpu", speed=PLAIN, **arguments))
    np.testing.assert_allclose(plain, loop, rtol=0, atol=1e-5)
    assert plain.std() > 0.01  # it is no constant
    for name, speed in WAYS.items():
        if name == "graph":
            ours = standin.trainer("ce", data, speed=speed, **arguments)
        else:
            ours = Trainer("ce", data, device="cpu", speed=speed, **arguments)
        np.testing.assert_allclose(trace(ours), plain, rtol=0, atol=1e-4, err_msg=name)
    assert ours.step.reason is None and standin.graphs[0].replays >= 10


# -------------------------------------------------------------------------------------------------- what is the default
def test_on_a_cpu_nothing_is_halved_compiled_or_captured(monkeypatch):
    for there in (False, True):  # a GPU beside it changes nothing
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert default_speed(CPU, "mlp") == Speed(fused=True)
        assert default_speed(CPU, "cnn") == default_speed(CPU, "resnet32") == FAST
    assert default_speed(torch.device("mps"), "mlp") == PLAIN


@pytest.mark.parametrize("capability, bf16", [((7, 5), False), ((8, 0), True), ((8, 9), True), ((9, 0), True)])
def test_on_a_gpu_steps_are_captured_and_halved_where_it_has_the_units(monkeypatch, capability, bf16):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    asked = default_speed(torch.device("cuda"), "cnn")
    assert asked == Speed(bf16=bf16, channels_last=True, fused=True, graph=True)
    assert not default_speed(torch.device("cuda"), "mlp").channels_last


def test_streams_wait_for_each_other_after_an_error_too(monkeypatch, digits):
    """Memory that an error frees must not be given away while the run's stream still writes to it."""

    class Recorded:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            waits.append((self.name, other.name))

    waits, usual = [], Recorded("usual")
    trainer = Trainer("ce", digits, epochs=2, device="cpu")
    trainer.stream = Recorded("own")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: usual)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    with pytest.raises(KeyError), trainer.place():
        assert waits == [("own", "usual")]
        raise KeyError
    assert waits == [("own", "usual"), ("usual", "own")]


def test_nothing_is_compiled_unless_asked(monkeypatch, digits):
    def compiles(net, *arguments, **settings):
        asked.append(net)
        return net

    asked = []
    monkeypatch.setattr(torch, "compile", compiles)
    train("ce", digits, epochs=2, device="cpu", progress=False)
    assert not asked
    trainer = Trainer("ce", digits, epochs=2, device="cpu", speed=Speed(compile=True))
    assert asked == [trainer.net.backbone]
    run = trainer.run()
    assert run.provenance["speed"] == "compile" and run.status == "finished"


def test_what_is_kept_is_made_before_the_first_step(digits, noise):
    """Runs on several streams share it: made within a step, it would be there for one stream and not for the next."""
    for data in (digits, noise):
        fresh = dataclasses.replace(data)
        Trainer("ce", fresh, epochs=2, device="cpu")
        kept = dict(fresh._normalised), fresh._padded
        Trainer("ce", fresh, epochs=2, device="cpu").run()
        assert fresh._normalised.keys() == kept[0].keys() == {"images", "val_images", "test_images"}
        assert all(fresh._normalised[name] is value for name, value in kept[0].items())
        assert fresh._padded is kept[1] and (kept[1] is not None) == bool(data.pad or data.flip)


# -------------------------------------------------------------------------------------------------------- the real ones
@pytest.mark.gpu
@pytest.mark.parametrize("method, model", [("ce", "mlp"), ("ldam_drw", "cnn:8"), ("equalization", "cnn:8"),
                                           ("ce", "resnet8:8")])  # fmt: skip
def test_cuda_graphs_follow_plain_steps(digits, noise, method, model):
    data, recipe = (digits, RECIPES["digits"]) if model == "mlp" else (noise, small(model))
    arguments = {"device": "cuda", "model": model, "recipe": recipe, "epochs": 30}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            plain = trace(Trainer(method, data, speed=PLAIN, **arguments))
            for channels_last in {False, model != "mlp"}:
                speed = Speed(channels_last=channels_last, fused=True, graph=True)
                ours = Trainer(method, data, speed=speed, **arguments)
                np.testing.assert_allclose(trace(ours), plain, rtol=0, atol=1e-4)
    assert ours.step.reason is None and ours.step._graphs


@pytest.mark.gpu
@pytest.mark.parametrize("method, settings", RUNS)
def test_every_method_is_captured_on_cuda(digits, method, settings):
    epochs = math.ceil(6 / min(stage.share for stage in method(**settings).stages))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = Trainer(method.key, digits, device="cuda", epochs=epochs, **settings)
        while not ours.done:
            ours.run_epoch()
        assert ours.step.reason is None and len(ours.step._graphs) == 2 and ours.validate._graphs
        run = ours.finish()
    assert run.status == "finished" and np.isfinite(run.history["loss"]).all()


@pytest.mark.gpu
@pytest.mark.parametrize("graph", [False, True])
def test_no_step_waits_for_the_device(noise, graph):
    ours = Trainer("equalization", noise, device="cuda", epochs=30, recipe=small("cnn:8"),
                   speed=Speed(channels_last=True, fused=True, graph=graph))  # fmt: skip
    for _ in range(5):
        ours.run_epoch()
    with ours.place():
        epoch = ours.begin_epoch()
        with never_waiting(ours.device):
            steps = sum(1 for _ in ours.steps(epoch))
        assert steps == len(epoch.batches) and np.isfinite(ours.end_epoch(epoch)["loss"])


@pytest.mark.gpu
def test_a_loss_that_reads_a_value_is_trained_on_cuda(noise):
    """No capture is tried; crops and masks are drawn, and the device is usable, after it."""
    METHODS.add(dataclasses.replace(METHODS["ce"], key="reads", objective=Reads, aliases=()))
    try:
        assert not Trainer("reads", noise, device="cuda", recipe=small("cnn:8")).speed.graph, "a reader's own Python"
        speed = Speed(channels_last=True, fused=True, graph=True)
        ours = Trainer("reads", noise, device="cuda", epochs=4, recipe=small("cnn:8"), speed=speed)
        with pytest.warns(RuntimeWarning, match="cannot be captured") as caught:
            run = ours.run()
    finally:
        METHODS.remove("reads")
    assert sum("captured" in str(w.message) for w in caught) == 1 and run.status == "finished" and ours.step.reason
    assert np.isfinite(run.history["loss"]).all() and torch.isfinite(torch.randn(3, device="cuda")).all()


@pytest.mark.gpu
def test_eight_runs_side_by_side_are_those_of_one_by_one(noise):
    def trainers() -> list[Trainer]:
        speed = Speed(channels_last=True, fused=True, graph=True)
        return [Trainer("ce", noise, device="cuda", epochs=7, seed=seed, recipe=small("cnn:8"), speed=speed)
                for seed in range(8)]  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = trainers()
        assert many.way(together) == "streams"
        graphs = []  # of each run; they are given back at its end
        runs = many.side_by_side(together, lambda trainer: graphs.append(len(trainer.step._graphs)))
        for ours, alone in zip(runs, trainers(), strict=True):
            np.testing.assert_allclose(ours.history["loss"], alone.run().history["loss"], rtol=0, atol=1e-3)
    assert all(trainer.step.reason is None for trainer in together) and graphs[-8:] == [2] * 8
