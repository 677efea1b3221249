"""The shared maths: worked numbers of the papers, and the edges where they could break."""

import math
import time
from fractions import Fraction

import pytest
import torch
from references import nll, softmax

from ltviz import functional as f
from ltviz.methods.class_balanced import class_balanced_weights
from ltviz.methods.focal import focal_loss
from ltviz.methods.inverse_frequency import inverse_frequency_weights
from ltviz.methods.sigmoid import prior_bias, prior_head, sigmoid_loss

CIFAR10 = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])  # ratio 100

WEIGHTS = {
    0.9: [0.9995] * 9 + [1.0046],
    0.99: [0.783832, 0.783832, 0.783832, 0.783848, 0.785034, 0.800201, 0.868159, 1.041415, 1.385429, 1.984417],
    0.999: [0.181187, 0.189414, 0.215742, 0.272859, 0.378479, 0.560581, 0.868804, 1.386165, 2.258450, 3.688319],
    0.9999: [0.050611, 0.076900, 0.121134, 0.195037, 0.318805, 0.524590, 0.868349, 1.442627, 2.409223, 3.992724],
    1.0: [0.040236, 0.067128, 0.112017, 0.186799, 0.311911, 0.519851, 0.867166, 1.447356, 2.423885, 4.023650],
}
ROOT = [0.244529, 0.315843, 0.408002, 0.526875, 0.680825, 0.878941, 1.135197, 1.466587, 1.897912, 2.445289]


def close(a, b, tolerance=1e-5):
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


# ----------------------------------------------------------------------------------------------------- effective number


@pytest.mark.parametrize("beta", WEIGHTS)
def test_class_balanced_weights_on_cifar10(beta):
    weights = class_balanced_weights(CIFAR10, beta)
    close(weights, WEIGHTS[beta], 2e-4 if beta == 0.9 else 1e-5)
    close(weights.sum(), 10.0)


def test_inverse_frequency_weights_on_cifar10():
    close(inverse_frequency_weights(CIFAR10, 1.0), WEIGHTS[1.0])
    close(inverse_frequency_weights(CIFAR10, 0.5), ROOT)
    close(inverse_frequency_weights(CIFAR10, 0.0), torch.ones(10))


def test_effective_number():
    e = [3934.845, 2589.706, 1644.031, 1021.079, 624.669, 379.626, 229.341, 138.045, 82.661, 49.878]
    close(f.effective_number(CIFAR10, 0.9999), e)
    close(f.effective_number(torch.tensor([1]), 0.37), [1.0], 1e-12)
    close(f.effective_number(torch.tensor([3]), 0.5), [1.75], 1e-12)


@pytest.mark.parametrize("beta, limit", [(0.9, 10.0), (0.99, 100.0), (0.999, 1000.0), (0.9999, 10_000.0)])
def test_effective_number_saturates_at_the_number_of_prototypes(beta, limit):
    close(f.effective_number(torch.tensor([10**7]), beta), [limit], 1e-9)


def test_effective_number_at_its_ends():
    n = torch.tensor([0, 1, 5, 10**6])
    close(f.effective_number(n, 0.0), [0, 1, 1, 1])
    close(f.effective_number(n, 1.0), [0, 1, 5, 10**6])
    close(f.effective_number(n, 1.0 - 1e-12), [0, 1, 5, 10**6], 1e-5)
    assert f.effective_number(n, 1.0 - 1e-12).isfinite().all()


def test_effective_number_keeps_the_digits_that_float32_loses():
    exact = sum(0.9999**i for i in range(5))
    assert abs(float(f.effective_number(torch.tensor([5]), 0.9999)) - exact) < 1e-11


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan"), "0.9", None, True])
def test_beta_outside_its_range_is_refused(beta):
    with pytest.raises(ValueError, match=r"^beta=.*: expected a number from 0.* to 1"):
        f.effective_number(torch.tensor([3]), beta)


