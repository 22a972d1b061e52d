"""Networks that turn a 120x120 crop into the parameters of a morphable model."""

from .basis import BasisIdentity
from .checkpoint import Checkpoint, CheckpointError, convert, load_checkpoint, save_checkpoint
from .counting import Complexity, LayerComplexity, complexity, count_ops
from .damdnet import DAMDNet, DAMDNetConfig
from .mobile_frnet import MobileFRNet, MobileFRNetConfig
from .mobilenet_v1 import MobileNetV1, MobileNetV1Config
from .mobilenet_v2 import MobileNetV2, MobileNetV2Config
from .registry import create_model, list_models

__all__ = [
    "BasisIdentity",
    "Checkpoint",
    "CheckpointError",
    "Complexity",
    "DAMDNet",
    "DAMDNetConfig",
    "LayerComplexity",
    "MobileFRNet",
    "MobileFRNetConfig",
    "MobileNetV1",
    "MobileNetV1Config",
    "MobileNetV2",
    "MobileNetV2Config",
    "complexity",
    "convert",
    "count_ops",
    "create_model",
    "list_models",
    "load_checkpoint",
    "save_checkpoint",
]
