"""What the losses on the vertices of two faces share: arguments, checks and slopes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from frnet.ops.autograd import last_derivative
from frnet.ops.checks import ACCUMULATION, check_device, check_dtype, check_tensor
from frnet.ops.device import autocast_is_on, check_built_for

if TYPE_CHECKING:
    from frnet.morphable import MorphableModel

__all__ = [
    "FACE_PAIR_ARGUMENTS",
    "FLOAT_ARGUMENTS",
    "IN_PRED_ALONE",
    "check_comparison",
    "check_face_pair",
    "check_finite_faces",
    "check_morphable",
    "check_params",
    "check_vertices",
    "check_vertices_exist",
    "face_pair",
    "per_sample_gradient",
    "precision_code",
    "save_slopes",
    "share_weights",
    "slopes_are_wanted",
]

MAX_COEFFICIENTS = 512
POSE = 12
# In the order of the ops' schemas.
FACE_PAIR_ARGUMENTS = ("pred", "target", "mean", "basis", "param_mean", "param_std")
FLOAT_ARGUMENTS = (*FACE_PAIR_ARGUMENTS, "vertex_weights")
IN_PRED_ALONE = ("pred", "target, morphable or vertex_weights")
_PRECISIONS = {"float32": 0, "tf32": 1, "bfloat16": 2}


def face_pair(op: str, pred: torch.Tensor, target: torch.Tensor, morphable: MorphableModel) -> tuple:
    """The first six arguments of every such op."""
    if morphable.param_mean is None:
        raise ValueError(f"{op}: morphable must have a whitening, as pred and target are whitened; with_whitening()")
    return pred, target, morphable.mean, morphable.basis, morphable.param_mean, morphable.param_std


def precision_code(op: str, precision: str) -> int:
    if precision not in _PRECISIONS:
        names = ", ".join(repr(name) for name in _PRECISIONS)
        raise ValueError(f"{op}: precision must be one of {names}, got {precision!r}")
    return _PRECISIONS[precision]


def check_params(op: str, name: str, params: object, basis: torch.Tensor) -> None:
    """Raises unless params is [batch, 12 + k] for the basis of k coefficients."""
    check_tensor(op, name, params, "[batch, parameters]")
    wanted = POSE + basis.shape[1]
    if params.shape[1] != wanted:
        raise ValueError(
            f"{op}: {name} must have shape [batch, {wanted}], 12 for the pose and {basis.shape[1]} coefficients of "
            f"the morphable model, got {list(params.shape)}"
        )
    if basis.shape[1] > MAX_COEFFICIENTS:
        raise ValueError(
            f"{op}: morphable must have at most {MAX_COEFFICIENTS} coefficients, got {basis.shape[1]}; "
            "morphable.truncate() drops the last ones"
        )


def check_morphable(op: str, name: str, params: torch.Tensor, arrays: tuple[torch.Tensor, ...]) -> None:
    """Raises unless the model's arrays have the dtype and device of params."""
    if not autocast_is_on(params.device):
        check_dtype(op, name, params, ACCUMULATION)
        for array in arrays:
            if array.dtype != params.dtype:
                raise TypeError(
                    f"{op}: morphable must have {name}'s dtype {params.dtype}, got {array.dtype}; "
                    "morphable.to(dtype=...)"
                )
    for array in arrays:
        check_device(op, "morphable", array, name, params)
    check_built_for(op, params.device)


def check_face_pair(op: str, pred, target, mean, basis, param_mean, param_std) -> None:
    check_params(op, "pred", pred, basis)
    check_tensor(op, "target", target, "[batch, parameters]")
    if target.shape != pred.shape:
        raise ValueError(f"{op}: target must have pred's shape {list(pred.shape)}, got {list(target.shape)}")
    if param_mean.shape != pred.shape[1:] or param_std.shape != pred.shape[1:]:
        raise ValueError(
            f"{op}: the whitening of morphable must have {pred.shape[1]} values, as pred has, got "
            f"{list(param_mean.shape)} and {list(param_std.shape)}"
        )
    check_morphable(op, "pred", pred, (mean, basis, param_mean, param_std))
    if not autocast_is_on(pred.device):
        check_dtype(op, "target", target, (pred.dtype,))
    check_device(op, "target", target, "pred", pred)


