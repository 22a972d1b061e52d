"""Ops on a 3D morphable model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import refuse_second_derivative, register_gradient, run
from frnet.ops.face_pair import check_morphable, check_params, check_vertices, check_vertices_exist

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = ["reconstruct_vertices"]

_OP = "reconstruct_vertices"


def reconstruct_vertices(
    params: torch.Tensor, morphable: MorphableModel, vertices: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Vertices of a face from its parameters, in the crop frame of 3DDFA: 1-based pixels, y up.

    .. math:: v_n = f R \,(\bar s_n + B_n \alpha) + t

    with the parameter vector ``[r00 r01 r02 tx  r10 r11 r12 ty  r20 r21 r22 tz  alpha]``, where the ``r`` are the
    entries of f R and alpha the shape, then the expression coefficients. No [batch, 3 * vertices] buffer is made
    beside the result. Differentiable once in ``params``; bit-identical from run to run and for any number of
    threads. Under autocast it computes in float32. A NumPy or CuPy array of parameters is taken, and vertices of its
    kind returned, without a copy and without gradients. With ``vertices=morphable.landmarks`` it reads no more than the
    landmarks' rows of the basis.

    Args:
        params: [batch, 12 + S + E], de-whitened, float32 or float64. The batch may be 0.
        morphable: the model; its ``mean`` and ``basis`` must have the dtype and device of ``params``
            (``morphable.to(...)``) and at most 512 coefficients.
        vertices: int64 [count], the vertices wanted, in any order and with repetitions; None: all. On CUDA, where
            looking would mean to wait, one that does not exist is NaN.

    Returns:
        [batch, count, 3]: x, y, z. ``frnet.geometry.crop_to_image`` takes them to image pixels.

    Raises:
        TypeError: params is no tensor, or a dtype is not supported or differs from the model's.
        ValueError: a shape, size, index or device does not fit.
        RuntimeError: params is on CUDA and this build of frnet has no CUDA kernels.

    Source: Zhu et al., Face Alignment Across Large Poses: A 3D Solution, CVPR 2016, equations 1 and 2.

    Example:
        >>> import torch, frnet.ops as ops
        >>> from frnet.morphable import MorphableModel
        >>> model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1))
        >>> pose = torch.cat([torch.eye(3), torch.tensor([[10.0], [0.0], [0.0]])], 1).flatten()
        >>> ops.reconstruct_vertices(torch.cat([pose, torch.tensor([0.5, 0.0])])[None], model)
        tensor([[[10.5000,  1.5000,  2.5000],
                 [13.5000,  4.5000,  5.5000]]])
    """
    if not isinstance(params, torch.Tensor) and is_array(params):
        return run_on_arrays(reconstruct_vertices, dict(params=params), morphable=morphable, vertices=vertices)
    try:
        return run("reconstruct_vertices", params, morphable.mean, morphable.basis, vertices)
    except (RuntimeError, TypeError):
        _check(params, morphable.mean, morphable.basis, vertices)  # says what is wrong in words a caller can use
        check_vertices_exist(_OP, "vertices", vertices, morphable.mean)
        raise


def _check(params, mean, basis, vertices) -> None:
    """Raises what the docstring of reconstruct_vertices promises."""
    check_params(_OP, "params", params, basis)
    check_morphable(_OP, "params", params, (mean, basis))
    check_vertices(_OP, "vertices", vertices, "params", params)


@torch.library.register_fake("frnet::reconstruct_vertices")
def _fake(params, mean, basis, vertices):
    _check(params, mean, basis, vertices)
    return params.new_empty((params.shape[0], mean.shape[0] // 3 if vertices is None else vertices.shape[0], 3))


@torch.library.register_fake("frnet::reconstruct_vertices_backward")
def _fake_backward(grad_vertices, params, mean, basis, vertices):
    return params.new_empty(params.shape)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_vertices):
    if grad_vertices is None:
        return (None,) * 4
    grad = run("reconstruct_vertices_backward", grad_vertices, *ctx.saved_tensors)
    return grad, None, None, None


register_gradient("reconstruct_vertices", _backward, _setup_context, in_alone=("params", "mean or basis"))
refuse_second_derivative("reconstruct_vertices")
register_autocast("reconstruct_vertices", to_float32=("params", "mean", "basis"))
