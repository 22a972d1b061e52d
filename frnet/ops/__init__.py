"""The fused kernels as differentiable torch ops, each a drop-in part for other models.

Their gradients go through ``backward()`` and through ``torch.func`` (``grad``, ``vjp``, ``jacrev``, ``vmap``) alike. In
forward mode (``jvp``, ``jacfwd``, ``torch.autograd.forward_ad``) tangents come from the op in plain torch, which is
right and not fast. Second derivatives are errors, and :mod:`frnet.ops.reference` has them.
"""

from frnet.ops.batch_norm_act import batch_norm_act
from frnet.ops.batch_norm_act_sge import batch_norm_act_sge
from frnet.ops.depthwise import depthwise_conv2d, depthwise_conv2d_statistics
from frnet.ops.depthwise_bn_act import depthwise_conv2d_bn_act
from frnet.ops.depthwise_bn_act_se import depthwise_conv2d_bn_act_se
from frnet.ops.depthwise_bn_act_sge import depthwise_conv2d_bn_act_sge
from frnet.ops.hierarchical import hierarchical_depthwise_conv2d
from frnet.ops.hierarchical_bn_act import hierarchical_depthwise_conv2d_bn_act
from frnet.ops.morphable import reconstruct_vertices
from frnet.ops.raster import Raster, rasterize
from frnet.ops.se import depthwise_conv2d_se, se_gate
from frnet.ops.sge import depthwise_conv2d_sge, sge_gate
from frnet.ops.vertex_distance import vdc
from frnet.ops.wpdc import wpdc_weights, wpdc_wing

__all__ = [
    "Raster",
    "batch_norm_act",
    "batch_norm_act_sge",
    "depthwise_conv2d",
    "depthwise_conv2d_bn_act",
    "depthwise_conv2d_bn_act_se",
    "depthwise_conv2d_bn_act_sge",
    "depthwise_conv2d_se",
    "depthwise_conv2d_sge",
    "depthwise_conv2d_statistics",
    "hierarchical_depthwise_conv2d",
    "hierarchical_depthwise_conv2d_bn_act",
    "rasterize",
    "reconstruct_vertices",
    "se_gate",
    "sge_gate",
    "vdc",
    "wpdc_weights",
    "wpdc_wing",
]