@pytest.mark.parametrize(
    "counts",
    [
        None,
        [3, 2],
        {"a": 3},
        5,
        "3",
        torch.tensor([True]),
        torch.tensor([3, -1]),
        torch.tensor([float("nan")]),
        torch.tensor([3.0, math.inf]),
        torch.ones(2, 2),
        torch.tensor(3),
        torch.tensor([]),
        torch.tensor([1j]),
    ],
)
def test_counts_that_count_nothing_are_refused(counts):
    for call in (lambda: f.effective_number(counts, 0.9), lambda: f.log_prior(counts)):
        with pytest.raises(ValueError, match="^counts"):
            call()
    with pytest.raises(ValueError, match="^amount"):
        f.inverse_weights(counts)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1.0])
def test_a_class_without_images_has_weight_0(beta):
    weights = class_balanced_weights(torch.tensor([40, 0, 10, 0]), beta)
    assert weights[1] == weights[3] == 0.0
    close(weights.sum(), 2.0)  # mean 1 over the classes present


def test_ratio_of_weights_on_cifar100():
    n = torch.tensor([500, 5])
    for beta, ratio in {0.9: 2.44, 0.99: 20.27, 0.999: 78.88, 0.9999: 97.57}.items():
        weights = class_balanced_weights(n, beta)
        close(weights[1] / weights[0], ratio, 1e-2)


# -------------------------------------------------------------------------------------------------------- weighted mean


def test_two_reductions_are_two_problems():
    losses, targets, weight = torch.tensor([1.0, 2.0]), torch.tensor([0, 1]), torch.tensor([0.05, 4.0])
    close(f.weighted_mean(losses, targets, weight, "n"), 4.025)
    close(f.weighted_mean(losses, targets, weight, "weight"), 1.988, 1e-3)
    close(f.weighted_mean(losses, targets), 1.5)
    for wrong in ("mean", None, 1):
        with pytest.raises(ValueError, match="^reduction=.*expected one of 'n', 'weight'"):
            f.weighted_mean(losses, targets, weight, wrong)
    for wrong in (None, [1.0, 2.0], torch.tensor([1, 2])):
        with pytest.raises(ValueError, match="^losses=.*expected a float tensor"):
            f.weighted_mean(wrong, targets, weight)


def test_reduction_by_weight_is_that_of_torch():
    z, y = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2])
    w = torch.tensor([0.1, 0.9, 2.0])
    ours = f.weighted_mean(f.cross_entropy(z, y), y, w, "weight")
    close(ours, torch.nn.functional.cross_entropy(z, y, weight=w), 1e-6)


def test_a_batch_whose_classes_all_have_weight_0():
    value = f.weighted_mean(torch.ones(3), torch.zeros(3, dtype=torch.int64), torch.tensor([0.0, 1.0]), "weight")
    assert value == 0.0


def test_tiny_class_weights_average_as_large_ones_do():
    losses, targets = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0, 1, 1])
    for size in (1e-30, 1e-13, 1.0, 1e30):
        close(f.weighted_mean(losses, targets, size * torch.tensor([1.0, 3.0]), "weight"), 25 / 7, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e6])
def test_half_precision_losses_under_small_and_large_weights(dtype, size):
    losses, targets = torch.tensor([1.0, 2.0, 6.0], dtype=dtype), torch.tensor([0, 1, 1])
    value = f.weighted_mean(losses, targets, size * torch.tensor([1.0, 3.0]), "weight")
    assert value.dtype == dtype and float(value) == pytest.approx(25 / 7, rel=torch.finfo(dtype).eps)
    many = f.weighted_mean(torch.full((3,), 300.0, dtype=dtype), targets, torch.tensor([1e-4, 300.0]))
    assert float(many) == pytest.approx((1e-4 + 600) * 300 / 3, rel=torch.finfo(dtype).eps)


def test_weights_that_are_all_0_stay_0():
    assert f.normalise_weights(torch.zeros(2), torch.tensor([True, True])).tolist() == [0.0, 0.0]
    assert f.inverse_weights(torch.tensor([0, 0])).tolist() == [0.0, 0.0]


