"""Quintuplets and their clusters, generated classifier rows, and the memory: worked numbers, hooks, and both stages.

Worked numbers of range loss and of class rectification stand in test_vectors.
"""

import numpy as np
import pytest
import torch

import ltviz
from ltviz.methods import METHODS, crl, fslwf, lmle, oltr
from ltviz.models import CosineHead, LinearHead
from ltviz.objective import Output, Report
from ltviz.training import Trainer

G = (0.1, 0.2, 0.3)


def close(a, b, tolerance=1e-6):
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def on_a_line(*positions):
    x = torch.tensor(positions, dtype=torch.float64)
    return (x[:, None] - x[None]).abs()


def report(head, features, targets, *, stage=0, epoch=0):
    return Report(stage, epoch, 0.0, head, None, lambda: (features, targets))


# --------------------------------------------------------------------------------------------------------- quintuplets


def test_a_whole_quintuplet():
    """Anchor at 0, its cluster at 1, the rest of its class at 0.9 and 2.05, a stranger at 2.2."""
    distance = on_a_line(0.0, 1.0, 0.9, 2.05, 2.2)
    losses = lmle.quintuplet_losses(distance, torch.tensor([0, 0, 0, 0, 1]), torch.tensor([0, 0, 1, 1, 2]), G)
    # D(p+) = 1, D(p-) = .9, D(p--) = 2.05, D(n) = 2.2: .1 + .1, nothing, .3 - .15
    close(losses[0], 0.2 + 0.0 + 0.15)
    close(losses[4], 0.0)  # alone in its class: no quintuplet


@pytest.mark.parametrize(
    "targets, cluster, expected",
    [
        ([0, 0, 1], [0, 0, 1], 0.3 + 1.0 - 1.2),  # one cluster: p+ takes the place of p--
        ([0, 0, 1], [0, 1, 2], 0.2 + (0.3 + 1.0 - 1.2)),  # nothing else in its cluster: p- and p-- are one image
        ([0, 0, 0], [0, 0, 1], 0.2),  # no stranger; .1 + 1 - 1.2 is below 0; p- and p-- are one image
        ([0, 1, 2], [0, 1, 2], 0.0),
    ],
)
def test_a_quintuplet_that_lacks_images(targets, cluster, expected):
    losses = lmle.quintuplet_losses(on_a_line(0.0, 1.0, 1.2), torch.tensor(targets), torch.tensor(cluster), G)
    close(losses[0], expected)


def test_anchors_count_by_image_or_by_class():
    losses, targets = torch.tensor([3.0, 3.0, 3.0, 9.0]), torch.tensor([0, 0, 0, 1])
    close(lmle.anchor_mean(losses, targets, "image"), 4.5)
    close(lmle.anchor_mean(losses, targets, "class"), 6.0)


def test_clusters_are_found_inside_classes():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [0.2, 0.2]])
    features = centres.repeat_interleave(10, 0) + torch.randn(40, 2, generator=generator)
    targets = torch.tensor([0] * 30 + [1] * 10)  # class 0 lies in three places, class 1 on top of one of them
    found = []
    for seed in range(8):
        cluster = lmle.cluster_classes(features, targets, 3, 10, torch.Generator().manual_seed(seed))
        assert set(cluster[:30].tolist()) <= {0, 1, 2} and set(cluster[30:].tolist()) == {3}
        places = [set(cluster[i : i + 10].tolist()) for i in (0, 10, 20)]
        found.append(all(len(p) == 1 for p in places) and len(set.union(*places)) == 3)
    assert any(found), "from no start does k-means find three places that lie far apart"


def test_clusters_are_refreshed_in_place_and_only_now_and_then():
    objective = METHODS["lmle"](cluster_size=5, refresh=2).build(torch.tensor([30, 6]))
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(36, 4, generator=generator), torch.tensor([0] * 30 + [1] * 6)
    where = objective.cluster.data_ptr()
    objective.begin_epoch(report(None, features, targets, epoch=0))
    first = objective.cluster.clone()
    assert objective.cluster.data_ptr() == where and set(first[:30].tolist()) <= set(range(6))
    assert set(first[30:].tolist()) <= {6, 7}
    objective.begin_epoch(report(None, -features.flip(0), targets, epoch=1))
    assert torch.equal(objective.cluster, first)
    objective.begin_epoch(report(None, -features.flip(0), targets, epoch=2))
    assert not torch.equal(objective.cluster, first)


