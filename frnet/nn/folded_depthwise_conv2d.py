"""The inference form of a depthwise stage."""

from __future__ import annotations

from .folded import Folded

__all__ = ["FoldedDepthwiseConv2d"]


class FoldedDepthwiseConv2d(Folded):
    """What :meth:`frnet.nn.DepthwiseConv2dNormAct.fuse` returns.

    Example:
        >>> import torch
        >>> from frnet.nn import DepthwiseConv2dNormAct
        >>> stage = DepthwiseConv2dNormAct(8, 3, stride=2, padding=1).eval()
        >>> x = torch.randn(1, 8, 15, 15)
        >>> torch.allclose(stage.fuse()(x), stage(x))
        True
    """
