"""Ops on a 3D morphable model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import refuse_second_derivative, register_gradient
from frnet.ops.checks import ACCUMULATION, check_device, check_dtype, check_tensor
from frnet.ops.device import autocast_is_on, check_built_for

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = ["reconstruct_vertices"]

_OP = "reconstruct_vertices"
_MAX_COEFFICIENTS = 512
_POSE = 12


def reconstruct_vertices(params: torch.Tensor, morphable: MorphableModel) -> torch.Tensor:
    r"""Vertices of a face from its parameters, in the crop frame of 3DDFA: 1-based pixels, y up.

    .. math:: v_n = f R \,(\bar s_n + B_n \alpha) + t

    with the parameter vector ``[r00 r01 r02 tx  r10 r11 r12 ty  r20 r21 r22 tz  alpha]``, where the ``r`` are the
    entries of f R and alpha the shape, then the expression coefficients. No [batch, 3 * vertices] buffer is made
    beside the result. Differentiable once in ``params``; bit-identical from run to run and for any number of
    threads. Under autocast it computes in float32. A NumPy or CuPy array of parameters is taken, and vertices of its
    kind returned, without a copy and without gradients. Use ``morphable.landmark_model()`` for the landmarks alone.

    Args:
        params: [batch, 12 + S + E], de-whitened, float32 or float64. The batch may be 0.
        morphable: the model; its ``mean`` and ``basis`` must have the dtype and device of ``params``
            (``morphable.to(...)``) and at most 512 coefficients.

    Returns:
        [batch, vertices, 3]: x, y, z. ``frnet.geometry.crop_to_image`` takes them to image pixels.

    Raises:
        TypeError: params is no tensor, or a dtype is not supported or differs from the model's.
        ValueError: a shape, size or device does not fit.
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
        return run_on_arrays(reconstruct_vertices, dict(params=params), morphable=morphable)
    try:
        return torch.ops.frnet.reconstruct_vertices.default(params, morphable.mean, morphable.basis)
    except (RuntimeError, TypeError):
        _check(params, morphable.mean, morphable.basis)  # says what is wrong in words a caller can use
        raise


def _check(params, mean, basis) -> None:
    """Raises what the docstring of reconstruct_vertices promises."""
    check_tensor(_OP, "params", params, "[batch, parameters]")
    wanted = _POSE + basis.shape[1]
    if params.shape[1] != wanted:
        raise ValueError(
            f"{_OP}: params must have shape [batch, {wanted}], 12 for the pose and {basis.shape[1]} coefficients of "
            f"the morphable model, got {list(params.shape)}"
        )
    if basis.shape[1] > _MAX_COEFFICIENTS:
        raise ValueError(
            f"{_OP}: morphable must have at most {_MAX_COEFFICIENTS} coefficients, got {basis.shape[1]}; "
            "morphable.truncate() drops the last ones"
        )
    if not autocast_is_on(params.device):
        check_dtype(_OP, "params", params, ACCUMULATION)
        if mean.dtype != params.dtype or basis.dtype != params.dtype:
            raise TypeError(
                f"{_OP}: morphable must have params' dtype {params.dtype}, got {mean.dtype}; morphable.to(dtype=...)"
            )
    check_device(_OP, "morphable", basis, "params", params)
    check_built_for(_OP, params.device)


@torch.library.register_fake("frnet::reconstruct_vertices")
def _fake(params, mean, basis):
    _check(params, mean, basis)
    return params.new_empty((params.shape[0], mean.shape[0] // 3, 3))


@torch.library.register_fake("frnet::reconstruct_vertices_backward")
def _fake_backward(grad_vertices, params, mean, basis):
    return params.new_empty(params.shape)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad_vertices):
    if any(ctx.needs_input_grad[1:]):
        raise NotImplementedError("reconstruct_vertices: differentiable in params alone, not in mean or basis")
    params, mean, basis = ctx.saved_tensors
    grad = torch.ops.frnet.reconstruct_vertices_backward.default(grad_vertices, params, mean, basis)
    return grad, None, None


register_gradient("reconstruct_vertices", _backward, _setup_context)
refuse_second_derivative("reconstruct_vertices")
register_autocast("reconstruct_vertices", to_float32=("params", "mean", "basis"))