def test_float64_losses_stay_float64():
    weights = torch.tensor([1.0, 2.0])
    assert f.weighted_mean(torch.ones(2, dtype=torch.float64), torch.tensor([0, 1]), weights).dtype == torch.float64


# --------------------------------------------------------------------------------------------------- sigmoid and focal

Z, Y = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64), torch.tensor([0])


@pytest.mark.parametrize(
    "form, values",
    [
        ("sigmoid", {0.0: 1.414267, 0.5: 0.974788, 1.0: 0.705703, 2.0: 0.401873}),
        ("softmax", {0.0: 0.241311, 0.5: 0.111736, 1.0: 0.051738, 2.0: 0.011093}),
    ],
)
def test_focal_vector(form, values):
    for gamma, value in values.items():
        close(focal_loss(Z, Y, gamma, form), [value], 1e-6)


def test_focal_without_focus_is_cross_entropy():
    close(focal_loss(Z, Y, 0.0, "softmax"), f.cross_entropy(Z, Y), 1e-12)
    close(focal_loss(Z, Y, 0.0, "sigmoid"), sigmoid_loss(Z, Y), 1e-12)


def test_the_class_weight_does_not_enter_the_focal_probability():
    """Weight 2, gamma 1: 0.103476. With p = exp(-w CE), as one public code has it, it would be 0.184766."""
    weighted = f.weighted_mean(focal_loss(Z, Y, 1.0, "softmax"), Y, torch.tensor([2.0, 0.5, 0.5]))
    close(weighted, 0.103476, 1e-6)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("size", [0.0, 20.0, 88.0, 200.0])
def test_focal_is_finite_at_any_logit(form, gamma, size):
    z = (size * torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])).requires_grad_()
    loss = focal_loss(z, torch.tensor([0, 0, 0]), gamma, form)
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    assert loss.isfinite().all() and gradient.isfinite().all() and (loss >= 0).all()


def test_a_hopeless_sigmoid_keeps_its_whole_loss():
    """At z = -200 the modulator is 1; log1p(exp(-z)) overflows there and gives 0 instead."""
    close(focal_loss(torch.tensor([[-200.0, -200.0]]), torch.tensor([0]), 2.0, "sigmoid"), [200.0])


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="form='hinge': expected 'softmax' or 'sigmoid'"):
        focal_loss(Z, Y, 1.0, "hinge")


@pytest.mark.parametrize("k, bias, first", [(10, -2.197225, 3.2508), (100, -4.595120, 5.6002)])
def test_the_prior_bias_and_the_first_loss(k, bias, first):
    close(prior_bias(k), bias)
    head = prior_head(4, k, decay_bias=False)
    close(head.bias, [bias] * k)
    logits = head(torch.zeros(1, 4))
    close(sigmoid_loss(logits, torch.tensor([3])), [first], 1e-4)
    close(sigmoid_loss(torch.zeros(1, k), torch.tensor([3])), [k * math.log(2.0)], 1e-4)


def test_only_the_prior_bias_is_spared_by_weight_decay():
    head = prior_head(4, 10, decay_bias=False)
    assert [name for name, p in head.named_parameters() if getattr(p, "no_decay", False)] == ["bias"]
    assert not any(getattr(p, "no_decay", False) for p in prior_head(4, 10, decay_bias=True).parameters())


# ------------------------------------------------------------------------------------------------------- rows and pairs


def test_cross_entropy():
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.tensor([0, 3, 2, 2, 1])
    close(f.cross_entropy(z, y), nll(z.numpy(), y.numpy()), 1e-12)
    close(torch.log_softmax(z, 1).exp(), softmax(z.numpy()), 1e-12)


