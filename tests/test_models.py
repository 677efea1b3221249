"""Networks: initial values that follow the seed and nothing else, torchvision's backbones, names that name nothing."""

import hashlib

import pytest
import torch

from ltviz.methods import METHODS
from ltviz.models import (
    MODELS,
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
    objective = METHODS[method].build(COUNTS, **METHODS[method].resolve({}))
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
