"""What tests do with modules."""

from __future__ import annotations

import torch
from torch import nn


def with_statistics(model: nn.Module, seed: int = 1) -> nn.Module:
    """Gives every batch normalisation parameters and running statistics that are not those of a new one."""
    generator = torch.Generator().manual_seed(seed)

    def draw(like: torch.Tensor) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator, dtype=torch.float64).to(like)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                if module.running_mean is not None:
                    module.running_mean.copy_(0.4 * draw(module.running_mean) - 0.2)
                    module.running_var.copy_(0.5 + draw(module.running_var))
                if module.weight is not None:
                    module.weight.copy_(0.5 + draw(module.weight))
                    module.bias.copy_(0.4 * draw(module.bias) - 0.2)
    return model
