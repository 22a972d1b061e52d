"""Which triangle of a mesh is seen at which pixel, and attributes of its vertices in between."""

from __future__ import annotations

from typing import NamedTuple

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import register_gradient, run
from frnet.ops.checks import check_device, check_dtype, check_int, check_tensor
from frnet.ops.device import autocast_is_on, check_built_for

__all__ = ["Raster", "rasterize"]

_OP = "rasterize"
MAX_SAMPLES = 4
MAX_SIZE = 32768  # of a side, in samples


class Raster(NamedTuple):
    """What is seen at every pixel.

    Attributes:
        triangles: int32 [batch, height, width], which triangle; -1: none.
        depth: float32 [batch, height, width], z; 0 where nothing is seen.
        barycentrics: float32 [batch, height, width, 3], how much of each corner, or None where not wanted.
        attributes: float32 [batch, height, width, channels], 0 where nothing is seen, or None where none were given;
            ``.permute(0, 3, 1, 2)`` makes a channels_last image of it without a copy.
        coverage: float32 [batch, height, width], the share of the pixel's samples that see anything.
    """

    triangles: torch.Tensor
    depth: torch.Tensor
    barycentrics: torch.Tensor | None
    attributes: torch.Tensor | None
    coverage: torch.Tensor


def rasterize(
    vertices: torch.Tensor,
    triangles: torch.Tensor,
    height: int,
    width: int,
    *,
    attributes: torch.Tensor | None = None,
    inverse_depth: torch.Tensor | None = None,
    cull: bool = False,
    samples: int = 1,
    barycentrics: bool = True,
) -> Raster:
    r"""Seen triangles of a batch of meshes, and what lies between their vertices.

    Pixel centres lie at whole numbers. Of the triangles over a sample the one with the greatest z is seen, among equals
    the one with the lowest index. Corners are rounded to 1/256 of the distance of two samples; whether a sample
    lies inside is then decided exactly, and one on the edge of two triangles belongs to one of them alone: to the
    one below an edge that lies flat, else to the one on its right. Triangles of no area or with a corner that is
    not finite are left out. With barycentric weights :math:`w` of the corners,

    .. math:: a = w_0 a_0 + w_1 a_1 + w_2 a_2 \qquad\text{and in perspective}\qquad
        w_i = \frac{\lambda_i / d_i}{\sum_j \lambda_j / d_j}

    where :math:`\lambda` are the weights on the screen and :math:`1/d` the inverse depths. Bit-identical from run to
    run, for any number of threads, and on every instruction set and device. Under autocast it computes in float32.
    There is no gradient: ask for none, or interpolate with ``triangles`` and ``barycentrics``, which are its constants.
    ``frnet.render.rasterize`` does the same on NumPy arrays without torch.

    Args:
        vertices: float32 [batch, N, 3]: x and y in pixels, y down; z towards the viewer. The batch may be 0.
        triangles: int32 [T, 3], indices into the vertices; counter-clockwise seen from outside. On CUDA, where looking
            would mean to wait, one that names no vertex is left out.
        height: of the picture, pixels; at most 32768 / samples, as the width.
        width: of the picture, pixels.
        attributes: float32 [batch or 1, N, C], values of the vertices, interpolated.
        inverse_depth: float32 [batch, N], 1 / w of a perspective projection, positive: weights are then correct in
            perspective, the triangle with the greatest 1 / w is seen, and one with a corner of 0 or less is left out.
        cull: whether triangles seen from inside are left out.
        samples: s x s of them in a pixel, 1 to 4. Attributes are the mean over those that see anything; triangle, depth
            and barycentrics are those of the one nearest to the viewer.
        barycentrics: whether they are wanted.

    Returns:
        Raster.

    Raises:
        TypeError: an argument is no tensor, or has another dtype.
        ValueError: a shape, size, index or device does not fit.
        RuntimeError: vertices is on CUDA and this build of frnet has no CUDA kernels.

    Source: the edge rule is that of Direct3D and OpenGL (top-left); Pineda, A Parallel Algorithm for Polygon
    Rasterization, SIGGRAPH 1988.

    Example:
        >>> import torch, frnet.ops as ops
        >>> corners = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0]]])
        >>> seen = ops.rasterize(corners, torch.tensor([[0, 1, 2]], dtype=torch.int32), 3, 3, attributes=corners)
        >>> seen.triangles
        tensor([[[ 0,  0, -1],
                 [ 0, -1, -1],
                 [-1, -1, -1]]], dtype=torch.int32)
        >>> seen.attributes[0, 0, 1]
        tensor([1., 0., 0.])
    """
    arguments = (vertices, triangles, height, width, attributes, inverse_depth, cull, samples, barycentrics)
    try:
        seen = run(_OP, *arguments)
    except (RuntimeError, TypeError):
        _check(*arguments)  # says what is wrong in words a caller can use
        _check_triangles_exist(triangles, vertices.shape[1])
        raise
    triangle, depth, weights, image, coverage = seen
    return Raster(
        triangle, depth, weights if barycentrics else None, image if attributes is not None else None, coverage
    )


