"""The weighted parameter distance cost and the Wing loss on vertices, as one op."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from frnet.ops import library  # noqa: F401  (registers torch.ops.frnet)
from frnet.ops.arrays import is_array, run_on_arrays
from frnet.ops.autocast import register_autocast
from frnet.ops.autograd import register_gradient, register_vmap, run
from frnet.ops.face_pair import (
    FACE_PAIR_ARGUMENTS,
    FLOAT_ARGUMENTS,
    IN_PRED_ALONE,
    check_comparison,
    check_face_pair,
    check_finite_faces,
    check_vertices,
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

__all__ = ["wpdc_weights", "wpdc_wing"]

_OP = "wpdc_wing"
_WEIGHTS = "wpdc_weights"
# How far the kernels' product of three factors 1 + |d| / curvature stays from the largest float32.
_STEEPEST = 1e12


def wpdc_wing(
    pred: torch.Tensor,
    target: torch.Tensor,
    morphable: MorphableModel,
    *,
    wing_width: float = 10.0,
    wing_curvature: float = 2.0,
    wpdc_normalization: str = "max",
    wpdc_shape: str = "target",
    target_tz: bool = True,
    wpdc_vertices: torch.Tensor | None = None,
    vertices: torch.Tensor | None = None,
    vertex_weights: torch.Tensor | None = None,
    precision: str = "float32",
    check_finite: bool = False,
    return_slopes: bool = False,
) -> tuple[torch.Tensor, ...]:
    r"""Weighted parameter distance cost (WPDC) and Wing loss on vertices of two faces, sample by sample.

    .. math::
        \mathrm{wpdc}_b &= \frac{1}{P} \sum_i W_{b,i} (z_{b,i} - z^g_{b,i})^2 \\
        \mathrm{wing}_b &= \frac{1}{3 N} \sum_n \sum_{c \in \{x, y, z\}} \mathrm{wing}(v_{b,n,c} - v^g_{b,n,c}), \qquad
        \mathrm{wing}(d) = \begin{cases} w \ln(1 + |d| / \epsilon) & |d| < w \\
        |d| - w + w \ln(1 + w / \epsilon) & \text{else} \end{cases}

    with z and z^g the whitened ``pred`` and ``target``, v and v^g the vertices that ``reconstruct_vertices`` makes of
    them de-whitened, in pixels of the crop, and W the weights of ``wpdc_weights``, held constant. No tensor of the size
    of a mesh is made; both losses and their gradients come from one walk over the basis, or two where
    ``wpdc_vertices`` are not ``vertices``. Differentiable once in ``pred``; bit-identical from run to run and for any
    number of threads. Under autocast it computes in float32.

    Args:
        pred: [batch, P = 12 + S + E], whitened, float32 or float64. The batch may be 0.
        target: of pred's shape, dtype and device.
        morphable: the model with its whitening, of pred's dtype and device and with at most 512 coefficients.
        wing_width: w, positive, in pixels of the crop.
        wing_curvature: epsilon, positive, in pixels of the crop; at least w / 1e12.
        wpdc_normalization: "max": the largest weight of a sample is 1, as in 3DDFA's code; "sum": they add up to 1, as
            in the paper.
        wpdc_shape: whose lengths weigh: "target", or "pred" as in 3DDFA before 2021, hence in the papers built on it.
        target_tz: whether the prediction is placed at the target's tz, on which no image depends. (WPDC gives tz no
            weight in either case.)
        wpdc_vertices: int64 [points], the vertices that W is made of, in 3DDFA the landmarks and 132 others drawn anew
            for each batch; None: all.
        vertices: int64 [N], the vertices of the Wing loss, repetitions allowed; None: all.
        vertex_weights: [N], not negative, weights of the vertices in Wing's mean; None: all alike.
        precision: what products with the basis may be computed in on CUDA: "float32", or in the matrix units "tf32" or
            "bfloat16", for up to 64 coefficients and on GPUs that have them. It is a permission: the CPU, and float64,
            ignore it. The relative error of a product is 2^-11 and 2^-8; with 3DDFA's model and predictions one
            standard deviation off, that of a vertex's difference is 0.0005 and 0.004 px (root mean square; 0.01 and
            0.09 px at most), and it shrinks with the difference. WPDC is not affected.
        check_finite: whether to look for NaN and Inf, and on CUDA for vertices that do not exist, before computing; on
            CUDA that waits for the device.
        return_slopes: whether to return the derivatives too.

    Returns:
        (wpdc [batch], wing [batch]), and with return_slopes their derivatives with respect to pred, each [batch, P]
        without a gradient of their own. NaN and Inf propagate; on CUDA a vertex that does not exist makes both NaN.

    Raises:
        TypeError: an argument is no tensor, or a dtype is not supported or differs from pred's.
        ValueError: a shape, size, index, name or device does not fit; a width or curvature is not positive; the model
            has no whitening; with check_finite, NaN or Inf, with the samples that have it.
        RuntimeError: pred is on CUDA and this build of frnet has no CUDA kernels.

    Source: WPDC: Zhu et al., Face Alignment Across Large Poses: A 3D Solution, CVPR 2016, equation 8, as in 3DDFA's
    code; Wing: Feng et al., Wing Loss for Robust Facial Landmark Localisation, CVPR 2018, equation 5; the two together:
    Jiang et al., Dual Attention MobDenseNet (DAMDNet) for Robust 3D Face Alignment, ICCVW 2019.

    Example:
        >>> import torch, frnet.ops as ops
        >>> from frnet.morphable import MorphableModel
        >>> model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1),
        ...                        param_mean=torch.zeros(14), param_std=torch.ones(14))
        >>> target = torch.zeros(1, 14)
        >>> pred = target.clone()
        >>> pred[0, 3] = 2  # tx
        >>> wpdc, wing = ops.wpdc_wing(pred, target, model)
        >>> wpdc  # 1 * 2 ** 2 / 14
        tensor([0.2857])
        >>> wing  # (10 ln(1 + 2 / 2) + 0 + 0) / 3
        tensor([2.3105])
    """
    options = dict(
        wing_width=wing_width,
        wing_curvature=wing_curvature,
        wpdc_normalization=wpdc_normalization,
        wpdc_shape=wpdc_shape,
        target_tz=target_tz,
        wpdc_vertices=wpdc_vertices,
        vertices=vertices,
        precision=precision,
        check_finite=check_finite,
        return_slopes=return_slopes,
    )
    if not isinstance(pred, torch.Tensor) and is_array(pred):
        arrays = dict(pred=pred, target=target, vertex_weights=vertex_weights)
        return run_on_arrays(wpdc_wing, arrays, morphable=morphable, **options)
    faces = face_pair(_OP, pred, target, morphable)
    kind = _wpdc_options(_OP, wpdc_normalization, wpdc_shape)
    code = precision_code(_OP, precision)
    _check_wing(wing_width, wing_curvature)
    try:
        if check_finite:
            check_finite_faces(_OP, pred, target)
            _check_vertices_exist(morphable.mean, vertices, wpdc_vertices)
        comparison = vertices, share_weights(vertex_weights), target_tz, code
        slopes = return_slopes or slopes_are_wanted(pred)
        results = run(_OP, *faces, *comparison, wpdc_vertices, *kind, wing_width, wing_curvature, slopes)
    except (RuntimeError, TypeError, AttributeError):
        _check(*faces, vertices, vertex_weights, wpdc_vertices)  # says what is wrong in words a caller can use
        _check_vertices_exist(morphable.mean, vertices, wpdc_vertices)
        raise
    return (*results[:2], results[2].detach(), results[3].detach()) if return_slopes else tuple(results[:2])


def wpdc_weights(
    pred: torch.Tensor,
    target: torch.Tensor,
    morphable: MorphableModel,
    *,
    wpdc_normalization: str = "max",
    wpdc_shape: str = "target",
    wpdc_vertices: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""The weights W of the weighted parameter distance cost alone; see ``wpdc_wing``.

    A weight says how far a parameter's error moves the vertices: with :math:`\Delta_i` the absolute difference of the
    de-whitened parameters, over the P parameters of a sample

    .. math::
        W_i \propto \begin{cases}
        \Delta_i \lVert S_j \rVert + 10^{-6} & \text{entry } (\cdot, j) \text{ of } f R \\
        \Delta_i \sqrt{N} + 10^{-6} & t_x, t_y \\
        0 & t_z \\
        5.7339936 \cdot 10^{-4} \Delta_i \lVert B_i \rVert + 10^{-6} & \text{coefficient with column } B_i
        \end{cases}

    where :math:`\lVert S_j \rVert` is the length of the shape's j-th coordinates over the N points.

    Args:
        pred: as in ``wpdc_wing``, as are target, morphable, wpdc_normalization, wpdc_shape and wpdc_vertices.

    Returns:
        [batch, P], without a gradient.

    Raises:
        TypeError: as ``wpdc_wing``.
        ValueError: as ``wpdc_wing``.
        RuntimeError: as ``wpdc_wing``.

    Example:
        >>> import torch, frnet.ops as ops
        >>> from frnet.morphable import MorphableModel
        >>> model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1),
        ...                        param_mean=torch.zeros(14), param_std=torch.ones(14))
        >>> ops.wpdc_weights(torch.ones(1, 14), torch.zeros(1, 14), model)[0, [0, 1, 2, 3, 11]]
        tensor([0.5571, 0.7656, 1.0000, 0.2626, 0.0000])
    """
    options = dict(wpdc_normalization=wpdc_normalization, wpdc_shape=wpdc_shape, wpdc_vertices=wpdc_vertices)
    if not isinstance(pred, torch.Tensor) and is_array(pred):
        return run_on_arrays(wpdc_weights, dict(pred=pred, target=target), morphable=morphable, **options)
    faces = face_pair(_WEIGHTS, pred, target, morphable)
    kind = _wpdc_options(_WEIGHTS, wpdc_normalization, wpdc_shape)
    try:
        with torch.no_grad():
            return torch.ops.frnet.wpdc_weights.default(*faces, wpdc_vertices, *kind)
    except (RuntimeError, TypeError, AttributeError):
        _check_weights(*faces, wpdc_vertices)
        check_vertices_exist(_WEIGHTS, "wpdc_vertices", wpdc_vertices, morphable.mean)
        raise


