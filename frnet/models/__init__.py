"""Networks that turn a crop of a face into the parameters of a morphable model."""

from .counting import Complexity, LayerComplexity, complexity, count_ops
from .damdnet import DAMDNet, DAMDNetConfig
from .mobile_frnet import MobileFRNet, MobileFRNetConfig
from .mobilenet_v1 import MobileNetV1, MobileNetV1Config
from .mobilenet_v2 import MobileNetV2, MobileNetV2Config
from .registry import list_models

# Files of weights are read one layer up, and are wanted from here as well.
_WEIGHTS = (
    "BasisIdentity",
    "Checkpoint",
    "CheckpointError",
    "convert",
    "create_model",
    "load_checkpoint",
    "save_checkpoint",
)

__all__ = [
    *_WEIGHTS,
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
    "count_ops",
    "list_models",
]


def __getattr__(name: str):
    if name in _WEIGHTS:
        import importlib

        return getattr(importlib.import_module("frnet.weights"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
