"""Modules that run on :mod:`frnet.ops`: drop-in parts for mobile networks."""

from .conv2d_norm_act import Conv2dNormAct
from .depthwise_conv2d import DepthwiseConv2d
from .depthwise_conv2d_norm_act import DepthwiseConv2dNormAct
from .detection_loss import DetectionLoss, DetectionLossParts
from .folded_conv2d import FoldedConv2d
from .folded_depthwise_conv2d import FoldedDepthwiseConv2d
from .folded_hierarchical_depthwise_conv2d import FoldedHierarchicalDepthwiseConv2d
from .frnet_loss import FRNetLoss, FRNetLossParts
from .hierarchical_depthwise_conv2d import HierarchicalDepthwiseConv2d
from .mobile_block import MobileBlock
from .points_loss import PointsLoss
from .replace_depthwise import DepthwisePart, find_depthwise, replace_depthwise
from .spatial_group_enhance import SpatialGroupEnhance
from .squeeze_excite import SqueezeExcite
from .sync_batch_norm2d import SyncBatchNorm2d, synchronise_batch_norm
from .vdc_loss import VDCLoss
from .wing_loss import WingLoss
from .wpdc_loss import WPDCLoss

__all__ = [
    "Conv2dNormAct",
    "DepthwiseConv2d",
    "DepthwiseConv2dNormAct",
    "DepthwisePart",
    "DetectionLoss",
    "DetectionLossParts",
    "FRNetLoss",
    "FRNetLossParts",
    "FoldedConv2d",
    "FoldedDepthwiseConv2d",
    "FoldedHierarchicalDepthwiseConv2d",
    "HierarchicalDepthwiseConv2d",
    "MobileBlock",
    "PointsLoss",
    "SpatialGroupEnhance",
    "SqueezeExcite",
    "SyncBatchNorm2d",
    "VDCLoss",
    "WPDCLoss",
    "WingLoss",
    "find_depthwise",
    "replace_depthwise",
    "synchronise_batch_norm",
]
