"""Which morphable model a checkpoint belongs to.

A network's coefficients mean nothing without the basis they are coefficients of. The same basis comes in many forms: a
mesh with or without neck, a grid, the landmarks alone; float32, float64, text with six decimals; under other names. The
landmarks are in all of them, so they are what is remembered and compared, with a tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel
    from frnet.morphable.arrays import FaceArrays

__all__ = ["BasisIdentity"]

# Text with six decimals is off by 1e-4 of a component, float16 by 5e-4; another model by some tens of percent.
_TOLERANCE = 0.01
_SUMS = 4


@dataclass(frozen=True, eq=False)
class BasisIdentity:
    """What is remembered of a morphable model: enough to know it again, too little to make faces with.

    Attributes:
        name: what the model was called; for messages, not compared.
        num_shape: number of shape coefficients.
        num_expression: number of expression coefficients.
        landmarks: float64 [L, 3], the landmarks of the mean face, in the model's units; L is 0 where it has none.
        components: float64 [num_shape + num_expression, 4]: of each component's displacements of the landmarks,
            x0, y0, z0, x1, ..., the sums weighted by cos(j), cos(2j), cos(3j) and cos(4j) at place j. They see signs
            and places, as norms do not: blendshapes for the left and for the right are equally long.

    Example:
        >>> from frnet.morphable import MorphableModel
        >>> mean, basis = np.arange(9.0), np.eye(9)
        >>> model = MorphableModel(mean, basis[:, :2], basis[:, 2:3], landmarks=[0, 2], name="tiny")
        >>> identity = BasisIdentity.of(model)
        >>> print(identity)
        'tiny' (2 + 1 coefficients)
        >>> identity.difference(BasisIdentity.of(model.landmark_model())) is None
        True
        >>> identity.difference(BasisIdentity.of(MorphableModel(mean, -basis[:, :2], basis[:, 2:3], landmarks=[0, 2])))
        '2 of 2 shape and 0 of 1 expression components move the landmarks otherwise'
    """

    name: str
    num_shape: int
    num_expression: int
    landmarks: NDArray[np.float64] = field(repr=False)
    components: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("landmarks", "components"):
            object.__setattr__(self, name, _array(getattr(self, name)))

    @classmethod
    def of(cls, morphable: MorphableModel | FaceArrays) -> BasisIdentity:
        """The identity of a model, in torch or NumPy."""
        layout = morphable.layout
        if morphable.landmarks is None:
            mean, basis = np.empty(0), np.empty((0, layout.num_shape + layout.num_expression))
        else:
            model = morphable.landmark_model()
            mean, basis = _array(model.mean), _array(model.basis)
        weights = np.cos(np.outer(np.arange(len(basis)), np.arange(1.0, _SUMS + 1)))
        return cls(morphable.name, layout.num_shape, layout.num_expression, mean.reshape(-1, 3), basis.T @ weights)

    @property
    def num_params(self) -> int:
        """12 + S + E."""
        return 12 + self.num_shape + self.num_expression

    def __str__(self) -> str:
        return f"{self.name!r} ({self.num_shape} + {self.num_expression} coefficients)"

    def difference(self, other: BasisIdentity) -> str | None:
        """What tells the two apart, in words, or None where they are the same basis.

        They are the same where no landmark of the mean face lies further off than 1 % of the face's size, and no
        component's sums by more than 1 %. Where the numbers of landmarks differ, or there are none, the numbers of
        coefficients are all that can be compared.
        """
        if (self.num_shape, self.num_expression) != (other.num_shape, other.num_expression):
            return "the numbers of coefficients differ"
        if len(self.landmarks) != len(other.landmarks) or not len(self.landmarks):
            return None
        size = _lengths(self.landmarks - self.landmarks.mean(axis=0)).max()
        off = float(_lengths(self.landmarks - other.landmarks).max() / size)
        if not off <= _TOLERANCE:
            return f"a landmark of the mean face lies {off:.0%} of the face's size elsewhere"
        pairs = zip(*(np.split(each.components, [self.num_shape]) for each in (self, other)), strict=True)
        shape, expression = (_differing(mine, theirs) for mine, theirs in pairs)
        if not shape and not expression:
            return None
        return (
            f"{shape} of {self.num_shape} shape and {expression} of {self.num_expression} expression components "
            "move the landmarks otherwise"
        )

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What a file holds of it, beside :meth:`metadata`."""
        return {"basis.landmarks": self.landmarks, "basis.components": self.components}

    def metadata(self) -> str:
        """What a file holds of it as text."""
        return json.dumps({"name": self.name, "num_shape": self.num_shape, "num_expression": self.num_expression})

    @classmethod
    def from_file(cls, metadata: str, arrays: Mapping[str, Any]) -> BasisIdentity:
        """What :meth:`metadata` and :meth:`arrays` gave.

        Raises:
            KeyError, TypeError, ValueError: they did not give this.
        """
        identity = cls(
            **json.loads(metadata), landmarks=arrays["basis.landmarks"], components=arrays["basis.components"]
        )
        wanted = (identity.num_shape + identity.num_expression, _SUMS)
        landmarks, components = identity.landmarks, identity.components
        if landmarks.ndim != 2 or landmarks.shape[1] != 3 or tuple(components.shape) != wanted:
            raise ValueError(
                f"basis.landmarks and basis.components must be [L, 3] and {list(wanted)}, got "
                f"{list(landmarks.shape)} and {list(components.shape)}"
            )
        return identity


def _array(values: Any) -> NDArray[np.float64]:
    """Float64 of an array or a tensor, wherever it is."""
    return np.asarray(values.detach().cpu().double() if hasattr(values, "detach") else values, np.float64)


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(rows, axis=1)


def _differing(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> int:
    """How many components differ; one that hardly moves the landmarks is held against the others' mean."""
    length = _lengths(mine)
    if not len(length):
        return 0
    scale = np.maximum(length, 0.1 * length.mean())
    return int((~(_lengths(mine - theirs) <= _TOLERANCE * scale)).sum())
