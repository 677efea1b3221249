"""Stop, pause and Ctrl-C: what is asked, by whom, and what is put back afterwards."""

import signal
import threading
import time

import pytest

from ltviz.training import RunControl, Stopped
from ltviz.training.control import Interrupts, interrupts


@pytest.fixture(autouse=True)
def usual():
    """Ctrl-C as Python handles it, also where the tests run in the background and it is switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def state(control):
    return control.stopped, control.paused


def test_what_is_asked_of_a_run():
    control = RunControl()
    assert state(control) == (False, False) and control.check() is None
    control.pause()
    assert state(control) == (False, True)
    control.resume()
    assert state(control) == (False, False) and control.check() is None
    control.pause()
    control.stop()
    assert state(control) == (True, False)
    for call in (control.pause, control.resume, control.stop):
        call()
        assert state(control) == (True, False)
        with pytest.raises(Stopped):
            control.check()


@pytest.mark.parametrize("call, outcome", [("resume", "went on"), ("stop", "stopped")])
def test_a_paused_run_waits_until_it_is_told(call, outcome):
    control, seen = RunControl(), []
    control.pause()

    def work():
        try:
            control.check()
            seen.append("went on")
        except Stopped:
            seen.append("stopped")

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive() and not seen
    getattr(control, call)()
    thread.join(10)
    assert seen == [outcome]


def test_ctrl_c_asks_to_stop_and_raises_nothing():
    with interrupts() as guard:
        assert signal.getsignal(signal.SIGINT) is guard is Interrupts.active and not guard.exposed
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
            assert state(guard.control) == (True, False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and Interrupts.active is None


def test_only_while_exposed_a_second_one_raises():
    with interrupts() as guard:
        with pytest.raises(KeyboardInterrupt), guard.expose():
            assert guard.exposed
            signal.raise_signal(signal.SIGINT)
            assert guard.control.stopped
            signal.raise_signal(signal.SIGINT)
        assert guard.exposed is False
        signal.raise_signal(signal.SIGINT)


def test_nested_ones_share_the_outer_one_unless_they_bring_their_own():
    with interrupts() as outer:
        with interrupts() as same, interrupts(outer.control) as again:
            assert same is outer is again
        assert signal.getsignal(signal.SIGINT) is outer is Interrupts.active
        own = RunControl()
        with interrupts(own) as inner:
            assert inner is not outer and inner.control is own and signal.getsignal(signal.SIGINT) is inner
            signal.raise_signal(signal.SIGINT)
        assert own.stopped and not outer.control.stopped
        assert signal.getsignal(signal.SIGINT) is outer is Interrupts.active
    assert Interrupts.active is None


def test_it_is_put_back_after_an_error():
    with pytest.raises(ArithmeticError), interrupts():
        raise ArithmeticError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and Interrupts.active is None


def test_whoever_has_switched_ctrl_c_off_keeps_it_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts() as guard:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN and Interrupts.active is None
        assert state(guard.control) == (False, False)


def test_a_handler_of_ones_own_comes_back():
    def own(number, frame):
        pass

    signal.signal(signal.SIGINT, own)
    with interrupts() as guard:
        assert signal.getsignal(signal.SIGINT) is guard
    assert signal.getsignal(signal.SIGINT) is own


def test_another_thread_has_a_guard_that_changes_nothing():
    seen = []

    def work(control):
        with interrupts(control) as guard:
            seen.append((guard.control is control or control is None, signal.getsignal(signal.SIGINT), guard))

    with interrupts() as outer:
        for control in (None, RunControl()):
            thread = threading.Thread(target=work, args=(control,))
            thread.start()
            thread.join()
        assert [one[:2] for one in seen] == [(True, outer)] * 2 and Interrupts.active is outer
    assert all(one[2] is not outer for one in seen)