def test_one_hot_and_target_entries():
    z, y = torch.arange(6.0).reshape(2, 3), torch.tensor([2, 0])
    assert f.one_hot(y, z).tolist() == [[0, 0, 1], [1, 0, 0]] and f.one_hot(y, z).dtype == z.dtype
    assert f.target_entries(z, y).tolist() == [2.0, 3.0]


def test_unit_rows_and_a_row_of_zeros():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    unit = f.unit(x)
    close(unit.detach(), [[0.6, 0.8], [0.0, 0.0]])
    unit.sum().backward()
    assert x.grad.isfinite().all()
    x.grad = None
    f.safe_norm(x).sum().backward()
    close(x.grad, [[0.6, 0.8], [0.0, 0.0]])


FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", ["zero", "smallest", "tiny", 1e-7, 1e-3, 1.0, 300.0, "largest"])
def test_lengths_of_rows_of_any_size(dtype, size):
    """Against exact arithmetic on the same numbers, for the value and, where the type can hold it, the gradient."""
    kind = torch.finfo(dtype)
    size = {"zero": 0.0, "smallest": kind.smallest_normal * kind.eps, "tiny": kind.tiny, "largest": kind.max / 8}.get(
        size, size)  # fmt: skip
    x = torch.stack([torch.tensor([3.0, -4.0, 0.0, 1.0], dtype=torch.float64) * size, torch.arange(4.0).double()])
    x = x.to(dtype).requires_grad_()
    rows = [[Fraction(value) for value in row] for row in x.tolist()]
    squared = [sum(value * value for value in row) for row in rows]
    shift = 2**1200  # brings the square of any number into the range of math.isqrt
    length = [Fraction(math.isqrt(int(s * shift * shift)), shift) for s in squared]
    near = dict(rel=4 * kind.eps, abs=kind.smallest_normal * kind.eps)

    unit, norm = f.unit(x), f.safe_norm(x)
    assert unit.dtype == norm.dtype == dtype
    directions = [[float(v / n) if n else 0.0 for v in row] for row, n in zip(rows, length, strict=True)]
    for found, expected in zip(unit.tolist(), directions, strict=True):
        assert found == pytest.approx(expected, **near)
    assert norm.tolist() == pytest.approx([float(n) for n in length], **near)
    (pull,) = torch.autograd.grad(norm.sum(), x, retain_graph=True)
    for found, expected in zip(pull.tolist(), directions, strict=True):
        assert found == pytest.approx(expected, **near)

    along = torch.tensor([1.0, 2.0, -1.0, 0.5])
    (pull,) = torch.autograd.grad((unit * along.to(dtype)).sum(), x)
    for found, direction, n in zip(pull.tolist(), directions, length, strict=True):
        inner = sum(a * d for a, d in zip(along.tolist(), direction, strict=True))
        pairs = zip(along.tolist(), direction, strict=True)
        exact = [Fraction(a - d * inner) / n if n else Fraction(0) for a, d in pairs]
        if max(map(abs, exact)) < kind.max / 4:
            exact = list(map(float, exact))
            assert found == pytest.approx(exact, rel=16 * kind.eps, abs=16 * kind.eps * max(map(abs, exact)))
        assert not any(map(math.isnan, found))


def test_usual_rows_have_the_bits_of_the_plain_formula():
    generator = torch.Generator().manual_seed(3)
    for d in (2, 64, 513):
        x = (torch.randn(40, d, generator=generator) * torch.logspace(-4, 6, 40)[:, None]).requires_grad_()
        along = torch.randn(40, d, generator=generator)
        plain = x.square().sum(1).sqrt()
        assert torch.equal(f.safe_norm(x), plain) and torch.equal(f.unit(x), x / plain[:, None])
        for ours, theirs in ((f.safe_norm(x), plain), ((f.unit(x) * along).sum(), (x / plain[:, None] * along).sum())):
            pulls = [torch.autograd.grad(value.sum(), x, retain_graph=True)[0] for value in (ours, theirs)]
            assert torch.equal(*pulls)


