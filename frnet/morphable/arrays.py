"""A morphable model in NumPy: enough to turn parameters into vertices where torch is not wanted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from frnet import _core
from frnet.morphable.builtin import read_builtin_arrays
from frnet.morphable.layout import ParamLayout

if TYPE_CHECKING:
    from frnet.morphable.model import MorphableModel

__all__ = ["FaceArrays"]


@dataclass(frozen=True, eq=False)
class FaceArrays:
    """What of a :class:`frnet.morphable.MorphableModel` decoding needs, in the same order and units.

    Attributes:
        name: what the model is called in messages.
        layout: of the parameter vector.
        mean: float32 [3N], interleaved.
        basis: float32 [3N, S + E].
        landmarks: int64 [L], or None.
        triangles: int64 [T, 3], or None.
        param_mean: [12 + S + E], or None.
        param_std: [12 + S + E], or None.
    """

    name: str
    layout: ParamLayout
    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    landmarks: NDArray[np.int64] | None = None
    triangles: NDArray[np.int64] | None = None
    param_mean: NDArray[np.floating] | None = None
    param_std: NDArray[np.floating] | None = None

    @classmethod
    @lru_cache(maxsize=1)
    def builtin(cls) -> FaceArrays:
        """The built-in face; one object, whose arrays are not to be written to.

        Example:
            >>> FaceArrays.builtin().num_params
            62
        """
        parts = read_builtin_arrays()
        layout = ParamLayout(parts["num_shape"], parts["basis"].shape[1] - parts["num_shape"])
        names = ("name", "mean", "basis", "landmarks", "triangles", "param_mean", "param_std")
        return cls(layout=layout, **{name: parts[name] for name in names})

    @classmethod
    def of(cls, model: MorphableModel) -> FaceArrays:
        """Those of a model, on whatever device it is; floats become float32."""
        return cls(
            model.name,
            model.layout,
            _array(model.mean, np.float32),
            _array(model.basis, np.float32),
            *(_array(getattr(model, name), np.int64) for name in ("landmarks", "triangles")),
            *(_array(getattr(model, name), np.float64) for name in ("param_mean", "param_std")),
        )

    @property
    def num_vertices(self) -> int:
        """N."""
        return len(self.mean) // 3

    @property
    def num_params(self) -> int:
        """12 + S + E."""
        return self.layout.num_params

    def landmark_model(self) -> FaceArrays:
        """The landmarks alone, in their order; without triangles.

        Raises:
            ValueError: there are no landmarks.
        """
        if self.landmarks is None:
            raise ValueError(f"landmark_model: the model {self.name!r} has no landmarks")
        rows = (3 * self.landmarks[:, None] + np.arange(3)).reshape(-1)
        return FaceArrays(
            self.name,
            self.layout,
            self.mean[rows],
            self.basis[rows],
            np.arange(len(self.landmarks)),
            None,
            self.param_mean,
            self.param_std,
        )

    def decode(self, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vertices in the crop frame, as :func:`frnet.ops.reconstruct_vertices` gives them.

        Args:
            params: float32 [batch, 12 + S + E], not whitened.

        Returns:
            float32 [batch, N, 3].
        """
        shape = (self.num_vertices, 3)
        return _core.reconstruct_vertices(params, self.mean.reshape(shape), self.basis.reshape(*shape, -1))


def _array(values: Any, dtype: type) -> NDArray | None:
    return None if values is None else values.detach().cpu().double().numpy().astype(dtype)
