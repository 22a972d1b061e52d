"""Modules that run on :mod:`frnet.ops`: drop-in parts for mobile networks."""

from .depthwise_conv2d import DepthwiseConv2d

__all__ = ["DepthwiseConv2d"]
