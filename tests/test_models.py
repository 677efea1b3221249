"""Networks: initial values that follow the seed and nothing else, torchvision's backbones, names that name nothing."""

import hashlib

import numpy as np
import pytest
import torch

from ltviz.methods import METHODS
from ltviz.models import (
    CNN,
    MLP,
    MODELS,
    Block,
    CosineHead,
    LinearHead,
    Net,
    ResNet,
    TorchvisionBackbone,
    average,
    initialise,
    make_backbone,
    make_net,
    own_draws,
)

COUNTS = torch.tensor([50, 20, 5])
SMALL = [
    ("squeezenet1_0", (3, 32, 32), 512),
    ("shufflenet_v2_x0_5", (3, 32, 32), 1024),
    ("mobilenet_v3_small", (3, 32, 32), 1024),
    ("googlenet", (3, 32, 32), 1024),
    ("convnext_tiny", (3, 32, 32), 768),
    ("resnet18", (1, 28, 28), 512),
    ("swin_t", (3, 32, 32), 768),
    pytest.param("vit_b_32", (3, 32, 32), 768, marks=pytest.mark.slow),
    ("densenet121", (1, 32, 32), 1024),
]


def net_for(name, shape=(3, 16, 16), seed=0, method="ce"):
    objective = METHODS[method]().build(COUNTS)
    return make_net(name, shape, objective, torch.Generator().manual_seed(seed))


def digest(module):
    values = b"".join(value.detach().numpy().tobytes() for value in module.state_dict().values())
    return hashlib.sha256(values).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------ initial values


@pytest.mark.parametrize("name, backbone, head", [
    ("mlp", "203a1d9e1e3bda79", "c86f39b3a52cb79a"),
    ("cnn", "e17dadb735ba4e17", "cdb25c7111249c59"),
    ("resnet8", "3cc15a5699647176", None),
    ("resnet32", "2a7b4d846cd27c2a", None),
])  # fmt: skip
def test_initial_values_of_recorded_runs_stay_what_they_are(name, backbone, head):
    net = net_for(name, seed=7)
    assert digest(net.backbone) == backbone
    assert head is None or digest(net.head) == head


@pytest.mark.parametrize(
    "name, method",
    [
        *((name, method) for name in MODELS for method in ("ce", "focal", "arcface", "l2_constrained")),
        *((f"torchvision:{name}", "ce") for name in ("squeezenet1_0", "swin_t", "googlenet")),
    ],
)
def test_a_seed_makes_a_network_and_nothing_else_does(name, method):
    shape = (3, 32, 32) if name.startswith("torchvision") else (3, 16, 16)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = net_for(name, shape, 4, method)
    assert torch.equal(before, torch.get_rng_state()), "torch's global generator is as before"
    torch.manual_seed(2)
    two, other = net_for(name, shape, 4, method), net_for(name, shape, 5, method)
    assert one.state_dict().keys() == two.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    for (key, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert a.dim() < 2 or a.min() == a.max() or not torch.equal(a, b), f"{key} does not follow the seed"


@pytest.mark.parametrize("draw", [torch.poisson, torch._standard_gamma, torch.bernoulli], ids=lambda one: one.__name__)
def test_a_generator_that_is_given_is_drawn_from_by_place_or_name(draw):
    """Inside own_draws too: some operators take their generator by place."""
    x = torch.full((40,), 0.5)
    alone = draw(x, generator=torch.Generator().manual_seed(3))
    with own_draws(torch.Generator().manual_seed(0)) as told:
        given = draw(x, generator=torch.Generator().manual_seed(3))
        assert torch.equal(given, alone) and not told.drew
        unnamed = draw(x)
        assert told.drew
    with own_draws(torch.Generator().manual_seed(0)):
        assert torch.equal(draw(x), unnamed)


def test_a_step_of_a_torchvision_network_draws_from_the_generator_that_stands_in():
    """Stochastic depth is on, as torchvision publishes it: the same stream gives the same step."""
    net = net_for("torchvision:swin_t", (3, 32, 32)).train()
    before = torch.get_rng_state()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    steps = []
    for seed in (1, 1, 2):
        with own_draws(torch.Generator().manual_seed(seed)):
            steps.append(net(images).logits)
    assert torch.equal(steps[0], steps[1]) and not torch.equal(steps[0], steps[2])
    assert torch.equal(before, torch.get_rng_state())


# ----------------------------------------------------------------------------------------------------- wrong arguments
NO_SIZE = (0, -1, True, 2.5, "3", None, float("nan"), np.float64(2), torch.tensor([3]), torch.tensor([True]))
NO_SHAPE = (None, 3, "388", (3, 8), (3, 8, 8, 1), (3, 8, 0), (3, 8.5, 8), (True, 8, 8), (3, 8, float("nan")))
NO_FLAG = (None, 1, "yes", 0.0)
SHAPE, CE = (3, 8, 8), METHODS["ce"]().build(COUNTS)
RANDOM = torch.Generator()
WRONG = [
    (MLP, {"shape": SHAPE, "width": 4}, {"shape": NO_SHAPE, "width": (*NO_SIZE, 10**6)}),
    (CNN, {"shape": SHAPE, "width": 4}, {"shape": (*NO_SHAPE, (3, 3, 8)), "width": (*NO_SIZE, 10**6)}),
    (ResNet, {"shape": SHAPE, "depth": 8, "width": 4}, {
        "shape": NO_SHAPE, "width": (*NO_SIZE, 10**6), "depth": (*NO_SIZE, 2, 9, 6 * 10**6 + 2)}),
    (Block, {"inputs": 4, "outputs": 8, "stride": 2}, {"inputs": NO_SIZE, "outputs": (*NO_SIZE, 3), "stride": NO_SIZE}),
    (LinearHead, {"dim": 4, "k": 3}, {
        "dim": NO_SIZE, "k": (*NO_SIZE, 10**6), "bias": NO_FLAG, "bias_start": ("0", True, float("nan"), 1e39)}),
    (CosineHead, {"dim": 4, "k": 3, "scale": 16.0}, {
        "dim": NO_SIZE, "k": (*NO_SIZE, 10**6), "scale": (0.0, -1.0, None, "3", True, float("inf"), float("nan"), 1e39),
        "learn_scale": NO_FLAG}),
    (Net, {"backbone": MLP(SHAPE, 4), "head": LinearHead(4, 3)}, {
        "backbone": (None, "mlp", MLP), "head": (None, 3, MLP(SHAPE), torch.nn.Conv2d(4, 3, 1))}),
    (initialise, {"module": MLP(SHAPE, 4), "generator": RANDOM}, {
        "module": (None, "mlp", MLP), "generator": (None, 3, torch.random)}),
    (make_backbone, {"name": "mlp:4", "shape": SHAPE}, {"shape": NO_SHAPE}),
    (make_net, {"name": "mlp:4", "shape": SHAPE, "objective": CE, "generator": RANDOM}, {
        "shape": NO_SHAPE, "objective": (None, "ce", METHODS["ce"], torch.nn.Linear(2, 2)),
        "generator": (None, 0, torch.random)}),
    (TorchvisionBackbone, {"name": "squeezenet1_0", "shape": (3, 32, 32)}, {"shape": NO_SHAPE}),
]  # fmt: skip


@pytest.mark.parametrize("call, right, wrong", WRONG, ids=[call.__name__ for call, *_ in WRONG])
def test_a_wrong_argument_is_refused_by_name(call, right, wrong):
    call(**right)
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=f"^{name}=.*expected "):
                call(**{**right, name: value})


