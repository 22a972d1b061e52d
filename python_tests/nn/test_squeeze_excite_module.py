"""SqueezeExcite stands in for timm's and torchvision's modules."""

from __future__ import annotations

import pytest
import torch
from support.tolerances import assert_close
from support.torchvision_models import import_timm, import_torchvision
from torch import nn

from frnet.nn import SqueezeExcite

CHANNELS = 24


class SENetLayer(nn.Module):
    """As in the common ports of SENet, and without biases in DAMDNet."""

    def __init__(self, channels: int, squeezed: int, bias: bool = True) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed, bias=bias), nn.ReLU(), nn.Linear(squeezed, channels, bias=bias), nn.Sigmoid()
        )

    def forward(self, x):
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


def timm_efficientnet(**settings):
    import_timm()
    from timm.models._efficientnet_blocks import SqueezeExcite as Theirs

    return Theirs(CHANNELS, rd_channels=6, **settings)


def timm_layers(**settings):
    return import_timm().layers.SqueezeExcite(CHANNELS, rd_channels=6, **settings)


def torchvision_module(**settings):
    return import_torchvision().ops.SqueezeExcitation(CHANNELS, 6, **settings)


# Their constructor and its settings; ours.
CASES = {
    "timm-efficientnet": (timm_efficientnet, {}, {"names": "timm"}),
    "timm-efficientnet-silu": (timm_efficientnet, {"act_layer": nn.SiLU}, {"names": "timm", "activation": "silu"}),
    "timm-mobilenetv3": (
        timm_efficientnet,
        {"gate_layer": "hard_sigmoid"},
        {"names": "timm", "gate": "hardsigmoid"},
    ),
    "timm-layers": (timm_layers, {}, {"names": "torchvision"}),
    "timm-layers-no-bias": (
        timm_layers,
        {"bias": False, "act_layer": nn.ReLU6},
        {"names": "torchvision", "bias": False, "activation": "relu6"},
    ),
    "torchvision": (torchvision_module, {}, {"names": "torchvision"}),
    "torchvision-mobilenetv3": (
        torchvision_module,
        {"scale_activation": nn.Hardsigmoid},
        {"names": "torchvision", "gate": "hardsigmoid"},
    ),
    "torchvision-hardswish": (
        torchvision_module,
        {"activation": nn.Hardswish},
        {"names": "torchvision", "activation": "hardswish"},
    ),
    "torchvision-none": (
        torchvision_module,
        {"activation": nn.Identity},
        {"names": "torchvision", "activation": "none"},
    ),
    "senet": (lambda **settings: SENetLayer(CHANNELS, 6, **settings), {}, {"names": "senet"}),
    "damdnet": (
        lambda **settings: SENetLayer(CHANNELS, 6, **settings),
        {"bias": False},
        {"names": "senet", "bias": False},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_is_their_module(case, layout, assert_same_steps):
    make, settings, our_settings = case
    torch.manual_seed(3)
    theirs = make(**settings)
    torch.manual_seed(3)
    ours = SqueezeExcite(CHANNELS, rd_channels=6, **our_settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)  # the same start too
    x = 3 * torch.randn(3, CHANNELS, 7, 5)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
        assert ours(x).is_contiguous(memory_format=torch.channels_last)
    assert_same_steps(ours, theirs, x, steps=1)


@pytest.mark.parametrize("names", ["timm", "torchvision", "senet"])
@pytest.mark.parametrize("other", ["timm", "torchvision", "senet"])
@pytest.mark.parametrize("nested", [False, True])
def test_every_naming_loads_every_other(names, other, nested):
    ours, source = SqueezeExcite(16, names=names), SqueezeExcite(16, names=other)
    if nested:
        ours, source = nn.Sequential(nn.ReLU(), ours), nn.Sequential(nn.ReLU(), source)
    keys = list(source.state_dict())
    ours.load_state_dict(source.state_dict())
    assert list(source.state_dict()) == keys
    x = torch.randn(2, 16, 5, 5)
    assert torch.equal(ours(x), source(x))


def test_what_does_not_fit_is_not_loaded():
    with pytest.raises(RuntimeError, match=r"size mismatch for conv_reduce\.weight"):
        SqueezeExcite(16, names="timm").load_state_dict(SqueezeExcite(16, rd_channels=4, names="senet").state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        SqueezeExcite(16).load_state_dict(SqueezeExcite(16, bias=False, names="senet").state_dict())


@pytest.mark.parametrize("channels", [1, 8, 20, 72, 100, 960])
@pytest.mark.parametrize("settings", [{}, {"rd_ratio": 0.25}, {"rd_ratio": 0.25, "rd_divisor": 1}, {"rd_channels": 5}])
def test_squeezed_channels_follow_timms_rule(channels, settings):
    theirs = import_timm().layers.SqueezeExcite(channels, **settings)
    assert SqueezeExcite(channels, **settings).squeezed == theirs.fc1.out_channels


def test_compile_and_export(assert_compiles_and_exports):
    assert_compiles_and_exports(SqueezeExcite(8, rd_channels=4, names="senet"), torch.randn(2, 8, 7, 5))


def test_bfloat16():
    ours = SqueezeExcite(8).bfloat16()
    x = torch.randn(2, 8, 7, 5).bfloat16()
    assert_close(ours(x), ours.float()(x.float()), "forward")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": -1}, "channels must be an int >= 1, got -1"),
        ({"rd_channels": 0}, "rd_channels must be an int >= 1 or None, got 0"),
        ({"rd_ratio": 0.0}, "rd_ratio must be above 0, got 0.0"),
        ({"rd_divisor": 0}, "rd_divisor must be an int >= 1, got 0"),
        ({"activation": "gelu"}, "activation must be one of none, relu"),
        ({"gate": "tanh"}, "gate must be one of sigmoid, hardsigmoid, got 'tanh'"),
        ({"names": "keras"}, "names must be one of timm, torchvision, senet, got 'keras'"),
    ],
)
def test_constructor_errors(settings, message):
    with pytest.raises(ValueError, match=f"SqueezeExcite: {message}"):
        SqueezeExcite(**{"channels": 8} | settings)