def check_vertices(op: str, name: str, vertices: object, params_name: str, params: torch.Tensor) -> None:
    """Raises unless vertices is None or int64 [count] on the device of params; says nothing of the values."""
    if vertices is None:
        return
    check_tensor(op, name, vertices, "[count]")
    check_dtype(op, name, vertices, (torch.int64,))
    check_device(op, name, vertices, params_name, params)
    if vertices.numel() == 0:
        raise ValueError(f"{op}: {name} must name at least one vertex, got none; None stands for all")


def check_vertices_exist(op: str, name: str, vertices: torch.Tensor | None, mean: torch.Tensor) -> None:
    """Raises for a vertex that the model does not have; waits for the device."""
    if vertices is None:
        return
    count = mean.shape[0] // 3
    wrong = vertices[(vertices < 0) | (vertices >= count)]
    if wrong.numel():
        raise ValueError(f"{op}: {name} must be indices from 0 to {count - 1}, got {int(wrong[0])}")


def check_comparison(op: str, pred, mean, vertices, vertex_weights) -> None:
    check_vertices(op, "vertices", vertices, "pred", pred)
    if vertex_weights is None:
        return
    check_tensor(op, "vertex_weights", vertex_weights, "[count]")
    count = mean.shape[0] // 3 if vertices is None else vertices.shape[0]
    if vertex_weights.shape[0] != count:
        raise ValueError(
            f"{op}: vertex_weights must have one value for each of the {count} vertices compared, got "
            f"{list(vertex_weights.shape)}"
        )
    if not autocast_is_on(pred.device):
        check_dtype(op, "vertex_weights", vertex_weights, (pred.dtype,))
    check_device(op, "vertex_weights", vertex_weights, "pred", pred)


def check_finite_faces(op: str, pred: torch.Tensor, target: torch.Tensor) -> None:
    """Raises for NaN and Inf, naming the samples; waits for the device."""
    for name, params in (("pred", pred), ("target", target)):
        bad = (~torch.isfinite(params).all(1)).nonzero()[:, 0].tolist()
        if bad:
            shown = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
            raise ValueError(f"{op}: {name} has NaN or Inf in {len(bad)} of {len(params)} samples: {shown}")


def share_weights(weights: torch.Tensor | None) -> torch.Tensor | None:
    """Weights that add up to 1."""
    return None if weights is None else weights / weights.sum()


def slopes_are_wanted(pred: torch.Tensor) -> bool:
    """Whether there may be a derivative with respect to pred. (What torch.func.vmap wraps does not say.)"""
    if not torch.is_grad_enabled():
        return False
    return pred.requires_grad or not (torch.compiler.is_compiling() or torch.func.debug_unwrap(pred) is pred)


def save_slopes(ctx, pred: torch.Tensor, slopes: tuple[torch.Tensor, ...]) -> None:
    """What per_sample_gradient needs."""
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*slopes)
    ctx.save_for_backward(pred, *slopes)


def per_sample_gradient(op: str, ctx, gradients: tuple[torch.Tensor | None, ...]) -> torch.Tensor | None:
    """The gradient with respect to pred [batch, parameters] from those of its per-sample losses, each [batch] or None,
    and the slopes that ctx has saved."""
    pred, *slopes = ctx.saved_tensors
    total = None
    for gradient, slope in zip(gradients, slopes, strict=True):
        if gradient is None:
            continue
        term = gradient.unsqueeze(1) * slope
        total = term if total is None else total + term
    return None if total is None else last_derivative(op, total, pred)
