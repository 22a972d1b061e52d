"""Dense convolution, batch normalisation and activation as one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frnet.ops.activations import ACTIVATIONS

from .arguments import check_name
from .batch_norm import fold_into_convolution, normalises_by_batch, refuse_fusing
from .depthwise_conv2d_norm_act import normalise_activate
from .folded_conv2d import FoldedConv2d, convolve, convolve_activate

__all__ = ["Conv2dNormAct"]


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
            u = convolve(x, self.conv.weight, None, self.conv.stride)
            return normalise_activate(u, self.norm, self.activation)
        return convolve_activate(x, *fold_into_convolution(self.conv, self.norm), self.conv.stride, self.activation)

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
