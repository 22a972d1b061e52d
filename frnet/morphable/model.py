"""The 3D morphable face model (3DMM)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from frnet.morphable.checks import as_float_tensor, as_index_tensor, described
from frnet.morphable.formats import TENSORS, ModelFiles
from frnet.morphable.layout import ParamLayout
from frnet.morphable.vertices import first_positions, vertex_index
from frnet.morphable.whitening import identify_whitening

__all__ = ["MorphableModel"]


class MorphableModel(ModelFiles):
    """A linear 3D face model, and the whitening of its parameters.

    A face is ``S = mean + basis_shape a_s + basis_expression a_e``, with vertices interleaved
    (x0, y0, z0, x1, ...), x to the viewer's right, y up, z towards the viewer. Placed in a crop it is
    ``V = f R S + t`` (:class:`ParamLayout`). Blanz and Vetter, SIGGRAPH 1999; for the parameters
    Zhu et al., CVPR 2016.

    A model is not changed after it is built: every method returns a new one, which may share memory.

    Args:
        mean: [3N] or [3N, 1], model units (BFM: micrometres; ICT: centimetres).
        basis_shape: [3N, S], S may be 0.
        basis_expression: [3N, E], E may be 0.
        param_mean: [12 + S + E], whitening mean; given together with ``param_std`` or not at all.
        param_std: [12 + S + E], whitening standard deviation, positive.
        landmarks: [L] indices of the vertices that are the landmarks.
        triangles: [T, 3] vertex indices from 0, counter-clockwise seen from outside.
        name: what the model is called in messages and files.
        shape_names: S names of the shape components.
        expression_names: E names of the expression components.
        device: where the tensors go; default where ``mean`` is.
        dtype: floating type of the tensors; default that of ``mean``, float32 for whole numbers.
        sources: the file each argument was read from, for messages.

    Raises:
        ValueError: sizes that do not fit each other, an index out of range, NaN; names the argument (and its
            file), what was wanted and what was given.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> model = MorphableModel(rng.normal(size=12), rng.normal(size=(12, 3)), rng.normal(size=(12, 2)),
        ...                        landmarks=[0, 2], name="tiny")
        >>> model
        MorphableModel('tiny', vertices=4, shape=3, expression=2, landmarks=2, triangles=None, whitening=None)
        >>> model.landmark_model().num_vertices
        2
    """

    mean: torch.Tensor  # [3N]
    basis: torch.Tensor  # [3N, S + E], contiguous
    landmarks: torch.Tensor | None  # int64 [L]
    triangles: torch.Tensor | None  # int64 [T, 3]
    param_mean: torch.Tensor | None  # [12 + S + E]
    param_std: torch.Tensor | None  # [12 + S + E]
    layout: ParamLayout
    name: str
    shape_names: tuple[str, ...] | None
    expression_names: tuple[str, ...] | None

    def __init__(
        self,
        mean: Any,
        basis_shape: Any,
        basis_expression: Any,
        *,
        param_mean: Any = None,
        param_std: Any = None,
        landmarks: Any = None,
        triangles: Any = None,
        name: str = "",
        shape_names: Sequence[str] | None = None,
        expression_names: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        files = dict(sources or {})
        mean = as_float_tensor(mean, "mean", files, device=device, dtype=dtype)
        if mean.ndim not in (1, 2) or (mean.ndim == 2 and mean.shape[1] != 1) or mean.numel() % 3 or not mean.numel():
            raise ValueError(
                f"{described('mean', files)}: expected [3N] or [3N, 1] with at least one vertex, got {list(mean.shape)}"
            )
        self.mean = mean.reshape(-1).contiguous()
        like = {"device": self.mean.device, "dtype": self.mean.dtype}
        parts = []
        for part_name, part in (("basis_shape", basis_shape), ("basis_expression", basis_expression)):
            tensor = as_float_tensor(part, part_name, files, **like)
            if tensor.ndim != 2 or tensor.shape[0] != self.mean.numel():
                raise ValueError(
                    f"{described(part_name, files)}: expected [{self.mean.numel()}, components], as mean has "
                    f"{self.mean.numel() // 3} vertices, got {list(tensor.shape)}"
                )
            parts.append(tensor)
        self.basis = torch.cat(parts, 1).contiguous()
        self.layout = ParamLayout(parts[0].shape[1], parts[1].shape[1])
        self.name = name
        self.shape_names = self._names(shape_names, "shape_names", self.layout.num_shape)
        self.expression_names = self._names(expression_names, "expression_names", self.layout.num_expression)

        count = self.num_vertices
        self.landmarks = self.triangles = None
        if landmarks is not None:
            self.landmarks = as_index_tensor(landmarks, "landmarks", files, count=count, device=self.mean.device)
            if self.landmarks.ndim != 1:
                raise ValueError(f"{described('landmarks', files)}: expected [L], got {list(self.landmarks.shape)}")
        if triangles is not None:
            self.triangles = as_index_tensor(triangles, "triangles", files, count=count, device=self.mean.device)
            if self.triangles.ndim != 2 or self.triangles.shape[1] != 3:
                raise ValueError(f"{described('triangles', files)}: expected [T, 3], got {list(self.triangles.shape)}")
        self.param_mean, self.param_std = self._whitening(param_mean, param_std, files)

    def _names(self, names: Sequence[str] | None, argument: str, wanted: int) -> tuple[str, ...] | None:
        if names is not None and len(names) != wanted:
            raise ValueError(f"{argument}: expected {wanted} names, one per component, got {len(names)}")
        return None if names is None else tuple(str(name) for name in names)

    def _whitening(
        self, mean: Any, std: Any, files: Mapping[str, str]
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if mean is None and std is None:
            return None, None
        if mean is None or std is None:
            raise ValueError("param_mean and param_std: expected both or neither")
        pair = []
        for name, value in (("param_mean", mean), ("param_std", std)):
            vector = as_float_tensor(value, name, files, device=self.mean.device, dtype=self.mean.dtype)
            if tuple(vector.shape) != (self.num_params,):
                raise ValueError(
                    f"{described(name, files)}: expected [{self.num_params}] (12 + "
                    f"{self.layout.num_shape} shape + "
                    f"{self.layout.num_expression} expression), got {list(vector.shape)}"
                )
            pair.append(vector.contiguous())
        if not (pair[1] > 0).all():
            raise ValueError(f"{described('param_std', files)}: expected positive numbers throughout")
        return pair[0], pair[1]

    def _replace(self, **changes: Any) -> MorphableModel:
        """A model that differs in these attributes; the caller answers for their consistency."""
        other = object.__new__(MorphableModel)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(changes)
        return other

    # -- what it holds ------------------------------------------------------------------------------------

    @property
    def basis_shape(self) -> torch.Tensor:
        """[3N, S], a view of ``basis``."""
        return self.basis[:, : self.layout.num_shape]

    @property
    def basis_expression(self) -> torch.Tensor:
        """[3N, E], a view of ``basis``."""
        return self.basis[:, self.layout.num_shape :]

    @property
    def num_vertices(self) -> int:
        """N."""
        return self.mean.numel() // 3

    @property
    def num_params(self) -> int:
        """12 + S + E."""
        return self.layout.num_params

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.mean.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the tensors."""
        return self.mean.dtype

    @property
    def whitening(self) -> str | None:
        """``"3ddfa-v1"``, ``"3ddfa-v2"``, ``"custom"``, or None where the model has no whitening."""
        if self.param_mean is None:
            return None
        return identify_whitening(self.param_mean, self.param_std) or "custom"

    def __repr__(self) -> str:
        landmarks = None if self.landmarks is None else self.landmarks.numel()
        triangles = None if self.triangles is None else self.triangles.shape[0]
        return (
            f"MorphableModel({self.name!r}, vertices={self.num_vertices}, shape={self.layout.num_shape}, "
            f"expression={self.layout.num_expression}, landmarks={landmarks}, triangles={triangles}, "
            f"whitening={self.whitening!r})"
        )

    # -- other models made from it ------------------------------------------------------------------------

    def to(
        self, device: torch.device | str | torch.dtype | None = None, dtype: torch.dtype | None = None
    ) -> MorphableModel:
        """The model on another device or with another floating type; itself if nothing changes.

        Indices stay int64. As with ``torch.Tensor.to``, a single dtype may come first.

        Example:
            >>> model = MorphableModel(np.zeros(3), np.zeros((3, 1)), np.zeros((3, 1)))
            >>> model.to(torch.float32).dtype
            torch.float32
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"to: dtype must be a floating type, got {dtype}")
        changes: dict[str, Any] = {}
        for name in TENSORS:
            old = getattr(self, name)
            if old is not None:
                new = old.to(device=device, dtype=dtype if old.is_floating_point() else None)
                if new is not old:
                    changes[name] = new
        return self._replace(**changes) if changes else self

    def subset(self, vertices: Any) -> MorphableModel:
        """The model of some of the vertices, in the order given.

        Triangles stay where all three corners do, re-indexed (the result may be [0, 3]). Landmarks stay,
        re-indexed, where all of them do; otherwise the result has none. A vertex given twice is kept
        twice, and triangles and landmarks refer to its first copy.

        Args:
            vertices: indices [M] (array, tensor or sequence; negative ones count from the end), a boolean
                mask [N], or a slice.

        Returns:
            MorphableModel with M vertices and the same parameters and whitening.

        Raises:
            ValueError: an index out of range, a mask of another length, no vertex at all.

        Example:
            >>> basis = np.zeros((9, 1))
            >>> model = MorphableModel(np.arange(9.0), basis, basis, triangles=[[0, 1, 2]])
            >>> model.subset([2, 0]).mean.tolist()
            [6.0, 7.0, 8.0, 0.0, 1.0, 2.0]
        """
        index = vertex_index(vertices, self.num_vertices, self.device)
        position = first_positions(index, self.num_vertices)
        triangles = self.triangles
        if triangles is not None:
            triangles = position[triangles]
            triangles = triangles[(triangles >= 0).all(1)]
        landmarks = self.landmarks
        if landmarks is not None:
            landmarks = position[landmarks]
            landmarks = landmarks if bool((landmarks >= 0).all()) else None
        components = self.basis.shape[1]
        return self._replace(
            mean=self.mean.reshape(-1, 3)[index].reshape(-1),
            basis=self.basis.reshape(self.num_vertices, 3, components)[index].reshape(-1, components).contiguous(),
            landmarks=landmarks,
            triangles=triangles,
        )

    def landmark_model(self) -> MorphableModel:
        """The model of the landmarks alone, in their order; it has no triangles.

        Raises:
            ValueError: the model has no landmarks.
        """
        if self.landmarks is None:
            raise ValueError(f"landmark_model: {self!r} has no landmarks")
        model = self.subset(self.landmarks)
        return model._replace(landmarks=torch.arange(self.landmarks.numel(), device=self.device), triangles=None)

    def truncate(self, num_shape: int, num_expression: int) -> MorphableModel:
        """The model of the first components only, its whitening shortened alike.

        Args:
            num_shape: at most S.
            num_expression: at most E.

        Raises:
            ValueError: more components than the model has.
        """
        layout = ParamLayout(num_shape, num_expression)
        if num_shape > self.layout.num_shape or num_expression > self.layout.num_expression:
            raise ValueError(
                f"truncate: the model has {self.layout.num_shape} shape and {self.layout.num_expression} "
                f"expression components, got {num_shape} and {num_expression}"
            )
        changes: dict[str, Any] = {
            "layout": layout,
            "basis": torch.cat([self.basis_shape[:, :num_shape], self.basis_expression[:, :num_expression]], 1),
            "shape_names": self.shape_names and self.shape_names[:num_shape],
            "expression_names": self.expression_names and self.expression_names[:num_expression],
        }
        if self.param_mean is not None:
            for name in ("param_mean", "param_std"):
                pose_shape, expression = getattr(self, name).split(
                    [12 + self.layout.num_shape, self.layout.num_expression]
                )
                changes[name] = torch.cat([pose_shape[: 12 + num_shape], expression[:num_expression]])
        return self._replace(**changes)

    def with_whitening(self, mean: Any, std: Any) -> MorphableModel:
        """The model with this whitening; ``None, None`` removes it.

        Args:
            mean: [12 + S + E].
            std: [12 + S + E], positive.

        Raises:
            ValueError: another length, NaN, or a std that is not positive.
        """
        param_mean, param_std = self._whitening(mean, std, {})
        return self._replace(param_mean=param_mean, param_std=param_std)

    # -- whitening ----------------------------------------------------------------------------------------

    def whiten(self, params: Any) -> Any:
        """``z = (p - param_mean) / param_std``.

        Args:
            params: array or tensor [..., 12 + S + E].

        Returns:
            z, same shape and library.

        Raises:
            ValueError: the model has no whitening, or the length differs.
        """
        mean, std = self._whitening_for(params, "whiten")
        return (params - mean) / std

    def dewhiten(self, z: Any) -> Any:
        """``p = z param_std + param_mean``, the inverse of :meth:`whiten`.

        Args:
            z: array or tensor [..., 12 + S + E], what a network predicts.

        Returns:
            Parameters, same shape and library.

        Raises:
            ValueError: the model has no whitening, or the length differs.
        """
        mean, std = self._whitening_for(z, "dewhiten")
        return z * std + mean

    def _whitening_for(self, values: Any, caller: str) -> tuple[Any, Any]:
        if self.param_mean is None or self.param_std is None:
            raise ValueError(f"{caller}: the model {self.name!r} has no whitening; see with_whitening")
        if values.ndim == 0 or values.shape[-1] != self.num_params:
            raise ValueError(f"{caller}: expected [..., {self.num_params}], got {list(values.shape)}")
        if isinstance(values, np.ndarray):
            dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
            return self.param_mean.to("cpu", dtype).numpy(), self.param_std.to("cpu", dtype).numpy()
        return self.param_mean, self.param_std
