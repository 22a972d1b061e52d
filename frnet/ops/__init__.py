"""The fused kernels as differentiable torch ops, each a drop-in part for other models."""

from frnet.ops.depthwise import depthwise_conv2d
from frnet.ops.morphable import reconstruct_vertices

__all__ = ["depthwise_conv2d", "reconstruct_vertices"]