def test_without_positions_each_class_is_one_cluster():
    objective = METHODS["lmle"]().build(torch.tensor([5, 4]))
    logits, features = torch.randn(9, 2), torch.randn(9, 3)
    targets = torch.tensor([0] * 5 + [1] * 4)
    objective.cluster.copy_(targets)
    here, nowhere = (Output(logits, features, torch.zeros(2, 3), index=i) for i in (torch.arange(9), None))
    assert torch.equal(objective(here, targets), objective(nowhere, targets))


# ------------------------------------------------------------------------------------------------- class rectification


def test_instance_level_pairs_by_hand():
    """Class 1 is the minority: its images at 0 and 1 on a line, strangers at 3, 5 and 9."""
    features = torch.tensor([[0.0], [1.0], [3.0], [5.0], [9.0]], dtype=torch.float64)
    targets = torch.tensor([1, 1, 0, 0, 0])
    assert crl.minority_classes(targets, 2, 0.5).tolist() == [False, True]
    found = crl.hard_pairs(*crl.instance_level(features), targets, targets == 1, 2)
    assert sorted(found.negative[0].tolist()) == [3.0, 5.0] and sorted(found.negative[1].tolist()) == [2.0, 4.0]
    close(crl.relative_loss(found, 3.0), np.mean([1.0, 0.0, 2.0, 0.0]))


def test_the_weighted_combination_takes_from_the_base():
    counts = torch.tensor([100, 50])
    generator = torch.Generator().manual_seed(1)
    out = Output(torch.randn(8, 2, generator=generator), torch.randn(8, 3, generator=generator), torch.zeros(2, 3))
    targets = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    plain = METHODS["crl"](combination="sum", strength=1.0).build(counts).terms(out, targets)
    mixed = METHODS["crl"](combination="weighted", eta=0.01).build(counts).terms(out, targets)
    close(mixed["classification"], 0.75 * plain["classification"])  # 25% of 2 x 100 images are missing
    close(mixed["rectification"], 0.25 * plain["rectification"])


def test_the_histogram_of_raw_features_reaches_as_far_as_they_do():
    """The loss does not depend on the scale of the features, and its gradient is alive at every scale."""
    counts, targets = torch.tensor([100, 50]), torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    features = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    settings = {"level": "instance", "comparison": "distribution", "embedding": "raw", "bins": 5}
    objective = METHODS["crl"](**settings).build(counts)
    values, pulls = [], []
    for scale in (1e-3, 1.0, 1e3):
        x = (scale * features).requires_grad_()
        loss = objective.terms(Output(torch.zeros(8, 2), x, torch.zeros(2, 3)), targets)["rectification"]
        values.append(loss.detach())
        pulls.append(scale * torch.autograd.grad(loss, x)[0])
    assert 0.0 < values[0] < 1.0 and pulls[0].abs().max() > 1e-3
    for value, pull in zip(values, pulls, strict=True):
        close(value, values[1], 1e-6)
        close(pull, pulls[1], 1e-6)


# ------------------------------------------------------------------------------------------------------ generated rows


@pytest.mark.parametrize(
    "counts, split, few",
    [
        ([100, 50, 20, 10, 5], "median", [3, 4]),
        ([100, 50, 20, 10, 5, 2], "median", [3, 4, 5]),
        ([100, 50, 21, 20, 5], "20", [3, 4]),
        ([15, 10, 5, 2], "20", [2, 3]),  # two base classes at least
        ([10, 10, 10, 10], "median", []),
        ([9, 1], "median", []),
        ([1000, 100, 10, 0], "20", [2, 3]),
    ],
)
def test_which_classes_are_few_shot(counts, split, few):
    assert torch.nonzero(fslwf.few_classes(torch.tensor(counts), split)).squeeze(1).tolist() == few


def test_a_row_generated_by_hand():
    """One support image along the first axis; two base classes on the axes; keys equal to their rows."""
    weight = torch.tensor([[3.0, 0.0], [0.0, 2.0], [7.0, 7.0]], dtype=torch.float64)
    support = torch.zeros(3, 2, 2, dtype=torch.float64)
    support[2, 0] = torch.tensor([5.0, 0.0])
    mask = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    base = torch.tensor([True, True, False])
    eye, one = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    rows = fslwf.generated_rows(support, mask, weight, base, eye, weight, 10.0, 0.5 * one, 2.0 * one)
    near = 1.0 / (1.0 + np.exp(-10.0))  # softmax of cosines 1 and 0 at temperature 10
    close(rows[2], [0.5 + 2.0 * near, 2.0 * (1.0 - near)])
    close(rows[:2], [[0.0, 0.0], [0.0, 0.0]])  # no support, no row


