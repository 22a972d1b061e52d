"""The inference form of a dense convolution with a normalisation and an activation, and how it is computed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import fold_into_convolution

__all__ = ["FoldedConv2d", "convolve", "convolve_activate"]

_IN_PLACE = {
    "none": lambda v: v,
    "relu": F.relu_,
    "relu6": lambda v: F.hardtanh_(v, 0.0, 6.0),
    "hardswish": lambda v: F.hardswish(v, inplace=True),
    "silu": lambda v: F.silu(v, inplace=True),
}


class FoldedConv2d(nn.Module):
    """What :meth:`Conv2dNormAct.fuse` returns: constants alone; stays in evaluation.

    Example:
        >>> import torch
        >>> from frnet.nn import Conv2dNormAct
        >>> stage = Conv2dNormAct(3, 8, 3, stride=2).eval()
        >>> x = torch.randn(1, 3, 15, 15)
        >>> torch.allclose(stage.fuse()(x), stage(x))
        True
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, activation: str) -> None:
        super().__init__()
        self.training = False
        self.stride, self.activation = conv.stride, activation
        weight, bias = fold_into_convolution(conv, norm)
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] -> [batch, out_channels, out_height, out_width]."""
        return convolve_activate(x, self.weight, self.bias, self.stride, self.activation)

    def train(self, mode: bool = True) -> nn.Module:
        """Refuses ``mode=True``: the running statistics are folded in."""
        if mode:
            raise RuntimeError("FoldedConv2d: holds constants and cannot be trained, only its source can")
        return super().train(mode)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        out_channels, in_channels, *kernel = self.weight.shape
        return f"{in_channels}, {out_channels}, kernel_size={tuple(kernel)}, stride={self.stride}, {self.activation}"


def convolve_activate(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], activation: str
) -> Tensor:
    """A dense convolution that keeps the size of the plane, but for its stride, and an activation of its result."""
    return _IN_PLACE[activation](convolve(x, weight, bias, stride))


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int]) -> Tensor:
    """A dense convolution that keeps the size of the plane, but for its stride."""
    height, width = weight.shape[2:]
    if (height, width) != (1, 1) or not _is_faster_as_product(x, stride):
        return F.conv2d(x, weight, bias, stride, (height // 2, width // 2))
    if stride != (1, 1):
        x = x[:, :, :: stride[0], :: stride[1]].contiguous()
    columns, rows = x.flatten(2), weight.flatten(1).expand(len(x), -1, -1)
    y = torch.bmm(rows, columns) if bias is None else torch.baddbmm(bias[:, None], rows, columns)
    return y.unflatten(2, x.shape[2:])


def _is_faster_as_product(x: Tensor, stride: tuple[int, int]) -> bool:
    """Whether a 1x1 convolution is better done as a matrix product per image.

    torch's convolution rearranges dense NCHW planes on the CPU, there and back, which takes longer than the product
    itself where planes are large; below 8x8 pixels, products of single images are too small. What is compiled or
    exported stays a convolution.
    """
    return (
        x.device.type == "cpu"
        and (x.shape[2] * x.shape[3] >= 64 or stride != (1, 1))
        and not torch.compiler.is_compiling()
        and x.is_contiguous()
    )
