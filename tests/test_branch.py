"""Branches of a run: each is the run that its settings would have given from the first epoch on."""

import numpy as np
import pytest

import ltviz as lt
from ltviz.training import Trainer, branch

AT, EPOCHS = 4, 6


@pytest.fixture(scope="module")
def data():
    return lt.digits_lt(ratio=20)


def trained(key, data, epochs=AT, **settings):
    trainer = Trainer(key, data, epochs=EPOCHS, deferral=AT / EPOCHS, **settings)
    for _ in range(epochs):
        trainer.run_epoch()
    return trainer


@pytest.mark.parametrize("key", ["ce_drw", "ldam_drw"])
def test_both_branches_are_the_runs_of_their_settings(key, data):
    trunk = trained(key, data)
    before = trunk.net.head.weight.detach().clone()
    as_before = branch(trunk, beta=0.0)
    assert as_before.epoch == trunk.epoch == AT and (as_before.net.head.weight == before).all()
    one, other = as_before.run(), trunk.run()
    for run, beta in ((one, 0.0), (other, 0.9999)):
        whole = lt.train(key, data, epochs=EPOCHS, deferral=AT / EPOCHS, beta=beta, progress=False)
        assert run.id == whole.id
        assert (run.confusion == whole.confusion).all() and (run.history["loss"] == whole.history["loss"]).all()
        assert (run.head_weight == whole.head_weight).all()
    assert (one.history["loss"][:AT] == other.history["loss"][:AT]).all()
    assert not np.allclose(one.head_weight, other.head_weight)


def test_the_moment_of_the_change_may_be_put_off(data):
    trunk = trained("ce_drw", data, 3)
    later = branch(trunk, deferral=5 / EPOCHS)
    assert later.run().history["stage"].tolist() == [0, 0, 0, 0, 0, 1]
    assert trunk.run().history["stage"].tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"deferral": 2 / EPOCHS}, "settings"), ({"reduction": "n"}, "reduction"), ({"beta": 2.0}, "beta"),
     ({"gamma": 1.0}, "gamma")],
)  # fmt: skip
def test_a_branch_that_would_have_begun_otherwise_is_refused(settings, name, data):
    trunk = trained("ce_drw", data, 3)
    with pytest.raises(ValueError, match=name):
        branch(trunk, **settings)


def test_a_branch_needs_a_trainer_between_two_epochs(data):
    for trainer in (trained("ce_drw", data, 0), trained("ce_drw", data, EPOCHS), None, "ce"):
        with pytest.raises(ValueError, match="^trainer="):
            branch(trainer, beta=0.0)
    second = trained("ldam_drw", data, AT + 1)  # the class weights have acted
    with pytest.raises(ValueError, match="settings"):
        branch(second, beta=0.0)
