"""What a data set hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from frnet.geometry import Frame

__all__ = ["Crop", "Face", "LabelConvention", "Sample", "network_input"]


@dataclass(frozen=True)
class LabelConvention:
    """What the numbers of a label mean; as the arguments of :func:`frnet.geometry.params_from_pose_para`.

    Attributes:
        size: side of the crop, pixels.
        frame: the crop frame: ``"3ddfa-v2"``, or ``"3ddfa-v1"``, which lies one pixel off.
        scale_depth: whether t_z scales with the crop; in 3DDFA's published labels it does not.
    """

    size: int = 120
    frame: Frame = "3ddfa-v2"
    scale_depth: bool = True


class Face(NamedTuple):
    """A face as a data set holds it: its image, and its label for one crop of it.

    Attributes:
        image: uint8 [H, W, 3], BGR.
        roi: float64 [4], square, image pixels: the crop that the label is for.
        params: float64 [12 + S + E], not whitened.
        landmarks: float64 [68, 2], label positions (x right, y down, counting from 0) in that crop; NaN where the data
            set has none.
    """

    image: np.ndarray
    roi: np.ndarray
    params: np.ndarray
    landmarks: np.ndarray


class Sample(NamedTuple):
    """A training sample; a batch of them from ``torch.utils.data.DataLoader`` has one more dimension in front.

    Attributes:
        image: uint8 [size, size, 3], BGR; :func:`network_input` turns a batch into what a network takes.
        params: float32 [12 + S + E], **not whitened**: ``MorphableModel.whiten`` gives a network's target.
        landmarks: float32 [68, 2], crop pixels counting from 0, y down; NaN where the data set has none.
        index: int64, the sample's number in its data set.
        replaced: bool, whether this sample stands in for one that could not be read.
        points: float32 [P, 3], where some of the head's vertices lie: x and y as the landmarks', and depth towards the
            viewer in crop pixels, from the landmarks' mean; P is 0 where the data set has none.
    """

    image: Tensor
    params: Tensor
    landmarks: Tensor
    index: Tensor
    replaced: Tensor
    points: Tensor = torch.zeros(0, 3)


class Crop(NamedTuple):
    """A test image, ready for a network.

    Attributes:
        image: uint8 [size, size, 3], BGR.
        roi: float64 [4], the part of the image that it shows; [0, 0, size, size] where the data set holds crops.
        index: int64, the image's number in its data set.
        name: of the image file.
    """

    image: Tensor
    roi: Tensor
    index: Tensor
    name: str


def network_input(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """What a network takes: ``(x - 127.5) / 128``, channels first, on the device of ``images``.

    The same numbers as :func:`frnet.geometry.normalize`, as a tensor. Crops travel to the device as uint8.

    Args:
        images: uint8 [batch, size, size, 3], BGR.
        dtype: of the result.

    Returns:
        [batch, 3, size, size], contiguous.

    Raises:
        ValueError: another shape or dtype.

    Example:
        >>> network_input(torch.full((2, 120, 120, 3), 255, dtype=torch.uint8))[0, 0, 0, 0]
        tensor(0.9961)
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"network_input: images must be uint8 [batch, size, size, 3], got {list(images.shape)} {images.dtype}"
        )
    return images.permute(0, 3, 1, 2).to(dtype).sub(127.5).mul(1 / 128).contiguous()
