"""Depthwise convolution as a module."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from frnet import ops


def _pair(value: int | tuple[int, int], name: str, least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(isinstance(number, int) and number >= least for number in pair):
        raise ValueError(f"DepthwiseConv2d: {name} must be an int >= {least} or a pair of them, got {value!r}")
    return pair


class DepthwiseConv2d(nn.Module):
    """One filter per channel: ``y[b, c] = x[b, c] * weight[c, 0] + bias[c]``, computed by our own kernel.

    It stands in for ``nn.Conv2d(channels, channels, kernel_size, ..., groups=channels)``: same state-dict
    names and shapes, same initialisation (drawn in the same order from the same generator), same result.

    Args:
        channels: number of input and of output channels, at least 1.
        kernel_size: height and width of the filter, in pixels.
        stride: step of the filter, in pixels.
        padding: zeros added on each side, in pixels.
        dilation: distance between two taps of the filter, in pixels.
        bias: whether a bias per channel is added.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: a size is not an integer in its range.

    Example:
        >>> import torch
        >>> layer = DepthwiseConv2d(8, kernel_size=3, stride=2, padding=1)
        >>> layer(torch.zeros(1, 8, 15, 15)).shape
        torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f"DepthwiseConv2d: channels must be an int >= 1, got {channels!r}")
        self.channels = channels
        self.kernel_size = _pair(kernel_size, "kernel_size", 1)
        self.stride = _pair(stride, "stride", 1)
        self.padding = _pair(padding, "padding", 0)
        self.dilation = _pair(dilation, "dilation", 1)
        self.weight = nn.Parameter(torch.empty(channels, 1, *self.kernel_size, device=device, dtype=dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty(channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(-b, b), b = 1/sqrt(kernel area), as ``nn.Conv2d`` does."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.kernel_size[0] * self.kernel_size[1])
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` [batch, channels, height, width]; see :func:`frnet.ops.depthwise_conv2d`."""
        return ops.depthwise_conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, bias={self.bias is not None}"
        )
