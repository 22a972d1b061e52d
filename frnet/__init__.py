"""3D face alignment: fused C++/CUDA ops, small networks, and the way from a photograph to a face in 3D."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Parts are loaded where they are first used: some need torch, some OpenCV, some neither.
_NAMES = {"FaceAligner": "frnet.align", "create_model": "frnet.weights", "list_models": "frnet.models"}
_MODULES = (
    "align",
    "datasets",
    "evaluate",
    "export",
    "geometry",
    "models",
    "morphable",
    "nn",
    "ops",
    "render",
    "runtime",
    "train",
    "weights",
)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"frnet.{name}")
    raise AttributeError(f"module 'frnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES, *_MODULES])
