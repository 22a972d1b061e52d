"""The inference form of the multi-scale depthwise stage."""

from __future__ import annotations

from .folded import Folded

__all__ = ["FoldedHierarchicalDepthwiseConv2d"]


class FoldedHierarchicalDepthwiseConv2d(Folded):
    """What :meth:`frnet.nn.HierarchicalDepthwiseConv2d.fuse` returns.

    Example:
        >>> import torch
        >>> from frnet.nn import HierarchicalDepthwiseConv2d
        >>> stage = HierarchicalDepthwiseConv2d(8).eval()
        >>> x = torch.randn(1, 8, 15, 15)
        >>> torch.allclose(stage.fuse()(x), stage(x))
        True
    """
