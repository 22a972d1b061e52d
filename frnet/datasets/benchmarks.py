"""Test images of AFLW2000-3D and AFLW, as crops ready for a network.

Ground truth that is not in the images' own ``.mat`` files (3DDFA's ``test.configs``) is read by ``frnet.evaluate``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from frnet import geometry
from frnet.datasets.aflw2000 import list_aflw2000
from frnet.datasets.files import image_names, read_crop, read_names, require_images
from frnet.datasets.sample import Crop
from frnet.io.images import image_size, read_image

__all__ = ["AFLW", "AFLW2000", "CropFolder", "ImageCrops"]


class ImageCrops(Dataset[Crop]):
    """Crops of whole images, one each. An image that cannot be read is an error, not left out: a result needs them all.

    Args:
        folder: of the images.
        names: of the image files in it.
        rois: [n, 4], image pixels.
        size: side of the crops.

    Raises:
        FileNotFoundError: an image is missing; names the first ones.
        ValueError: no names, or as many rois as that is not.
    """

    def __init__(self, folder: str | os.PathLike[str], names: Sequence[str], rois: Any, size: int = 120) -> None:
        self.folder, self.names, self.size = Path(folder), require_images(Path(folder), names), size
        self.rois = np.asarray(rois, np.float64)
        if self.rois.shape != (len(self.names), 4):
            raise ValueError(f"{self.folder}: rois must be [{len(self.names)}, 4], got {list(self.rois.shape)}")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Crop:
        index = range(len(self))[index]
        image, roi = read_image(self.folder / self.names[index]), self.rois[index]
        face = geometry.crop(image, roi, self.size)
        return Crop(torch.from_numpy(face), torch.from_numpy(roi.copy()), torch.tensor(index), self.names[index])


class AFLW2000(ImageCrops):
    """AFLW2000-3D as it is published: images with their ``.mat`` files, sorted by name.

    Args:
        folder: of both.
        roi: ``"exact"`` or ``"3ddfa-compat"``, the rule by which the true landmarks give the crop
            (:func:`frnet.geometry.benchmark_roi`). Roi and landmarks are as published: they count from 1.
        size: side of the crops.

    Attributes:
        landmarks: float32 [n, 68, 3], ``pt3d_68``.
        pose_para: float64 [n, 7], ``Pose_Para``.

    Raises:
        NotADirectoryError, FileNotFoundError, ValueError: see :func:`frnet.datasets.aflw2000.list_aflw2000`.
    """

    def __init__(self, folder: str | os.PathLike[str], roi: str = "exact", size: int = 120) -> None:
        folder, samples = Path(folder), list_aflw2000(folder)
        self.landmarks = np.stack([sample.landmarks for sample in samples])
        self.pose_para = np.stack([sample.pose_para for sample in samples])
        sizes = [image_size(sample.image) for sample in samples]
        rois = [sample.roi(roi, *wh) for sample, wh in zip(samples, sizes, strict=True)]
        super().__init__(folder, [sample.image.name for sample in samples], np.stack(rois), size)


class CropFolder(Dataset[Crop]):
    """Images that are crops already, such as 3DDFA's ``test.data/AFLW2000-3D_crop``.

    Args:
        folder: of the crops.
        names: their order: a text file with one name a line (``AFLW2000-3D_crop.list``), a sequence of names, or
            None for all images of the folder sorted by name.
        count: how many there must be, so that they go with ground truth in an array; None: any number.
        size: side to which they are resized where theirs is another.

    Raises:
        FileNotFoundError: a crop is missing; names the first ones.
        ValueError: none, or another number than ``count``.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        names: str | os.PathLike[str] | Sequence[str] | None = None,
        count: int | None = None,
        size: int = 120,
    ) -> None:
        self.folder, self.size = Path(folder), size
        if names is None:
            names = image_names(self.folder)
        elif isinstance(names, (str, os.PathLike)):
            names = read_names(Path(names))
        if count is not None and len(names) != count:
            raise ValueError(
                f"{self.folder}: expected {count} crops, in the order of the ground truth, got {len(names)}"
            )
        self.names = require_images(self.folder, names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Crop:
        index = range(len(self))[index]
        face = geometry.crop(*read_crop(self.folder / self.names[index]), self.size)
        roi = torch.tensor([0.0, 0.0, self.size, self.size], dtype=torch.float64)
        return Crop(torch.from_numpy(face), roi, torch.tensor(index), self.names[index])


class AFLW(CropFolder):
    """The 21,080 crops of AFLW that 3DDFA's ``AFLW_GT_*.npy`` belong to (21 points), in their order.

    Args:
        folder: ``test.data/AFLW_GT_crop`` of 3DDFA.
        names: ``AFLW_GT_crop.list``; see :class:`CropFolder`.
        size: side of the crops.
    """

    COUNT = 21_080

    def __init__(
        self,
        folder: str | os.PathLike[str],
        names: str | os.PathLike[str] | Sequence[str] | None = None,
        size: int = 120,
    ) -> None:
        super().__init__(folder, names, self.COUNT, size)
