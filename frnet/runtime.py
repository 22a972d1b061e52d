"""Networks at inference on a CPU, without torch: NumPy arrays in, NumPy arrays out.

``import frnet.runtime`` loads neither torch nor OpenCV. See docs/runtime.md for what it does and how fast.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frnet import _core

__all__ = ["Alignment", "Session", "SessionError", "StepProfile"]

CHECKPOINT_FORMAT = "frnet-checkpoint-1"
PRECISIONS = ("float32",)
MOST_THREADS = 256
_BUILTIN_FACE = Path(__file__).parent / "morphable" / "data" / "builtin_face.safetensors"


class SessionError(ValueError):
    """Weights that make no session; the message names the file and says what is wrong with it."""


class StepProfile(NamedTuple):
    """A step of a network, and what it took.

    Attributes:
        name: of the module that it comes from.
        macs: multiply-adds, of the whole batch.
        seconds: the least of all repetitions.
    """

    name: str
    macs: int
    seconds: float

    @property
    def gflops(self) -> float:
        """Floating-point operations a nanosecond, a multiply-add being two."""
        return 2e-9 * self.macs / self.seconds if self.seconds else 0.0


class Alignment(NamedTuple):
    """Faces of an image. Pixels count from 0, x right, y down, z towards the viewer.

    Attributes:
        params: float32 [faces, num_params], de-whitened; they refer to the crops.
        landmarks: float32 [faces, 68, 3]; the rearmost one of a face lies at depth 0.
        vertices: float32 [faces, N, 3].
    """

    params: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    vertices: NDArray[np.float32]


class Session:
    """A network of the registry, planned and packed for this processor.

    The steps of a block run row by row, so that the expanded tensors stay in the cache; weights are laid out as the
    instruction set wants them. Outputs are the same bits for any number of threads and any batch, and equal torch's
    within 1e-4 of the largest one; not always for crops without any texture, where torch's own rounding is as large.

    Args:
        weights: a ``.safetensors`` checkpoint of frnet, or its bytes; Mobile-FRNet, MobileNetV1, MobileNetV2 or
            DAMDNet.
        morphable: a morphable model in frnet's own ``.safetensors``, for :meth:`align`; None: the built-in face. Which
            one the weights were trained for is not looked at here, but by :class:`frnet.align.FaceAligner`.
        num_threads: that a call may use, at most 256; None: as many as the process may run on.
        precision: ``"float32"``.
        instruction_set: ``"baseline"``, ``"avx2"`` or ``"avx512"``; None: the best one here.

    Raises:
        FileNotFoundError: there is no such file.
        SessionError: it is no checkpoint, damaged, or of a network that the runtime does not know.
        ValueError: another precision, number of threads or instruction set.

    Note:
        Threads may share a session. The first call gets its threads; others that come meanwhile run on their own.
        After ``os.fork()`` a session works in the child too.

    Example:
        >>> from frnet.weights import builtin_weights
        >>> with Session(builtin_weights()["small"]) as session:
        ...     session.run(np.zeros((2, 3, 64, 64), np.float32)).shape
        (2, 62)
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | bytes,
        num_threads: int | None = None,
        precision: str = "float32",
        instruction_set: str | None = None,
        morphable: str | os.PathLike[str] | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"Session: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if num_threads is not None and (not isinstance(num_threads, int) or not 1 <= num_threads <= MOST_THREADS):
            raise ValueError(
                f"Session: num_threads must be None or an int from 1 to {MOST_THREADS}, got {num_threads!r}"
            )
        self.path = None if isinstance(weights, bytes) else Path(weights)
        self.precision = precision
        self.morphable = None if morphable is None else Path(morphable)
        self._model: _core.FaceModel | None = None
        title = "weights" if self.path is None else f"checkpoint {self.path}"
        if self.path is not None:
            if not self.path.is_file():
                raise FileNotFoundError(f"{title}: {'not a file' if self.path.exists() else 'no such file'}")
            weights = self.path.read_bytes()
        try:
            self._session = _core.Session(weights, num_threads=num_threads or 0, instruction_set=instruction_set or "")
        except ValueError as error:
            raise ValueError(f"Session: {error}") from error
        except RuntimeError as error:
            raise SessionError(f"{title} {error}") from error

    def run(self, crops: ArrayLike) -> NDArray[np.float32]:
        """Whitened parameters of normalised crops.

        Args:
            crops: float32 [batch, 3, input_size, input_size], BGR, ``(pixel - 127.5) / 128``; any strides.

        Returns:
            float32 [batch, num_params], to be de-whitened with ``z * std + mean``.

        Raises:
            TypeError: another dtype.
            ValueError: another shape; or the session is closed.
        """
        session = self._open()
        crops = np.asarray(crops)
        size = session.input_size
        if crops.dtype != np.float32:
            raise TypeError(f"Session: crops must be float32, got {crops.dtype}")
        if crops.ndim != 4 or crops.shape[1:] != (3, size, size):
            raise ValueError(f"Session: crops must be [batch, 3, {size}, {size}], got {list(crops.shape)}")
        return session.run(crops)

    def align(self, image: ArrayLike, rois: ArrayLike) -> Alignment:
        """The faces in squares of an image: crop, network, morphable model and image coordinates in one call.

        Args:
            image: uint8 [height, width, 3], BGR; any strides.
            rois: [faces, 4]: x0, y0, x1, y1 of the squares, in pixels; they may reach outside the image, where it is
                taken as black.

        Returns:
            :class:`Alignment`: parameters, landmarks and vertices.

        Raises:
            TypeError: the image is not uint8.
            ValueError: another shape, a square that is none or lies outside the image; no face model of so many
                parameters; or the session is closed.
        """
        session = self._open()
        image, rois = np.asarray(image), np.asarray(rois, np.float64)
        if image.dtype != np.uint8:
            raise TypeError(f"Session: image must be uint8, got {image.dtype}")
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"Session: image must be [height, width, 3], not empty, got {list(image.shape)}")
        if rois.ndim != 2 or rois.shape[1] != 4:
            raise ValueError(f"Session: rois must be [faces, 4], got {list(rois.shape)}")
        try:
            return Alignment(*session.align(image, rois, self._face_model()))
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"Session: {error}") from error

    def _face_model(self) -> _core.FaceModel:
        if self._model is None:
            path = _BUILTIN_FACE if self.morphable is None else self.morphable
            try:
                self._model = _core.FaceModel(path.read_bytes())
            except RuntimeError as error:
                raise ValueError(f"morphable model {path} {error}") from error
        return self._model

    def profile(self, batch: int = 1, repetitions: int = 20) -> list[StepProfile]:
        """What each step of the network takes.

        Args:
            batch: images, at least 1.
            repetitions: of which the fastest counts, step by step; at least 1.
        """
        if batch < 1 or repetitions < 1:
            raise ValueError(f"Session: batch and repetitions must be at least 1, got {batch} and {repetitions}")
        return [StepProfile(*row) for row in self._open().profile(batch, repetitions)]

    @property
    def input_size(self) -> int:
        """Side of the crops, in pixels."""
        return self._open().input_size

    @property
    def num_params(self) -> int:
        """Parameters of a face."""
        return self._open().num_params

    @property
    def num_threads(self) -> int:
        """Threads that a call may use."""
        return self._open().num_threads

    @property
    def instruction_set(self) -> str:
        """What the weights are packed for."""
        return self._open().instruction_set

    @property
    def metadata(self) -> dict[str, object]:
        """What the checkpoint says of itself: architecture, config, normalisation, licence, basis and so on."""
        names = ("architecture", "config", "normalisation", "licence", "basis", "recipe", "source_format")
        texts = {name: self._open().metadata(name) for name in names}
        return {name: json.loads(text) if text[:1] == "{" else text for name, text in texts.items() if text}

    @property
    def whitening(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Mean and standard deviation of the parameters, float32 [num_params] each, where the checkpoint holds them."""
        mean, std = (np.asarray(self._open().values(f"whitening.{name}"), np.float32) for name in ("mean", "std"))
        return (mean, std) if len(mean) == len(std) == self.num_params else None

    def close(self) -> None:
        """Gives threads and memory back; calls that run meanwhile end as usual."""
        self._session = None

    def _open(self) -> _core.Session:
        if self._session is None:
            raise ValueError("Session: it is closed")
        return self._session

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._session is None:
            return "Session(closed)"
        network = self._session.metadata("architecture")
        return f"Session({network}, {self.input_size} px, {self.num_threads} threads, {self.instruction_set})"
