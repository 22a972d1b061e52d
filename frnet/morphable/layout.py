"""What each entry of the parameter vector means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ParamLayout", "SplitParams"]

_POSE = 12
# 3DDFA and 3DDFA_V2 publish these; any other split has to be said by the caller.
_PUBLISHED = {62: (40, 10), 72: (40, 20), 141: (100, 29)}


class SplitParams(NamedTuple):
    """The four parts of a parameter vector; views of it where the library allows."""

    matrix: Any  # [..., 3, 3], scale times rotation
    translation: Any  # [..., 3]
    alpha_shape: Any  # [..., S]
    alpha_expression: Any  # [..., E]


@dataclass(frozen=True)
class ParamLayout:
    """Layout of the parameter vector ``p`` of a morphable model: 12 + S + E numbers.

    ``p[:12]`` is the 3x4 matrix ``[f R | t]`` in row-major order, so the translation sits at 3, 7 and 11;
    then come S shape and E expression coefficients. A vertex is ``f R (mean + B_s a_s + B_e a_e) + t``.
    The 62-vector of 3DDFA is ``ParamLayout(40, 10)``. Source: 3DDFA ``utils/ddfa.py``.

    Args:
        num_shape: S, at least 0.
        num_expression: E, at least 0.

    Raises:
        ValueError: a negative size.

    Example:
        >>> layout = ParamLayout(40, 10)
        >>> layout.num_params, layout.shape, layout.expression
        (62, slice(12, 52, None), slice(52, 62, None))
        >>> parts = layout.split(np.arange(62.0))
        >>> parts.translation
        array([ 3.,  7., 11.])
        >>> np.array_equal(layout.join(*parts), np.arange(62.0))
        True
    """

    num_shape: int = 40
    num_expression: int = 10

    def __post_init__(self) -> None:
        if self.num_shape < 0 or self.num_expression < 0:
            raise ValueError(
                f"ParamLayout: sizes must not be negative, got {self.num_shape} shape and "
                f"{self.num_expression} expression coefficients"
            )

    @classmethod
    def from_num_params(cls, num_params: int) -> ParamLayout:
        """The published layout of that length: 62 (40 + 10), 72 (40 + 20) or 141 (100 + 29).

        Raises:
            ValueError: no published layout has this length.

        Example:
            >>> ParamLayout.from_num_params(141)
            ParamLayout(num_shape=100, num_expression=29)
        """
        if num_params not in _PUBLISHED:
            raise ValueError(
                f"ParamLayout: no published layout has {num_params} parameters (known: "
                f"{sorted(_PUBLISHED)}); "
                "give num_shape and num_expression instead"
            )
        return cls(*_PUBLISHED[num_params])

    @property
    def num_params(self) -> int:
        """12 + S + E."""
        return _POSE + self.num_shape + self.num_expression

    @property
    def pose(self) -> slice:
        """Where the 3x4 matrix lies."""
        return slice(0, _POSE)

    @property
    def shape(self) -> slice:
        """Where the shape coefficients lie."""
        return slice(_POSE, _POSE + self.num_shape)

    @property
    def expression(self) -> slice:
        """Where the expression coefficients lie."""
        return slice(_POSE + self.num_shape, self.num_params)

    @property
    def matrix_indices(self) -> tuple[int, ...]:
        """Where the nine entries of the scaled rotation lie, row by row."""
        return (0, 1, 2, 4, 5, 6, 8, 9, 10)

    @property
    def translation_indices(self) -> tuple[int, int, int]:
        """Where the translation lies."""
        return (3, 7, 11)

    def split(self, params: Any) -> SplitParams:
        """Parts of the parameter vector: ``matrix``, ``translation``, ``alpha_shape``, ``alpha_expression``.

        Args:
            params: array or tensor [..., 12 + S + E].

        Returns:
            SplitParams of [..., 3, 3], [..., 3], [..., S] and [..., E], of the same library.

        Raises:
            ValueError: the last dimension has another length.
        """
        if params.ndim == 0 or params.shape[-1] != self.num_params:
            raise ValueError(
                f"split: params must be [..., {self.num_params}] (12 + {self.num_shape} shape + "
                f"{self.num_expression} expression), got {list(params.shape)}"
            )
        pose = params[..., self.pose].reshape((*params.shape[:-1], 3, 4))
        return SplitParams(pose[..., :3], pose[..., 3], params[..., self.shape], params[..., self.expression])

    def join(self, matrix: Any, translation: Any, alpha_shape: Any, alpha_expression: Any) -> Any:
        """The parameter vector made of its parts; the inverse of :meth:`split`.

        Args:
            matrix: array or tensor [..., 3, 3], scale times rotation.
            translation: [..., 3].
            alpha_shape: [..., S].
            alpha_expression: [..., E].

        Returns:
            [..., 12 + S + E], of the same library.

        Raises:
            ValueError: a part whose last dimensions do not fit, or leading dimensions that differ.
        """
        lead = tuple(matrix.shape[:-2])
        wanted = {
            "matrix": (matrix, (*lead, 3, 3)),
            "translation": (translation, (*lead, 3)),
            "alpha_shape": (alpha_shape, (*lead, self.num_shape)),
            "alpha_expression": (alpha_expression, (*lead, self.num_expression)),
        }
        for name, (part, shape) in wanted.items():
            if tuple(part.shape) != shape:
                raise ValueError(f"join: {name} must be {list(shape)}, got {list(part.shape)}")
        if isinstance(matrix, np.ndarray):
            pose = np.concatenate([matrix, translation[..., None]], -1).reshape((*lead, _POSE))
            return np.concatenate([pose, alpha_shape, alpha_expression], -1)
        import torch

        pose = torch.cat([matrix, translation[..., None]], -1).reshape((*lead, _POSE))
        return torch.cat([pose, alpha_shape, alpha_expression], -1)
