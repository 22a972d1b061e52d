"""Depthwise convolution as a module."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from frnet import ops

from .arguments import check_channels, check_pair


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
        name = "DepthwiseConv2d"
        self.channels = check_channels(name, channels)
        self.kernel_size = check_pair(name, "kernel_size", kernel_size, 1)
        self.stride = check_pair(name, "stride", stride, 1)
        self.padding = check_pair(name, "padding", padding, 0)
        self.dilation = check_pair(name, "dilation", dilation, 1)
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

    @property
    def in_channels(self) -> int:
        """As ``nn.Conv2d`` calls it."""
        return self.channels

    @property
    def out_channels(self) -> int:
        """As ``nn.Conv2d`` calls it."""
        return self.channels

    @property
    def groups(self) -> int:
        """As ``nn.Conv2d`` calls it."""
        return self.channels

    def arguments(self) -> tuple:
        """What the ops take behind ``x``: weight, bias, stride, padding, dilation."""
        return self.weight, self.bias, self.stride, self.padding, self.dilation

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` [batch, channels, height, width]; see :func:`frnet.ops.depthwise_conv2d`."""
        return ops.depthwise_conv2d(x, *self.arguments())

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, bias={self.bias is not None}"
        )
