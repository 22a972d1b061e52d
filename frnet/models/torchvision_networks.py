"""Networks of the published comparison that torchvision has: ResNeXt-50 (32x4d) and DenseNet-121.

torchvision is an extra: ``pip install frnet[torchvision]``. State-dict names are torchvision's behind ``backbone.``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .inputs import check_crops
from .network import Network
from .settings import check_counts

__all__ = ["DenseNet121", "ResNeXt50", "TorchvisionConfig"]


@dataclass(frozen=True)
class TorchvisionConfig:
    """What can be chosen of a network that torchvision builds.

    Attributes:
        num_params: outputs of the last layer; 62 for 3DDFA's morphable model.
        input_size: side of the square input, in pixels; DenseNet-121's at least 29.
    """

    num_params: int = 62
    input_size: int = 120

    def __post_init__(self) -> None:
        check_counts("TorchvisionConfig", num_params=self.num_params, input_size=self.input_size)


class _TorchvisionNetwork(Network):
    builder: str  # name of the function in torchvision.models
    smallest_input: int  # side, in pixels, of which something is left at the end

    def __init__(
        self,
        config: TorchvisionConfig | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or TorchvisionConfig()
        if config.input_size < self.smallest_input:
            raise ValueError(
                f"{self.architecture}: input_size must be at least {self.smallest_input}, got {config.input_size}"
            )
        build = getattr(_torchvision_models(self.architecture), self.builder)
        self.backbone = build(weights=None, num_classes=config.num_params).to(device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Whitened parameters of normalised crops: [batch, 3, input_size, input_size] -> [batch, num_params].

        Raises:
            TypeError, ValueError: see :func:`frnet.models.inputs.check_crops`.
        """
        check_crops(x, self.config.input_size, next(self.parameters()), self.architecture)
        return self.backbone(x)

    def _fuse_parts(self) -> None:
        """Batch normalisations right behind a convolution are folded into it; DenseNet has others too."""
        from torch.fx.experimental.optimization import fuse

        self.backbone = fuse(self.backbone)


class ResNeXt50(_TorchvisionNetwork):
    """ResNeXt-50 32x4d (Xie et al., 2017), torchvision's."""

    architecture = "resnext50_32x4d"
    builder = "resnext50_32x4d"
    smallest_input = 1


class DenseNet121(_TorchvisionNetwork):
    """DenseNet-121 (Huang et al., 2017), torchvision's."""

    architecture = "densenet121"
    builder = "densenet121"
    smallest_input = 29  # halved five times, three of them without padding


def _torchvision_models(architecture: str) -> Any:
    try:
        import torchvision.models
    except (ImportError, RuntimeError) as error:  # a torchvision for another torch fails with a RuntimeError
        raise ImportError(
            f"{architecture} is torchvision's, which cannot be imported here ({error}); "
            "pip install frnet[torchvision], in the build that belongs to this torch"
        ) from error
    return torchvision.models
