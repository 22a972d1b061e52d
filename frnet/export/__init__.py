"""Networks for other runtimes."""

from .decompositions import decompositions
from .onnx import to_onnx

__all__ = ["decompositions", "to_onnx"]
