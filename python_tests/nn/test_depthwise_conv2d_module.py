"""DepthwiseConv2d stands in for torch's grouped convolution: same state dict, same start, same result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frnet.nn import DepthwiseConv2d


def twins(channels: int, kernel_size, **settings) -> tuple[DepthwiseConv2d, nn.Conv2d]:
    torch.manual_seed(3)
    ours = DepthwiseConv2d(channels, kernel_size, **settings)
    torch.manual_seed(3)
    theirs = nn.Conv2d(channels, channels, kernel_size, groups=channels, **settings)
    return ours, theirs


@pytest.mark.parametrize("kernel_size", [1, 3, 5, (3, 5)])
@pytest.mark.parametrize(
    "settings", [{}, {"stride": 2, "padding": 1}, {"padding": (2, 1), "dilation": 2, "bias": False}]
)
def test_is_torchs_grouped_convolution(kernel_size, settings):
    ours, theirs = twins(7, kernel_size, **settings)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=0)
    x = torch.randn(2, 7, 15, 13)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_gradients_reach_the_parameters():
    ours, theirs = twins(4, 3, padding=1)
    x = torch.randn(2, 4, 9, 9)
    for layer in (ours, theirs):
        layer(x).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-4, atol=1e-4)


def test_state_dicts_are_interchangeable():
    ours, _ = twins(4, 3)
    other = nn.Conv2d(4, 4, 3, groups=4)
    other.load_state_dict(ours.state_dict())
    ours.load_state_dict(other.state_dict())


def test_device_and_dtype_reach_the_parameters():
    layer = DepthwiseConv2d(2, 3, device="meta", dtype=torch.float64)
    assert layer.weight.device.type == "meta"
    assert layer.bias.dtype == torch.float64


def test_says_its_sizes_as_conv2d_does():
    layer = DepthwiseConv2d(6, 3)
    assert layer.in_channels == layer.out_channels == layer.groups == 6


def test_repr_says_what_it_is():
    assert "8, kernel_size=(3, 3), stride=(2, 2)" in repr(DepthwiseConv2d(8, 3, stride=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 0, "kernel_size": 3}, "channels must be an int >= 1, got 0"),
        ({"channels": 2, "kernel_size": 0}, "kernel_size must be an int >= 1"),
        ({"channels": 2, "kernel_size": (3, 3, 3)}, "kernel_size must be"),
        ({"channels": 2, "kernel_size": 3, "stride": 0}, "stride must be an int >= 1"),
        ({"channels": 2, "kernel_size": 3, "padding": -1}, "padding must be an int >= 0"),
        ({"channels": 2, "kernel_size": 3, "dilation": 0.5}, "dilation must be an int >= 1"),
    ],
)
def test_sizes_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        DepthwiseConv2d(**settings)
