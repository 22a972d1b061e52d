"""The way from a photograph to faces: crop, network, morphable model, image coordinates."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from frnet import geometry, ops
from frnet.io.images import Image, check_image, read_image
from frnet.morphable import MorphableModel, open_morphable
from frnet.weights import Checkpoint, check_basis, choose_whitening, load_checkpoint

from .detectors import Detector, open_detector
from .face import Face, Pose

ImageLike = str | os.PathLike | Image


@dataclass(eq=False)
class Regions:
    """Where the faces of one image are.

    Attributes:
        rois: float64 [n, 4]: x0, y0, x1, y1 of the squares to crop, in image pixels.
        boxes: float32 [n, 4], the boxes they come from, if any.
        scores: float32 [n], the detector's scores, if there was a detector.
    """

    rois: NDArray[np.float64]
    boxes: NDArray[np.float32] | None = None
    scores: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.rois)


class FaceAligner:
    """Aligns faces: image in, 68 landmarks, dense mesh, parameters and pose out.

    The whitening, without which a network's output means nothing, is the first of: the argument; what the
    checkpoint file holds; the file published with the checkpoint, if it lies near it (see
    :func:`frnet.weights.choose_whitening`); the morphable model's own. ``whitening_source`` says which
    it was. One that is known to belong to other weights is refused, and so is a morphable model that is not the one
    a checkpoint says it was trained for.

    Args:
        weights: a checkpoint file, a :class:`frnet.models.Checkpoint`, or a network. Objects are copied.
        morphable: a morphable model, or a file or folder of one (see :func:`frnet.morphable.open_morphable`).
        whitening: a file, or a pair (mean, std) of arrays or text files.
        detector: a YuNet ``.onnx`` file, a Haar ``.xml`` file, a :class:`Detector`, or None: then calls must
            say where the faces are.
        passes: how often the network sees a face, at least 1. From the second time on, the crop comes from
            the landmarks of the time before, which fits the face better than a detector's box does.
        device: where the network runs; the CPU by default.
        batch_size: most faces the network sees at once. All faces of a call make one batch up to this size.

    Raises:
        FileNotFoundError, CheckpointError, ValueError: a file is missing, damaged, or does not fit the
            others; the message names it.
        RuntimeError: ``device`` is CUDA, and torch sees none.

    Example:
        >>> aligner = FaceAligner("mb05_120x120.pth", "bfm_noneck_v3.pkl",
        ...                       detector="yunet.onnx", passes=2)  # doctest: +SKIP
        >>> for face in aligner("photo.jpg"):  # doctest: +SKIP
        ...     print(face.pose.yaw, face.landmarks[30])
    """

    def __init__(
        self,
        weights: str | os.PathLike | Checkpoint | nn.Module,
        morphable: MorphableModel | str | os.PathLike,
        whitening: Any = None,
        detector: Detector | str | os.PathLike | None = None,
        passes: int = 1,
        device: torch.device | str | None = None,
        batch_size: int = 64,
    ) -> None:
        if passes < 1 or batch_size < 1:
            raise ValueError(f"FaceAligner: passes and batch_size must be >= 1, got {passes} and {batch_size}")
        checkpoint = _open_checkpoint(weights)
        if not isinstance(morphable, MorphableModel):
            morphable = open_morphable(morphable)
        check_basis(checkpoint, morphable)
        if morphable.landmarks is None or len(morphable.landmarks) != 68:
            count = 0 if morphable.landmarks is None else len(morphable.landmarks)
            raise ValueError(f"FaceAligner: the morphable model {morphable.name!r} has {count} landmarks, wanted 68")
        chosen = choose_whitening(checkpoint, whitening, morphable)
        if chosen is None:
            raise ValueError(
                f"FaceAligner: no whitening for {checkpoint.path or checkpoint.architecture}: neither the "
                "checkpoint nor the morphable model holds one, and none lies near the checkpoint; pass whitening="
            )
        self.whitening_source = chosen.source
        self.device = torch.device(device or "cpu")
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(f"FaceAligner: device {device} was asked for, and torch sees no CUDA device")
        self.passes, self.batch_size = passes, batch_size
        self.detector = open_detector(detector)
        self.checkpoint = checkpoint
        self.input_size = checkpoint.input_size
        self.model = checkpoint.model.to(self.device, torch.float32).eval()
        self.morphable = morphable.with_whitening(*chosen.whitening).to(device=self.device, dtype=torch.float32)
        self._landmark_model = self.morphable.landmark_model()
        self._landmark_index = self.morphable.landmarks.cpu().numpy()

    @property
    def triangles(self) -> NDArray[np.int64]:
        """Triangles of the morphable model, int64 [T, 3], for drawing and for mesh files; T may be 0."""
        triangles = self.morphable.triangles
        return np.empty((0, 3), np.int64) if triangles is None else triangles.cpu().numpy()

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], rois: Any = None, boxes: Any = None
    ) -> list[Face] | list[list[Face]]:
        """Align the faces of one image or of several.

        Where the faces are is said by ``rois`` or ``boxes``, or else found by the detector.

        Args:
            images: a path, or uint8 [height, width, 3] in BGR order; or a list of these, or an array
                [batch, height, width, 3].
            rois: [n, 4]: x0, y0, x1, y1 of the square crops, in pixels; for several images one per image.
                Crops may reach outside the image, where it is taken as black.
            boxes: the same for face boxes as detectors give them, from which crops are derived.

        Returns:
            The faces of the image, in the order of ``rois`` or ``boxes``, or best score first; for several
            images one list per image. No face is an empty list.

        Raises:
            FileNotFoundError, ImageError, TypeError: an image that is missing or not usable.
            ValueError: neither rois nor boxes nor a detector; or a box that lies outside its image.
        """
        if rois is not None and boxes is not None:
            raise ValueError("FaceAligner: give rois or boxes, not both")
        if not _is_path(images) and not isinstance(images, (np.ndarray, Sequence)):
            raise TypeError(
                f"FaceAligner: images must be a path, an array or a list of these, got {type(images).__name__}"
            )
        single = _is_path(images) or (isinstance(images, np.ndarray) and images.ndim != 4)
        if single:
            images, rois, boxes = [images], _one(rois), _one(boxes)
        rois, boxes = _per_image("rois", rois, len(images)), _per_image("boxes", boxes, len(images))
        arrays, regions = [], []
        for index, image in enumerate(images):
            name = f"image {os.fspath(image)}" if _is_path(image) else "image" if single else f"images[{index}]"
            arrays.append(read_image(image) if _is_path(image) else check_image(image, name))
            regions.append(self.locate(arrays[-1], rois[index], boxes[index], name))
        faces = self.fit(arrays, regions)
        return faces[0] if single else faces

    def locate(
        self, image: Image, rois: ArrayLike | None = None, boxes: ArrayLike | None = None, name: str = "image"
    ) -> Regions:
        """The crops of one image: those given, those of the given boxes, or those of what the detector finds.

        Args:
            image: uint8 [height, width, 3], BGR.
            rois: [n, 4] in pixels.
            boxes: [n, 4] in pixels.
            name: what messages call the image.

        Raises:
            ValueError: see :meth:`__call__`.
        """
        if rois is not None:
            return Regions(_check_boxes(rois, image, "roi", name))
        if boxes is not None:
            boxes = _check_boxes(boxes, image, "box", name)
            rois = geometry.roi_from_box(boxes)
            return Regions(_check_boxes(rois, image, "crop of box", name), boxes.astype(np.float32))
        if self.detector is None:
            raise ValueError(
                "FaceAligner: without a detector pass rois= or boxes= (x0, y0, x1, y1 in pixels), "
                "or give the aligner a detector= such as a YuNet .onnx file"
            )
        found = self.detector(image)
        rois = geometry.roi_from_box(found.boxes)
        inside = geometry.roi_is_valid(rois, image.shape[1], image.shape[0])
        return Regions(rois[inside], found.boxes[inside], found.scores[inside])

    @torch.inference_mode()
    def fit(self, images: Sequence[Image], regions: Sequence[Regions]) -> list[list[Face]]:
        """Align faces whose places are known; all of them make one batch.

        Args:
            images: uint8 [height, width, 3] each, BGR.
            regions: what :meth:`locate` gave for each image.

        Returns:
            One list of faces per image, in the order of its regions.
        """
        owner = [index for index, places in enumerate(regions) for _ in range(len(places))]
        if not owner:
            return [[] for _ in images]
        rois = np.concatenate([places.rois for places in regions])
        params = self._predict(images, owner, rois)
        for _ in range(self.passes - 1):
            landmarks = self._in_image(ops.reconstruct_vertices(params, self._landmark_model), rois)
            rois = self._next_rois(images, owner, rois, landmarks)
            params = self._predict(images, owner, rois)

        faces: list[list[Face]] = [[] for _ in images]
        for first in range(0, len(owner), self.batch_size):
            chunk = slice(first, first + self.batch_size)
            vertices = self._in_image(ops.reconstruct_vertices(params[chunk], self.morphable), rois[chunk])
            for index, values, points in zip(
                range(first, first + len(vertices)), params[chunk].cpu().numpy(), vertices, strict=True
            ):
                place = regions[owner[index]]
                faces[owner[index]].append(self._face(values, points, rois[index], place, len(faces[owner[index]])))
        return faces

    def _predict(self, images: Sequence[Image], owner: Sequence[int], rois: NDArray[np.float64]) -> Tensor:
        """De-whitened parameters [faces, P] of the crops."""
        params = []
        for first in range(0, len(owner), self.batch_size):
            chunk = range(first, min(first + self.batch_size, len(owner)))
            crops = np.stack([geometry.crop(images[owner[i]], rois[i], self.input_size) for i in chunk])
            batch = torch.from_numpy(geometry.normalize(crops)).to(self.device)
            params.append(self.morphable.dewhiten(self.model(batch)))
        return torch.cat(params)

    def _in_image(self, vertices: Tensor, rois: NDArray[np.float64]) -> NDArray[np.float32]:
        return geometry.crop_to_image(vertices.cpu().numpy(), rois, self.input_size).astype(np.float32)

    def _next_rois(
        self,
        images: Sequence[Image],
        owner: Sequence[int],
        rois: NDArray[np.float64],
        landmarks: NDArray[np.float32],
    ) -> NDArray[np.float64]:
        """Crops around the landmarks; a face whose landmarks lie off the image keeps the crop it has."""
        following = rois.copy()
        for index, points in enumerate(landmarks):
            roi = following_roi(points, images[owner[index]])
            if roi is not None:
                following[index] = roi
        return following

    def _face(self, params: NDArray, vertices: NDArray, roi: NDArray, place: Regions, index: int) -> Face:
        landmarks = vertices[self._landmark_index]
        depth = landmarks[:, 2].min()
        vertices[:, 2] -= depth
        landmarks[:, 2] -= depth
        return Face(
            landmarks=landmarks,
            vertices=vertices,
            params=params,
            pose=Pose(*map(float, geometry.pose_angles(params))),
            roi=roi.astype(np.float32),
            box=None if place.boxes is None else place.boxes[index],
            score=None if place.scores is None else float(place.scores[index]),
        )


def following_roi(landmarks: NDArray[np.floating], image: Image) -> NDArray[np.float64] | None:
    """The crop around landmarks [68, 3], or None where it has no pixel of the image in it."""
    if not np.isfinite(landmarks).all() or np.ptp(landmarks[:, :2], axis=0).max() == 0:
        return None
    roi = geometry.roi_from_landmarks(landmarks)
    return roi if geometry.roi_is_valid(roi, image.shape[1], image.shape[0]) else None


def _open_checkpoint(weights: str | os.PathLike | Checkpoint | nn.Module) -> Checkpoint:
    if _is_path(weights):
        return load_checkpoint(weights)
    if isinstance(weights, nn.Module):
        return Checkpoint(copy.deepcopy(weights))
    if isinstance(weights, Checkpoint):
        return copy.deepcopy(weights)
    raise TypeError(f"FaceAligner: weights must be a file, a Checkpoint or a network, got {type(weights).__name__}")


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike))


def _per_image(kind: str, values: Any, count: int) -> list:
    if values is None:
        return [None] * count
    if len(values) != count:
        raise ValueError(f"FaceAligner: {kind} must hold one [n, 4] array per image: {count}, got {len(values)}")
    return list(values)


def _one(values: Any) -> list | None:
    return None if values is None else [values]


def _check_boxes(boxes: ArrayLike, image: Image, kind: str, name: str) -> NDArray[np.float64]:
    """Boxes as float64 [n, 4], each with a pixel of the image in it."""
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return np.empty((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name}: {kind} array must be [n, 4] (x0, y0, x1, y1), got {list(array.shape)}")
    height, width = image.shape[:2]
    for index in np.flatnonzero(~geometry.roi_is_valid(array, width, height)):
        box = array[index]
        what = "lies outside the image"
        if not np.isfinite(box).all():
            what = "is not finite"
        elif not geometry.roi_is_valid(box):
            what = "is not at least one pixel wide and high (x0 < x1 and y0 < y1)"
        raise ValueError(f"{name} ({width} x {height}): {kind} {index} {np.round(box, 2).tolist()} {what}")
    return array
