"""Networks for other runtimes."""

from .onnx import to_onnx

__all__ = ["to_onnx"]
