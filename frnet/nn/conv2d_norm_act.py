"""Dense convolution, batch normalisation and activation as one module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frnet.ops.activations import ACTIVATIONS

from .arguments import check_name
from .batch_norm import fold_batch_norm, normalises_by_batch, refuse_fusing
from .depthwise_conv2d_norm_act import normalise_activate

__all__ = ["Conv2dNormAct", "FoldedConv2d"]

_IN_PLACE = {
    "none": lambda v: v,
    "relu": F.relu_,
    "relu6": lambda v: F.hardtanh_(v, 0.0, 6.0),
    "hardswish": lambda v: F.hardswish(v, inplace=True),
    "silu": lambda v: F.silu(v, inplace=True),
}


class Conv2dNormAct(nn.Module):
    """Convolution without a bias, batch normalisation and activation: what stands around a depthwise stage.

    It equals ``Sequential(Conv2d(..., bias=False), BatchNorm2d(out_channels), activation)``, with torch's convolution.
    In training normalisation and activation are one op of frnet, which keeps the convolution's result alone for the
    backward pass; in evaluation the running statistics are folded into the convolution's weights. ``norm.training``
    decides, so a frozen normalisation stays frozen.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the filters, in pixels; odd: padding keeps the size of the plane.
        stride: step of the filters, in pixels.
        activation: "none", "relu", "relu6", "hardswish" or "silu".
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: an unknown activation, or an even kernel size.

    Example:
        >>> import torch
        >>> Conv2dNormAct(3, 32, 3, stride=2)(torch.randn(2, 3, 120, 120)).shape
        torch.Size([2, 32, 60, 60])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        activation: str = "relu6",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(
                f"Conv2dNormAct: kernel_size must be odd, to keep the size of the plane, got {kernel_size}"
            )
        self.activation = check_name("Conv2dNormAct", "activation", ACTIVATIONS, activation)
        factory = {"device": device, "dtype": dtype}
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False, **factory)
        self.norm = nn.BatchNorm2d(out_channels, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] -> [batch, out_channels, out_height, out_width]."""
        if normalises_by_batch(self.norm):
            u = _convolve(x, self.conv.weight, None, self.conv.stride)
            return normalise_activate(u, self.norm, self.activation)
        return _IN_PLACE[self.activation](_convolve(x, *_fold(self.conv, self.norm), self.conv.stride))

    @torch.no_grad()
    def fuse(self) -> FoldedConv2d:
        """The same in evaluation, with the normalisation folded once and for all; parameters are copied.

        Raises:
            RuntimeError: the module is in training, or has no running statistics.
        """
        refuse_fusing(self, self.norm)
        return FoldedConv2d(self.conv, self.norm, self.activation)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        return f"activation={self.activation}"


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int]) -> Tensor:
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


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution with the normalisation in it."""
    scale, shift = (value.to(conv.weight.dtype) for value in fold_batch_norm(norm))
    return conv.weight * scale[:, None, None, None], shift


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
        weight, bias = _fold(conv, norm)
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] -> [batch, out_channels, out_height, out_width]."""
        return _IN_PLACE[self.activation](_convolve(x, self.weight, self.bias, self.stride))

    def train(self, mode: bool = True) -> nn.Module:
        """Refuses ``mode=True``: the running statistics are folded in."""
        if mode:
            raise RuntimeError("FoldedConv2d: holds constants and cannot be trained, only its source can")
        return super().train(mode)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        out_channels, in_channels, *kernel = self.weight.shape
        return f"{in_channels}, {out_channels}, kernel_size={tuple(kernel)}, stride={self.stride}, {self.activation}"