def test_attention_sees_base_classes_only():
    keys, queries = torch.randn(5, 3), torch.randn(4, 3)
    base = torch.tensor([True, False, True, False, True])
    looks = fslwf.attention(queries, keys, 10.0, base)
    assert (looks[:, ~base] == 0).all()
    torch.testing.assert_close(looks.sum(1), torch.ones(4))


@pytest.fixture
def generating():
    """An objective in its second stage, and its head, after the first report."""
    counts = torch.tensor([60, 50, 40, 30, 4, 2])
    objective = METHODS["fslwf"](split="20", shots=3, pretended=0.5).build(counts)
    objective.generator = torch.Generator().manual_seed(0)
    head = METHODS["fslwf"]().stages[1].head(CosineHead(5, 6, 10.0, True))
    targets = torch.repeat_interleave(torch.arange(6), counts)
    features = torch.randn(len(targets), 5, generator=torch.Generator().manual_seed(1))
    objective.begin_epoch(report(head, features, targets, stage=1))
    return objective, head, features, targets


def test_an_episode_pretends_with_some_base_classes(generating):
    objective, head, features, targets = generating
    assert head.few.tolist() == [False] * 4 + [True] * 2
    assert head.mask.sum(1).tolist() == [32, 32, 32, 30, 4, 2]
    where, seen = head.episode_few.data_ptr(), set()
    for _ in range(20):
        pretended = torch.nonzero(head.episode_few & ~head.few).squeeze(1).tolist()
        assert len(pretended) == 2 and head.episode_few[4:].all()
        shown = head.episode_mask.sum(1)
        assert shown[pretended].tolist() == [3, 3] and shown[4:].tolist() == [4, 2]
        assert (head.episode_mask <= head.mask).all()
        seen.update(pretended)
        objective.after_step(None, targets)
    assert seen == {0, 1, 2, 3} and head.episode_few.data_ptr() == where


def test_training_sees_the_episode_and_the_test_does_not(generating):
    _, head, features, _ = generating
    unit = features / features.norm(dim=1, keepdim=True)

    def logits(rows):
        return 10.0 * unit @ (rows / rows.norm(dim=1, keepdim=True)).T

    torch.testing.assert_close(head.train()(features), logits(head.rows(head.episode_few, head.episode_mask)))
    torch.testing.assert_close(head.eval()(features), logits(head.weight))
    assert torch.equal(head.weight[:4], head.learned[:4]) and not torch.equal(head.weight[4:], head.learned[4:])
    torch.testing.assert_close(head.weight, head.train().weight)


# -------------------------------------------------------------------------------------------------------------- memory