def test_lengths_in_vmap_and_without_values():
    from torch._subclasses.fake_tensor import FakeTensorMode

    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    close(torch.func.vmap(f.unit)(x), torch.stack([f.unit(one) for one in x]), 0)
    close(torch.func.vmap(f.safe_norm)(x), x.square().sum(2).sqrt(), 1e-6)
    counts = torch.tensor([[3, 1], [7, 0]])
    close(torch.func.vmap(f.log_prior)(counts), torch.stack([f.log_prior(one) for one in counts]), 0)
    with FakeTensorMode():
        fake, y = torch.empty(6, 4), torch.zeros(6, dtype=torch.int64)
        assert f.unit(fake).shape == (6, 4) and f.safe_norm(fake.half()).dtype == torch.float16
        assert f.squared_distances(fake, fake).shape == (6, 6)
        assert f.effective_number(torch.empty(4), 0.9).shape == f.log_prior(torch.empty(4)).shape == (4,)
        assert f.weighted_mean(torch.empty(6), y, torch.empty(4), "weight").shape == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_distances_beyond_its_range(dtype):
    a, b = torch.tensor([[300.0, -400.0]], dtype=dtype), torch.zeros(1, 2, dtype=dtype)
    distances = f.squared_distances(a, b)
    assert distances.dtype == torch.float32 and distances.item() == 250_000.0


def test_rows_that_are_no_rows_are_refused():
    x = torch.ones(2, 3)
    for wrong in (None, [[1.0]], x[0], x.long(), x[None]):
        for call in (f.unit, f.safe_norm):
            with pytest.raises(ValueError, match="^x=.*expected a float tensor"):
                call(wrong)
        with pytest.raises(ValueError, match="^a=.*expected a float tensor"):
            f.squared_distances(wrong, x)
        with pytest.raises(ValueError, match="^b=.*expected a float tensor"):
            f.squared_distances(x, wrong)
    with pytest.raises(ValueError, match="^b=.*rows of 3 numbers"):
        f.squared_distances(x, torch.ones(2, 4))


def test_squared_distances_are_those_and_never_negative():
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(6, 3, generator=generator), torch.randn(4, 3, generator=generator)
    close(f.squared_distances(a, b), torch.cdist(a, b) ** 2, 1e-4)
    far = 1e3 + 1e-3 * torch.randn(20, 3, generator=generator)
    assert (f.squared_distances(far, far) >= 0).all()


def test_pair_masks():
    same, other = f.pair_masks(torch.tensor([0, 1, 0]))
    assert same.int().tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert other.int().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_log_prior_counts_an_absent_class_as_one_image():
    close(f.log_prior(torch.tensor([6, 2, 0])).exp(), [6 / 9, 2 / 9, 1 / 9])


# ----------------------------------------------------------------------------------------------------- wrong arguments
FLOATS, TARGETS = torch.ones(3, 4), torch.tensor([0, 1, 3])
NO_NUMBERS = (None, "3", 2.5, True, [[1.0]], FLOATS.numpy(), FLOATS > 0, FLOATS.to(torch.complex64),
              FLOATS.to(torch.float8_e4m3fn), FLOATS.to_sparse())  # fmt: skip
NO_TARGETS = (None, [0, 1, 3], TARGETS.numpy(), TARGETS.float(), TARGETS.int(), TARGETS > 0, TARGETS[:, None],
              torch.tensor(1))  # fmt: skip
