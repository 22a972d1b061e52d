"""The way from a photograph to faces: crop, network, morphable model, image coordinates."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frnet import geometry
from frnet.io.images import Image, check_image, read_image
from frnet.morphable import open_morphable
from frnet.morphable.arrays import FaceArrays
from frnet.runtime import Session, SessionError
from frnet.weights import Checkpoint, check_basis, choose_whitening
from frnet.weights.builtin import find_weights, is_for_builtin_face
from frnet.weights.stored import StoredCheckpoint, read_stored

from .backends import Backend, RuntimeBackend, TorchBackend, fused, open_session
from .crops import Crop, check_normalisation, following_crop, network_input, upright_params
from .detectors import Detector
from .device import check_device
from .face import Face, Pose
from .face_detector import FaceDetector
from .open_detector import BUILTIN, open_detector
from .regions import Regions, check_boxes, detected_regions
from .reliability import reliability

if TYPE_CHECKING:
    import torch
    from torch import nn

    from frnet.morphable import MorphableModel

ImageLike = str | os.PathLike | Image


class FaceAligner:
    """Aligns faces: image in, 68 landmarks, dense mesh, parameters and pose out.

    The whitening, without which a network's output means nothing, is the first of: the argument; what the
    checkpoint file holds; the file published with the checkpoint, if it lies near it (see
    :func:`frnet.weights.choose_whitening`); the morphable model's own. ``whitening_source`` says which
    it was. One that is known to belong to other weights is refused, and so is a morphable model that is not the one
    a checkpoint says it was trained for.

    Without arguments all three are those that come with frnet: weights, morphable model, detector.

    Args:
        weights: ``"builtin"``; ``"small"``, less exact, with an eleventh of the multiply-adds; a checkpoint file,
            a :class:`frnet.models.Checkpoint`, or a network. Objects are copied.
        morphable: a morphable model, or what :func:`frnet.morphable.open_morphable` takes; by default the built-in
            face, for weights that were trained for it.
        whitening: a file, or a pair (mean, std) of arrays or text files.
        detector: ``"builtin"``, a YuNet ``.onnx`` file, a Haar ``.xml`` file, a :class:`Detector`, or None: then calls
            must say where the faces are. The built-in one also says how reliable each fit is, given rois or not.
        passes: how often the network sees a face, at least 1. From the second time on, the crop comes from
            the landmarks of the time before, which fits the face better than a detector's box does. By default
            twice where the crop comes from a box, and once where it is given, as by the landmarks of the frame
            before: there a second look changes little.
        device: where the network runs, as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; the CPU by default. There
            :mod:`frnet.runtime` runs the networks that it knows, and torch is loaded for others alone.
        batch_size: most faces the network sees at once. All faces of a call make one batch up to this size.

    Raises:
        FileNotFoundError, CheckpointError, ValueError: a file is missing, damaged, or does not fit the
            others; the message names it. Also weights of another morphable model than the built-in one, without
            ``morphable``; and a device of another kind.
        RuntimeError: ``device`` is CUDA, and torch sees none, or not so many.

    Note:
        ``checkpoint``, ``model`` (the network, fused where it can be) and ``morphable`` are torch's, loaded when they
        are first asked for where the runtime does the work; changes to them have no effect then. With torch, few faces
        run on one thread and many on all (see :mod:`frnet.align.threads`); torch's own setting stays as it is.

    Example:
        >>> aligner = FaceAligner()
        >>> for face in aligner("photo.jpg"):  # doctest: +SKIP
        ...     print(face.pose.yaw, face.landmarks[30])
        >>> aligner = FaceAligner("mb05_120x120.pth", "bfm_noneck_v3.pkl", detector="yunet.onnx")  # doctest: +SKIP
    """

    def __init__(
        self,
        weights: str | os.PathLike | Checkpoint | nn.Module = "builtin",
        morphable: MorphableModel | str | os.PathLike | None = None,
        whitening: Any = None,
        detector: Detector | str | os.PathLike | None = "builtin",
        passes: int | None = None,
        device: torch.device | str | None = None,
        batch_size: int = 64,
    ) -> None:
        if (passes is not None and passes < 1) or batch_size < 1:
            raise ValueError(f"FaceAligner: passes and batch_size must be >= 1, got {passes} and {batch_size}")
        self._device = check_device(device)
        self._detector = detector if detector == BUILTIN else open_detector(detector)
        self.passes, self.batch_size = passes, batch_size
        source, session = self._open_weights(weights)
        check_normalisation(source)
        face = self._open_morphable(morphable, source)
        check_basis(source, face)
        if face.landmarks is None or len(face.landmarks) != 68:
            count = 0 if face.landmarks is None else len(face.landmarks)
            raise ValueError(f"FaceAligner: the morphable model {face.name!r} has {count} landmarks, wanted 68")
        chosen = choose_whitening(source, whitening, face)
        if chosen is None:
            raise ValueError(
                f"FaceAligner: no whitening for {source.path or source.architecture}: neither the "
                "checkpoint nor the morphable model holds one, and none lies near the checkpoint; pass whitening="
            )
        self._whitening, self.whitening_source = chosen
        self.input_size, self._normalisation = source.input_size, source.normalisation
        self._backend: Backend
        if session is None:
            self._backend = TorchBackend(self.checkpoint.model, self._with_whitening(), self.device)
        else:
            arrays = face if isinstance(face, FaceArrays) else FaceArrays.of(face)
            self._backend = RuntimeBackend(session, arrays, self._whitening)
        self._landmark_index, self._triangles = (
            None if part is None else np.asarray(part if isinstance(part, np.ndarray) else part.cpu())
            for part in (face.landmarks, face.triangles)
        )

    def _open_weights(
        self, weights: str | os.PathLike | Checkpoint | nn.Module
    ) -> tuple[Checkpoint | StoredCheckpoint, Session | None]:
        """What belongs to the network, and the network in the runtime, where that is what runs it."""
        on_cpu = self._device == "cpu"
        self._weights: Path | None = None
        if _is_path(weights):
            self._weights = find_weights(weights)
            if on_cpu and self._weights.suffix == ".safetensors":
                stored = read_stored(self._weights)
                try:
                    return stored, Session(self._weights)
                except SessionError:
                    pass  # a network for torch, or a damaged one, of which torch's reader says what is wrong with it
        else:
            self.checkpoint = _copied(weights)
        network = self.checkpoint.network
        return self.checkpoint, open_session(network) if on_cpu else None

    def _open_morphable(
        self, morphable: MorphableModel | str | os.PathLike | None, source: Checkpoint | StoredCheckpoint
    ) -> MorphableModel | FaceArrays:
        self._given: MorphableModel | None = None
        if morphable is None and not is_for_builtin_face(source):
            basis = "does not say for which" if source.basis is None else f"was trained for {source.basis}"
            raise ValueError(
                f"FaceAligner: {source.title} needs its morphable model and {basis}, which is not the built-in face; "
                "pass morphable="
            )
        if morphable is None or (isinstance(morphable, str) and morphable == "builtin"):
            return FaceArrays.builtin()
        self._given = open_morphable(morphable) if _is_path(morphable) else morphable
        return self._given

    def _with_whitening(self) -> MorphableModel:
        from frnet.morphable import MorphableModel

        model = MorphableModel.builtin() if self._given is None else self._given
        return model.with_whitening(*self._whitening)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        import torch

        return torch.device(self._device)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The weights and what belongs to them, for torch."""
        from frnet.weights import load_checkpoint

        return load_checkpoint(self._weights)

    @cached_property
    def model(self) -> nn.Module:
        """The network for torch, fused where it can be; that which runs where torch does the work."""
        if isinstance(self._backend, TorchBackend):
            return self._backend.model
        return fused(self.checkpoint.model)

    @cached_property
    def morphable(self) -> MorphableModel:
        """The morphable model with the whitening of the weights, float32 and on the device, for torch."""
        if isinstance(self._backend, TorchBackend):
            return self._backend.morphable
        import torch

        return self._with_whitening().to(device=self.device, dtype=torch.float32)

    @property
    def detector(self) -> Detector | None:
        """What finds the faces, if anything does; the built-in one is opened when it is first asked for."""
        if self._detector == BUILTIN:
            self._detector = open_detector(BUILTIN)
        return self._detector

    @property
    def triangles(self) -> NDArray[np.int64]:
        """Triangles of the morphable model, int64 [T, 3], for drawing and for mesh files; T may be 0."""
        return np.empty((0, 3), np.int64) if self._triangles is None else self._triangles.copy()

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
            return Regions(check_boxes(rois, image, "roi", name))
        if boxes is not None:
            boxes = check_boxes(boxes, image, "box", name)
            rois = geometry.roi_from_box(boxes)
            return Regions(check_boxes(rois, image, "crop of box", name), boxes.astype(np.float32))
        if self.detector is None:
            raise ValueError(
                "FaceAligner: without a detector pass rois= or boxes= (x0, y0, x1, y1 in pixels), "
                "or give the aligner a detector= such as a YuNet .onnx file"
            )
        return detected_regions(self.detector(image), image)

    def fit(self, images: Sequence[Image], regions: Sequence[Regions], *, judged: bool = True) -> list[list[Face]]:
        """Align faces whose places are known; all of them make one batch.

        Args:
            images: uint8 [height, width, 3] each, BGR.
            regions: what :meth:`locate` gave for each image.
            judged: whether frnet's own detector, if it is the aligner's, says how reliable each fit is: one more look
                at every face.

        Returns:
            One list of faces per image, in the order of its regions.
        """
        found = [(index, crop) for index, places in enumerate(regions) for crop in places.crops()]
        faces: list[list[Face]] = [[] for _ in images]
        if not found:
            return faces
        owner, crops = (list(column) for column in zip(*found, strict=True))
        passes = np.array([self._passes_of(regions[index]) for index in owner])
        params = self._predict([images[index] for index in owner], crops)
        for done in range(1, passes.max()):
            again = np.flatnonzero(passes > done)
            self._follow(images, owner, crops, params, again)
            params[again] = self._predict([images[owner[face]] for face in again], [crops[face] for face in again])
        for first in range(0, len(crops), self.batch_size):
            chunk = slice(first, first + self.batch_size)
            vertices = self._in_image(self._backend.vertices(params[chunk]), crops[chunk])
            for index, values, points in zip(range(first, first + len(vertices)), params[chunk], vertices, strict=True):
                of_image = faces[owner[index]]
                # Copies: a face that is kept must not keep all of its batch.
                of_image.append(
                    self._face(values.copy(), points.copy(), crops[index], regions[owner[index]], len(of_image))
                )
        if judged:
            self._judge(images, faces)
        return faces

    def _judge(self, images: Sequence[Image], faces: list[list[Face]]) -> None:
        """Says how far faces can be relied on, where frnet's own detector is there to look at them."""
        detector = self.detector
        if isinstance(detector, FaceDetector):
            for image, found in zip(images, faces, strict=True):
                for face, value in zip(found, reliability(detector, image, found), strict=True):
                    face.reliability = float(value)

    def _passes_of(self, places: Regions) -> int:
        if self.passes is not None:
            return self.passes
        return 1 if places.boxes is None else 2

    def _follow(
        self,
        images: Sequence[Image],
        owner: Sequence[int],
        crops: list[Crop],
        params: NDArray[np.float32],
        again: NDArray[np.int64],
    ) -> None:
        """Crops around the landmarks; a face whose landmarks lie off the image keeps the crop it has."""
        chosen = params[again]
        landmarks = self._in_image(self._backend.landmarks(chosen), [crops[face] for face in again])
        for face, points, values in zip(again, landmarks, chosen, strict=True):
            crops[face] = following_crop(points, values, images[owner[face]]) or crops[face]

    def _predict(self, images: Sequence[Image], crops: Sequence[Crop]) -> NDArray[np.float32]:
        """De-whitened parameters [faces, P] of one crop per image, of the squares seen straight."""
        params = []
        for first in range(0, len(crops), self.batch_size):
            chunk = crops[first : first + self.batch_size]
            batch = network_input(images[first : first + self.batch_size], chunk, self.input_size, self._normalisation)
            values = self._backend.predict(batch)
            for row, crop in enumerate(chunk):
                if crop.turn:
                    values[row] = upright_params(values[row], crop, self.input_size)
            params.append(values)
        return np.concatenate(params)

    def _in_image(self, vertices: NDArray[np.float32], crops: Sequence[Crop]) -> NDArray[np.float32]:
        rois = np.stack([crop.roi for crop in crops])
        return geometry.crop_to_image(vertices, rois, self.input_size).astype(np.float32)

    def _face(self, params: NDArray, vertices: NDArray, crop: Crop, place: Regions, index: int) -> Face:
        landmarks = vertices[self._landmark_index]
        depth = landmarks[:, 2].min()
        vertices[:, 2] -= depth
        landmarks[:, 2] -= depth
        return Face(
            landmarks=landmarks,
            vertices=vertices,
            params=params,
            pose=Pose(*map(float, geometry.pose_angles(params))),
            roi=crop.roi.astype(np.float32),
            roi_roll=crop.turn,
            box=None if place.boxes is None else place.boxes[index].copy(),
            score=None if place.scores is None else float(place.scores[index]),
        )


def _copied(weights: Checkpoint | nn.Module) -> Checkpoint:
    if isinstance(weights, Checkpoint):
        return copy.deepcopy(weights)
    from torch import nn

    if isinstance(weights, nn.Module):
        return Checkpoint(copy.deepcopy(weights))
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
