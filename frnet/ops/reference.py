"""The ops in plain torch, written to be obviously right: what the tests compare with. Not fast."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from frnet.morphable import MorphableModel

__all__ = ["depthwise_conv2d", "reconstruct_vertices"]


def depthwise_conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1):
    """See ``frnet.ops.depthwise_conv2d``."""
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups=x.shape[1])


def reconstruct_vertices(params: torch.Tensor, morphable: MorphableModel) -> torch.Tensor:
    """See ``frnet.ops.reconstruct_vertices``."""
    matrix = params[:, :12].reshape(-1, 3, 4)
    shape = (morphable.mean + params[:, 12:] @ morphable.basis.T).unflatten(1, (-1, 3))
    return shape @ matrix[:, :, :3].mT + matrix[:, None, :, 3]