NOT_THREE = (TARGETS[:2], TARGETS[:1], torch.cat([TARGETS, TARGETS]))  # one would be repeated, without a check
PRESENT = torch.tensor([True] * 4)
WRONG = [
    (f.precise, {"values": FLOATS}, {"values": NO_NUMBERS}),
    (f.normalise_weights, {"weight": FLOATS[0], "present": PRESENT}, {
        "weight": (*NO_NUMBERS, FLOATS, FLOATS[0] * torch.nan, -FLOATS[0]),
        "present": (None, True, [True] * 4, FLOATS[0], PRESENT[:1], PRESENT[None])}),
    (f.weighted_mean, {"losses": FLOATS[:, 0], "targets": TARGETS, "class_weight": FLOATS[0]}, {
        "losses": (*NO_NUMBERS, FLOATS, TARGETS, torch.ones(()), torch.ones(0)), "targets": (*NO_TARGETS, *NOT_THREE),
        "class_weight": (*NO_NUMBERS[1:], FLOATS, torch.ones(())),
        "reduction": (None, "mean", True, "N")}),
    (f.one_hot, {"targets": TARGETS, "like": FLOATS}, {
        "targets": NO_TARGETS, "like": (*NO_NUMBERS, FLOATS[0], FLOATS[None])}),
    (f.target_entries, {"values": FLOATS, "targets": TARGETS}, {
        "values": (*NO_NUMBERS, FLOATS[0], FLOATS[None]), "targets": (*NO_TARGETS, *NOT_THREE)}),
    (f.unit, {"x": FLOATS}, {"x": (*NO_NUMBERS, FLOATS[:, :0])}),
    (f.safe_norm, {"x": FLOATS}, {"x": (*NO_NUMBERS, FLOATS[:, :0])}),
    (f.squared_distances, {"a": FLOATS, "b": FLOATS}, {"a": NO_NUMBERS, "b": NO_NUMBERS}),
    (f.pair_masks, {"targets": TARGETS}, {"targets": NO_TARGETS}),
    (f.cross_entropy, {"logits": FLOATS, "targets": TARGETS}, {
        "logits": (*NO_NUMBERS, FLOATS[0], FLOATS[None], FLOATS.long()), "targets": (*NO_TARGETS, *NOT_THREE, FLOATS)}),
]  # fmt: skip


@pytest.mark.parametrize("call, right, wrong", WRONG, ids=[call.__name__ for call, *_ in WRONG])
def test_a_wrong_argument_is_refused_by_name(call, right, wrong):
    call(**right)
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=f"^{name}[=:].*expected "):
                call(**{**right, name: value})


def test_a_wrong_type_of_numbers_and_another_device_are_said():
    with pytest.raises(ValueError, match="^targets=.*shape .3,.*an int64 tensor .*; its numbers are float32"):
        f.pair_masks(TARGETS.float())
    with pytest.raises(ValueError, match="^targets: it is on meta, what it belongs to on cpu"):
        f.cross_entropy(FLOATS, TARGETS.to("meta"))


@pytest.mark.parametrize("strange", [-100, -1, 4, 2**40])
def test_a_target_that_is_no_class_is_named(strange):
    """-100 is torch's own sign for a sample without a loss, and -1 the last class of an index."""
    targets = torch.tensor([0, strange, 1])
    for call in (lambda: f.cross_entropy(FLOATS, targets), lambda: f.target_entries(FLOATS, targets),
                 lambda: f.weighted_mean(FLOATS[:, 0], targets, FLOATS[0])):  # fmt: skip
        with pytest.raises(ValueError, match=f"^targets: expected class numbers from 0 to 3, found {strange}$"):
            call()
    assert f.one_hot(targets, FLOATS).sum(1).tolist() == [1, 0, 1]


def test_checks_look_at_no_value_and_take_microseconds():
    """Tensors without values stand for those of a GPU, where a look at a value would wait."""
    logits, targets = torch.ones(64, 10, device="meta"), torch.zeros(64, dtype=torch.int64, device="meta")
    losses = f.cross_entropy(logits, targets)
    assert f.weighted_mean(losses, targets, logits[0]).shape == () and f.one_hot(targets, logits).shape == (64, 10)
    assert f.target_entries(logits, targets).shape == (64,) and f.pair_masks(targets)[0].shape == (64, 64)
    began = time.process_time()
    for _ in range(1000):
        f.check_tensor("losses", FLOATS, 2, "float", "a float tensor", FLOATS)
    assert time.process_time() - began < 0.05
