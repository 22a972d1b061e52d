"""From parameters to vertices, in plain NumPy or torch: ``V = f R S + t`` with ``S = mean + basis a``.

:func:`frnet.ops.reconstruct_vertices` does the same fused, for batches, and with gradients; this is for the places that
have a row or two, float64, or a graph that is to hold standard operators alone.
"""

from __future__ import annotations

from typing import Any

from frnet.geometry.pose import place

__all__ = ["decode", "face_shape"]


def decode(params: Any, mean: Any, basis: Any) -> Any:
    """Vertices of parameters in the crop frame.

    Args:
        params: array or tensor [..., 12 + K], not whitened.
        mean: [3N], interleaved.
        basis: [3N, K].

    Returns:
        [..., N, 3], of the same library and dtype.

    Example:
        >>> import numpy as np
        >>> params = np.array([2.0, 0, 0, 10, 0, 2, 0, 20, 0, 0, 2, 30, 1])
        >>> decode(params, np.array([1.0, 2, 3]), np.ones((3, 1))).tolist()
        [[14.0, 26.0, 38.0]]
    """
    pose = params[..., :12].reshape(*params.shape[:-1], 3, 4)
    return place(face_shape(params[..., 12:], mean, basis), pose)


def face_shape(coefficients: Any, mean: Any, basis: Any) -> Any:
    """The face before it is placed, ``S = mean + basis a``: [..., N, 3] of coefficients [..., K]."""
    return (mean + coefficients @ basis.T).reshape(*coefficients.shape[:-1], mean.shape[0] // 3, 3)