def _check(vertices, triangles, height, width, attributes, inverse_depth, cull, samples, barycentrics) -> None:
    """Raises what the docstring of rasterize promises, but for the values of the triangles."""
    check_tensor(_OP, "vertices", vertices, "[batch, vertices, 3]")
    check_tensor(_OP, "triangles", triangles, "[triangles, 3]")
    for name, value in (("vertices", vertices), ("triangles", triangles)):
        if value.shape[-1] != 3:
            raise ValueError(f"{_OP}: the last dimension of {name} must be 3, got {list(value.shape)}")
    check_dtype(_OP, "triangles", triangles, (torch.int32,))
    check_device(_OP, "triangles", triangles, "vertices", vertices)
    batch, count, _ = vertices.shape
    floats = {"vertices": vertices}
    if attributes is not None:
        check_tensor(_OP, "attributes", attributes, "[batch or 1, vertices, channels]")
        if attributes.shape[0] not in (1, batch) or attributes.shape[1] != count:
            raise ValueError(
                f"{_OP}: attributes must have shape [{batch} or 1, {count}, channels], got {list(attributes.shape)}"
            )
        floats["attributes"] = attributes
    if inverse_depth is not None:
        check_tensor(_OP, "inverse_depth", inverse_depth, "[batch, vertices]")
        if inverse_depth.shape != (batch, count):
            raise ValueError(
                f"{_OP}: inverse_depth must have shape [{batch}, {count}], got {list(inverse_depth.shape)}"
            )
        floats["inverse_depth"] = inverse_depth
    for name, value in floats.items():
        if not autocast_is_on(vertices.device):
            check_dtype(_OP, name, value, (torch.float32,))
        check_device(_OP, name, value, "vertices", vertices)
    check_int(_OP, "samples", samples, 1)
    if samples > MAX_SAMPLES:
        raise ValueError(f"{_OP}: samples must be at most {MAX_SAMPLES}, got {samples}")
    for name, value in (("height", height), ("width", width)):
        check_int(_OP, name, value, 0)
        if value * samples > MAX_SIZE:
            raise ValueError(f"{_OP}: {name} must be at most {MAX_SIZE // samples}, got {value}")
    for name, value in (("cull", cull), ("barycentrics", barycentrics)):
        if not isinstance(value, bool):
            raise TypeError(f"{_OP}: {name} must be True or False, got {value!r}")
    check_built_for(_OP, vertices.device)


def _check_triangles_exist(triangles: torch.Tensor, count: int) -> None:
    """Raises for a corner that is no vertex; waits for the device."""
    wrong = triangles[(triangles < 0) | (triangles >= count)]
    if wrong.numel():
        raise ValueError(f"{_OP}: triangles must be indices from 0 to {count - 1}, got {int(wrong[0])}")


@torch.library.register_fake("frnet::rasterize")
def _fake(vertices, triangles, height, width, attributes, inverse_depth, cull, samples, barycentrics):
    _check(vertices, triangles, height, width, attributes, inverse_depth, cull, samples, barycentrics)
    size = (vertices.shape[0], height, width)
    channels = 0 if attributes is None else attributes.shape[2]
    return (
        vertices.new_empty(size, dtype=torch.int32),
        vertices.new_empty(size),
        vertices.new_empty((*size, 3 if barycentrics else 0)),
        vertices.new_empty((*size, channels)),
        vertices.new_empty(size),
    )


def _setup_context(ctx, inputs, output):
    ctx.mark_non_differentiable(output[0])


def _backward(ctx, *gradients):
    raise NotImplementedError(
        f"{_OP}: there is no gradient; interpolate with its triangles and barycentrics, or detach its arguments"
    )


register_gradient(_OP, _backward, _setup_context)
register_autocast(_OP, to_float32=("vertices", "attributes", "inverse_depth"))
