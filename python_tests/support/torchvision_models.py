"""torchvision and timm (which imports torchvision), or the reason to skip.

torchvision's wheel from PyPI is built against the CUDA build of torch. Beside a CPU-only torch its compiled library
does not load, and since it then describes results of operators that nobody has defined, ``import torchvision`` fails
with "operator torchvision::nms does not exist". The classification models use none of them. So where the import fails
for exactly that reason, the operators' schemas are defined, without any implementation, and it is done again.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest
import torch

# The operators that torchvision describes whether or not its library has loaded.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # what they define lasts as long as they do


def import_torchvision() -> ModuleType:
    """torchvision with ``torchvision.models``; skips the test where it is not installed."""
    try:
        return _import("torchvision", "torchvision.models")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error) or _libraries:
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "timm")]:
        del sys.modules[name]  # half imported
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    return _import("torchvision", "torchvision.models")


def import_timm() -> ModuleType:
    """timm; skips the test where it or torchvision is not installed."""
    import_torchvision()
    return _import("timm")


def _import(*names: str) -> ModuleType:
    if importlib.util.find_spec(names[0]) is None:
        pytest.skip(f"{names[0]} is not installed: pip install '.[zoo]'")
    modules = [importlib.import_module(name) for name in names]
    return modules[0]
