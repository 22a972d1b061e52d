"""Networks that turn a 120x120 crop into the parameters of a morphable model."""

from .checkpoint import Checkpoint, CheckpointError, convert, load_checkpoint, save_checkpoint
from .mobilenet_v1 import MobileNetV1, MobileNetV1Config
from .registry import create_model, list_models

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "MobileNetV1",
    "MobileNetV1Config",
    "convert",
    "create_model",
    "list_models",
    "load_checkpoint",
    "save_checkpoint",
]