@pytest.mark.parametrize("name", [None, 3, "", "mpl", "mlp:0", "cnn:2.5", "resnet9", "torchvision:", "torchvision:x"])
def test_a_model_that_is_none_is_refused_by_name(name):
    for call in (lambda: make_backbone(name, SHAPE), lambda: make_net(name, SHAPE, CE, RANDOM)):
        with pytest.raises(ValueError, match="^model="):
            call()
    with pytest.raises(ValueError, match="^(name|model)="):
        TorchvisionBackbone(name, SHAPE)


def test_a_stem_halves_large_images_and_leaves_small_ones():
    for side, halvings in ((8, 0), (32, 0), (33, 1), (64, 1), (65, 2), (128, 2), (224, 3)):
        backbone = make_backbone("resnet8_stem", (3, side, side))
        strides = [
            module.stride[0] for module in (backbone.conv, *backbone.stem) if isinstance(module, torch.nn.Conv2d)
        ]
        assert strides == ([2] * halvings or [1]), side
        with torch.no_grad():
            assert backbone.eval()(torch.zeros(1, 3, side, side)).shape == (1, 64)
    plain, stem = net_for("resnet8", seed=3), net_for("resnet8_stem", seed=3)
    assert digest(plain) == digest(stem), "of 16 x 16 pixels"
    wide = make_backbone("resnet20_stem", (1, 20, 70))
    assert wide.conv.stride == (2, 2) and len(wide.stem) == 3


def test_numpys_numbers_are_sizes():
    net = ResNet(np.array([3, 8, 8]), np.int64(8), np.int32(4))
    assert net.dim == 16 and type(net.dim) is int and net(torch.zeros(2, 3, 8, 8)).shape == (2, 16)
    assert CNN([1, 4, 4], 2).eval()(torch.zeros(1, 1, 4, 4)).shape == (1, 8)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_average_is_the_mean_in_either_layout_and_so_is_its_gradient(layout):
    """The last digit included: recorded runs were trained with the plain mean. Below it, no layout changes."""
    draw = torch.Generator().manual_seed(0)
    maps, up = torch.randn(6, 5, 4, 3, generator=draw), torch.randn(6, 5, generator=draw)
    maps = maps.contiguous(memory_format=layout).requires_grad_()
    found, expected = average(maps), maps.mean((2, 3))
    assert torch.equal(found, expected) and found.shape == (6, 5)
    (gradient,) = torch.autograd.grad(found, maps, up)
    assert torch.equal(gradient, torch.autograd.grad(expected, maps, up)[0])
    assert layout is torch.contiguous_format or gradient.is_contiguous(memory_format=layout)
