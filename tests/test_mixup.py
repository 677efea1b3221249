"""Mixup and remix: draws, labels and the training step, against what the papers say."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltviz.datasets import digits_lt
from ltviz.methods import METHODS
from ltviz.methods.mixup import label_share
from ltviz.objective import Output
from ltviz.training import Trainer, train

COUNTS = torch.tensor([90, 30, 29, 5])
TARGETS = torch.tensor([0, 3, 1, 2, 0, 3])


def objective(seed=0, **settings):
    made = METHODS["mixup"](**settings).build(COUNTS)
    made.generator = torch.Generator().manual_seed(seed)
    return made


@pytest.mark.parametrize(
    ("share", "own", "other", "expected"),
    [
        (0.4, 90, 30, 0.0),  # three times as frequent, less than half of the pixels: the partner's label
        (0.5, 90, 30, 0.5),  # half of the pixels is not less than tau
        (0.4, 90, 31, 0.4),  # not three times
        (0.6, 30, 90, 1.0),  # three times as rare, the partner has less than half
        (0.5, 30, 90, 0.5),
        (0.6, 31, 90, 0.6),
        (0.6, 90, 30, 0.6),  # frequent and most of the pixels: as the pixels are
        (0.2, 50, 50, 0.2),
    ],
)
def test_remix_gives_the_label_to_the_rarer_class(share, own, other, expected):
    """Chou et al. 2020 with their kappa = 3 and tau = 1/2."""
    found = label_share(torch.tensor(share), torch.tensor([float(own)]), torch.tensor([float(other)]), 3.0, 0.5)
    assert found.tolist() == pytest.approx([expected])


def test_the_loss_is_that_of_blended_labels():
    """Cross-entropy against soft labels, as torch computes it."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    mixing = objective()
    partner, share = mixing.mix(TARGETS)
    assert sorted(partner.tolist()) == [0, 1, 2, 3, 4, 5] and share.shape == () and 0 <= float(share) <= 1
    one_hot = F.one_hot(TARGETS, 4).double()
    soft = share * one_hot + (1 - share) * one_hot[partner]
    out = Output(logits, logits, logits[:4], partner=partner, share=share)
    torch.testing.assert_close(mixing(out, TARGETS), F.cross_entropy(logits, soft))
    torch.testing.assert_close(mixing.losses(out, TARGETS), F.cross_entropy(logits, soft, reduction="none"))
    plain = dataclasses.replace(out, partner=None, share=None)
    torch.testing.assert_close(mixing(plain, TARGETS), F.cross_entropy(logits, TARGETS))


def test_each_label_has_the_weight_of_its_class():
    mixing = objective()
    mixing.set_class_weight(torch.tensor([0.5, 1.0, 1.0, 2.0]))
    partner, share = torch.tensor([1, 0]), torch.tensor(0.25)
    logits = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    out, targets = Output(logits, logits, logits, partner=partner, share=share), torch.tensor([0, 3])
    nll = -logits.log_softmax(1)
    own, other = 0.5 * nll[0, 0] + 2.0 * nll[1, 3], 2.0 * nll[0, 3] + 0.5 * nll[1, 0]
    torch.testing.assert_close(mixing(out, targets), (0.25 * own + 0.75 * other) / 2)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_draws_of_the_beta_distribution(alpha):
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)), within four standard errors."""
    mixing = objective(alpha=alpha)
    shares = torch.stack([mixing.mix(TARGETS)[1] for _ in range(4000)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert float(shares.mean()) == pytest.approx(0.5, abs=4 * (variance / 4000) ** 0.5)
    assert float(shares.var()) == pytest.approx(variance, rel=0.12)


def test_draws_come_from_the_runs_own_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other, third = (objective(seed=seed).mix(TARGETS) for seed in (0, 0, 1))
    assert torch.equal(one[0], other[0]) and one[1] == other[1] != third[1]
    assert torch.equal(before, torch.get_rng_state())
    assert np.isfinite([float(objective(seed=seed, alpha=1e-4).mix(TARGETS)[1]) for seed in range(50)]).all()


def test_the_network_sees_the_blend(monkeypatch):
    """What the loop gives to the network: share * image + (1 - share) * image[partner]."""
    trainer = Trainer("mixup", digits_lt(), epochs=1)
    seen = []
    backbone = trainer.backbone

    def watched(images):
        seen.append(images)
        return backbone(images)

    monkeypatch.setattr(trainer, "backbone", watched)
    batch = trainer.data.batch
    drawn = []
    monkeypatch.setattr(trainer.data, "batch", lambda index, *rest: (drawn.append(index), batch(index, *rest))[1])
    blends = []
    mix = trainer.objective.mix
    monkeypatch.setattr(trainer.objective, "mix", lambda y: (blends.append(mix(y)), blends[-1])[1])
    trainer.run_epoch()
    images, (partner, share) = seen[0], blends[0]
    whole = batch(drawn[0])  # digits are not cropped
    torch.testing.assert_close(images, (share * whole + (1 - share) * whole[partner]).float())


def test_without_blending_it_trains_as_cross_entropy():
    data = digits_lt()
    plain, none = train("ce", data, epochs=2), train("mixup", data, epochs=2, alpha=0.0)
    assert np.array_equal(plain.head_weight, none.head_weight)
    mixed, remixed = train("mixup", data, epochs=2), train("mixup", data, epochs=2, labels="remix")
    assert not np.array_equal(plain.head_weight, mixed.head_weight)
    assert not np.array_equal(mixed.head_weight, remixed.head_weight)


def test_a_term_is_added_to_blended_images_too():
    run = train("ring", digits_lt(), epochs=2, base="mixup")
    other = train("ring", digits_lt(), epochs=2)
    assert not np.array_equal(run.head_weight, other.head_weight) and np.isfinite(run.history["loss"]).all()


def test_a_resumed_run_draws_the_same_blends(tmp_path):
    data, whole = digits_lt(), train("mixup", digits_lt(), epochs=4)
    first = Trainer("mixup", data, epochs=4, checkpoint=tmp_path / "half.pt")
    first.run_epoch(), first.run_epoch()
    first.save_checkpoint()
    resumed = Trainer("mixup", data, epochs=4, checkpoint=tmp_path / "half.pt").run()
    assert np.array_equal(whole.head_weight, resumed.head_weight)