def _wpdc_options(op: str, normalization: str, shape: str) -> tuple[bool, bool]:
    """Whether weights add up to 1, and whether they look at the predicted shape."""
    if normalization not in ("max", "sum"):
        raise ValueError(f"{op}: wpdc_normalization must be 'max' or 'sum', got {normalization!r}")
    if shape not in ("target", "pred"):
        raise ValueError(f"{op}: wpdc_shape must be 'target' or 'pred', got {shape!r}")
    return normalization == "sum", shape == "pred"


def _check_wing(width: float, curvature: float) -> None:
    for name, value in (("wing_width", width), ("wing_curvature", curvature)):
        if not isinstance(value, (int, float)):
            raise TypeError(f"{_OP}: {name} must be a number of pixels, got {value!r}")
        if not 0 < value < float("inf"):
            raise ValueError(f"{_OP}: {name} must be positive and finite, got {value}")
    if width / curvature > _STEEPEST:
        raise ValueError(
            f"{_OP}: wing_curvature must be at least wing_width / {_STEEPEST:.0e}, got {curvature} for {width}"
        )


def _check(pred, target, mean, basis, param_mean, param_std, vertices, vertex_weights, wpdc_vertices) -> None:
    """Raises what the docstring of wpdc_wing promises."""
    check_face_pair(_OP, pred, target, mean, basis, param_mean, param_std)
    check_comparison(_OP, pred, mean, vertices, vertex_weights)
    check_vertices(_OP, "wpdc_vertices", wpdc_vertices, "pred", pred)


