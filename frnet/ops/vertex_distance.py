"""The vertex distance cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import register_gradient, run
from frnet.ops.face_pair import (
    FLOAT_ARGUMENTS,
    IN_PRED_ALONE,
    check_comparison,
    check_face_pair,
    check_finite_faces,
    check_vertices_exist,
    face_pair,
    per_sample_gradient,
    precision_code,
    save_slopes,
    share_weights,
    slopes_are_wanted,
)

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = ["vdc"]

_OP = "vdc"


def vdc(
    pred: torch.Tensor,
    target: torch.Tensor,
    morphable: MorphableModel,
    vertices: torch.Tensor | None = None,
    target_tz: bool = True,
    *,
    vertex_weights: torch.Tensor | None = None,
    precision: str = "float32",
    check_finite: bool = False,
) -> torch.Tensor:
    r"""Vertex distance cost: the mean squared distance of two faces' vertices along x, y and z, sample by sample.

    .. math:: L_b = \frac{1}{3 N} \sum_n \lVert v_{b,n} - v^g_{b,n} \rVert^2

    with v and v^g the vertices that ``reconstruct_vertices`` makes of the de-whitened ``pred`` and ``target``. No
    tensor of the size of a mesh is made; the gradient is taken in the same walk over the basis. Differentiable once in
    ``pred``; bit-identical from run to run and for any number of threads. Under autocast it computes in float32.

    Args:
        pred: [batch, 12 + S + E], whitened, float32 or float64. The batch may be 0.
        target: of pred's shape, dtype and device.
        morphable: the model with its whitening, of pred's dtype and device and with at most 512 coefficients.
        vertices: int64 [count], the vertices that are compared, repetitions allowed; None: all.
        target_tz: whether the prediction is placed at the target's tz, on which no image depends, as 3DDFA does.
        vertex_weights: [count], not negative, weights of the vertices in the mean; None: all alike.
        precision: what products with the basis may be computed in on CUDA; see ``wpdc_wing``.
        check_finite: whether to look for NaN and Inf, and on CUDA for vertices that do not exist, before computing;
            on CUDA that waits for the device.

    Returns:
        [batch], in squared pixels of the crop. NaN and Inf propagate.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from pred's.
        ValueError: a shape, size, index, name or device does not fit; the model has no whitening; with check_finite,
            NaN or Inf, with the samples that have it.
        RuntimeError: pred is on CUDA and this build of frnet has no CUDA kernels.

    Source: Zhu et al., Face Alignment Across Large Poses: A 3D Solution, CVPR 2016, equation 6; mean, whitening and tz
    as in 3DDFA's code.

    Example:
        >>> import torch, frnet.ops as ops
        >>> from frnet.morphable import MorphableModel
        >>> model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1),
        ...                        param_mean=torch.zeros(14), param_std=torch.ones(14))
        >>> target = torch.zeros(1, 14)
        >>> pred = target.clone()
        >>> pred[0, 3] = 2  # tx
        >>> ops.vdc(pred, target, model)  # (2 ** 2 + 0 + 0) / 3
        tensor([1.3333])
    """
    options = dict(target_tz=target_tz, precision=precision, check_finite=check_finite)
    if not isinstance(pred, torch.Tensor) and is_array(pred):
        arrays = dict(pred=pred, target=target, vertex_weights=vertex_weights)
        return run_on_arrays(vdc, arrays, morphable=morphable, vertices=vertices, **options)
    faces = face_pair(_OP, pred, target, morphable)
    code = precision_code(_OP, precision)
    try:
        if check_finite:
            check_finite_faces(_OP, pred, target)
            check_vertices_exist(_OP, "vertices", vertices, morphable.mean)
        weights = share_weights(vertex_weights)
        slopes = slopes_are_wanted(pred)
        return run(_OP, *faces, vertices, weights, target_tz, code, slopes)[0]
    except (RuntimeError, TypeError, AttributeError):
        _check(*faces, vertices, vertex_weights)  # says what is wrong in words a caller can use
        check_vertices_exist(_OP, "vertices", vertices, morphable.mean)
        raise


def _check(pred, target, mean, basis, param_mean, param_std, vertices, vertex_weights) -> None:
    """Raises what the docstring of vdc promises."""
    check_face_pair(_OP, pred, target, mean, basis, param_mean, param_std)
    check_comparison(_OP, pred, mean, vertices, vertex_weights)


@torch.library.register_fake("frnet::vdc")
def _fake(pred, target, mean, basis, param_mean, param_std, vertices, vertex_weights, target_tz, precision, slopes):
    _check(pred, target, mean, basis, param_mean, param_std, vertices, vertex_weights)
    return pred.new_empty(pred.shape[:1]), pred.new_empty(pred.shape if slopes else (0,))


def _setup_context(ctx, inputs, output):
    save_slopes(ctx, inputs[0], output[1:])


def _backward(ctx, grad_loss, _):
    return per_sample_gradient(_OP, ctx, (grad_loss,)), *[None] * 10


register_gradient(_OP, _backward, _setup_context, in_alone=IN_PRED_ALONE, results=1)
register_autocast(_OP, to_float32=FLOAT_ARGUMENTS)