def test_squash_and_reachability():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    close(oltr.squash(x), [[0.5, 4.0 / 6.0], [0.0, 0.0]])
    memory = torch.tensor([[0.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    close(oltr.reachability(x, memory), [10.0 / 4.0, 100.0])  # the second lies on a centroid: as if at 0.1


def test_meta_embedding_by_hand():
    x = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    memory = torch.tensor([[0.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    attention = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    selector = torch.tensor([[0.5, -0.5]], dtype=torch.float64)
    close(oltr.meta_embedding(x, memory, attention, selector), [[5.0 * 2.0, 5.0 * -1.5]])


def test_centroid_loss_by_hand():
    x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64), torch.tensor([0, 1])
    memory = torch.tensor([[0.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    # own: 1 and 1; others: 5 and 1, over n k = 4
    close(oltr.centroid_loss(x, y, memory, 0.1, 10.0, "averaged"), 0.5 + 0.1 * (10.0 - 1.5))
    close(oltr.centroid_loss(x, y, memory, 0.1, 1.0, "averaged"), 0.5)


@pytest.mark.parametrize("detach", [True, False])
def test_who_trains_the_memory(detach):
    objective = METHODS["oltr"](detach=detach).build(torch.tensor([5, 3, 0]))
    head = METHODS["oltr"](detach=detach).stages[1].head(LinearHead(4, 3))
    features, targets = torch.randn(8, 4), torch.tensor([0] * 5 + [1] * 3)
    objective.begin_epoch(report(head, features, targets, stage=1))
    close(head.memory[0].detach(), features[:5].mean(0))
    close(head.memory[2].detach(), features.mean(0))  # a class without images
    objective.begin_epoch(report(head, 2.0 * features, targets, stage=1, epoch=1))
    close(head.memory[0].detach(), features[:5].mean(0))  # filled once
    out = Output(head(features), features, head.weight, head.scale, None, head.memory)
    terms = objective.terms(out, targets)
    (of_centroids,) = torch.autograd.grad(terms["centroid"], head.memory, retain_graph=True)
    assert of_centroids.abs().sum() > 0
    (found,) = torch.autograd.grad(terms["classification"], head.memory, allow_unused=True)
    assert (found is None) == detach


def test_a_centroid_is_pulled_by_the_mean_of_its_images():
    """The pull of n_j images on their centroid is their sum over 1 + n_j, as in center loss; on them it is exact."""
    generator = torch.Generator().manual_seed(0)
    x, memory = (torch.randn(n, 3, generator=generator, dtype=torch.float64).requires_grad_() for n in (7, 3))
    y, size = torch.tensor([0, 0, 0, 0, 0, 1, 1]), torch.tensor([5.0, 2.0, 0.0])
    values, gradients = [], []
    for how in ("averaged", "exact"):
        loss = oltr.centroid_loss(x, y, memory, 0.0, 10.0, how)
        values.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, (x, memory)))
    close(values[0], values[1])
    close(gradients[0][0], gradients[1][0])
    pull = torch.stack([(memory[j] - x[y == j]).sum(0) for j in range(3)]).detach() / 7
    close(gradients[1][1], pull)
    close(gradients[0][1], pull / (1.0 + size)[:, None])
    repelled = [torch.autograd.grad(oltr.centroid_loss(x, y, memory, 1.0, 99.0, how), memory)[0] for how in
                ("averaged", "exact")]  # fmt: skip
    close(repelled[0] - gradients[0][1], repelled[1] - gradients[1][1])


# ---------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def data():
    return ltviz.digits_lt(ratio=10, n_max=60, test=20)


def test_fslwf_freezes_the_features_and_records_the_effective_rows(data):
    trainer = Trainer("fslwf", data, epochs=5)
    for _ in range(4):
        trainer.run_epoch()
    before = [p.detach().clone() for p in trainer.net.backbone.parameters()]
    run = trainer.run()
    assert list(run.history["stage"]) == [0, 0, 0, 0, 1]
    for old, new in zip(before, trainer.net.backbone.parameters(), strict=True):
        assert torch.equal(old, new)
    x, w = run.features.astype(np.float32), run.head_weight
    cosine = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
    np.testing.assert_allclose(run.logits, run.scale * cosine, atol=0.05)


@pytest.mark.parametrize("key", ["fslwf", "oltr", "lmle"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(key, data, tmp_path):
    settings = {"share": 0.5} if key != "lmle" else {"refresh": 2}
    whole = Trainer(key, data, epochs=6, **settings).run()
    half = Trainer(key, data, epochs=6, checkpoint=tmp_path / "half.safetensors", **settings)
    for _ in range(4):
        half.run_epoch()
    half.save_checkpoint()
    again = Trainer(key, data, epochs=6, checkpoint=tmp_path / "half.safetensors", **settings)
    assert again.epoch == 4
    np.testing.assert_array_equal(again.run().logits, whole.logits)


def test_oltr_writes_down_both_terms(data):
    run = Trainer("oltr", data, epochs=4).run()
    assert np.isnan(run.history["term/centroid"][:2]).all() and (run.history["term/centroid"][2:] > 0).all()


def test_a_learned_scale_survives_being_saved_and_continued(data, tmp_path, recwarn):
    first = Trainer("normface", data, epochs=1, learn_scale=True).run()
    back = ltviz.load_run(first.save(tmp_path))
    assert back.network["head.scale"].shape == ()
    again = Trainer("normface", data, epochs=1, learn_scale=True, start=back)
    assert float(again.net.head.scale.detach()) == first.scale and not [
        w for w in recwarn if "does not fit" in str(w.message)
    ]