def _check_weights(pred, target, mean, basis, param_mean, param_std, wpdc_vertices) -> None:
    check_face_pair(_WEIGHTS, pred, target, mean, basis, param_mean, param_std)
    check_vertices(_WEIGHTS, "wpdc_vertices", wpdc_vertices, "pred", pred)


def _check_vertices_exist(mean, vertices, wpdc_vertices) -> None:
    check_vertices_exist(_OP, "vertices", vertices, mean)
    check_vertices_exist(_OP, "wpdc_vertices", wpdc_vertices, mean)


@torch.library.register_fake("frnet::wpdc_wing")
def _fake(*arguments):
    faces, (vertices, vertex_weights), wpdc_vertices = arguments[:6], arguments[6:8], arguments[10]
    _check(*faces, vertices, vertex_weights, wpdc_vertices)
    pred, slopes = arguments[0], arguments[-1]
    loss, slope = pred.shape[:1], pred.shape if slopes else (0,)
    return tuple(pred.new_empty(shape) for shape in (loss, loss, slope, slope))


@torch.library.register_fake("frnet::wpdc_weights")
def _fake_weights(pred, target, mean, basis, param_mean, param_std, wpdc_vertices, by_sum, predicted_shape):
    _check_weights(pred, target, mean, basis, param_mean, param_std, wpdc_vertices)
    return pred.new_empty(pred.shape)


def _setup_context(ctx, inputs, output):
    save_slopes(ctx, inputs[0], output[2:])


def _backward(ctx, grad_wpdc, grad_wing, *_):
    return per_sample_gradient(_OP, ctx, (grad_wpdc, grad_wing)), *[None] * 15


register_gradient(_OP, _backward, _setup_context, in_alone=IN_PRED_ALONE, results=2)
register_vmap(_WEIGHTS)
register_autocast(_OP, to_float32=FLOAT_ARGUMENTS)
register_autocast(_WEIGHTS, to_float32=FACE_PAIR_ARGUMENTS)
