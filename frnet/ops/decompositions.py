"""torch.ops.frnet in terms of torch's own ops: for derivatives in forward mode and for runtimes without our kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from frnet.ops import reference
from frnet.ops.activations import ACTIVATIONS, GATES

__all__ = ["DECOMPOSITIONS"]


class _Morphable(NamedTuple):
    mean: torch.Tensor
    basis: torch.Tensor
    param_mean: torch.Tensor | None = None
    param_std: torch.Tensor | None = None


_ACTIVATIONS, _GATES = list(ACTIVATIONS), list(GATES)


def _convolution(x, weight, bias, sh, sw, ph, pw, dh, dw, *epilogue) -> tuple:
    *affine, activation = epilogue
    return x, weight, bias, (sh, sw), (ph, pw), (dh, dw), *affine, _ACTIVATIONS[activation]


def _depthwise_conv2d(*args):
    return reference.depthwise_conv2d(*_convolution(*args))


def _depthwise_conv2d_pooled(*args):
    y, pooled = reference.depthwise_conv2d(*_convolution(*args), pooled=True)
    return y, _widened(pooled)


def _depthwise_conv2d_statistics(*args):
    return _moments(reference.depthwise_conv2d(*_convolution(*args, None, None, 0)[:6]))


def _depthwise_conv2d_se(*args):
    return _se_gate(_depthwise_conv2d(*args[:12]), *args[12:])


def _depthwise_conv2d_sge(*args):
    return reference.sge_gate(_depthwise_conv2d(*args[:12]), *args[12:])


def _hierarchical_depthwise_conv2d(*args):
    splits, out_scale, out_shift, sge_weight, sge_bias, groups = args[12:]
    return reference.hierarchical_depthwise_conv2d(
        *_convolution(*args[:12]),
        splits=splits,
        out_scale=out_scale,
        out_shift=out_shift,
        sge_weight=sge_weight,
        sge_bias=sge_bias,
        groups=groups,
    )


def _batch_norm_act(x, gamma, beta, epsilon, activation):
    # Written out: torch's batch_norm in forward mode cannot be differentiated again, and does not say so.
    mean, variance = _moments(x)
    v = (_widened(x) - mean[:, None, None]) * torch.rsqrt(variance + epsilon)[:, None, None]
    y = reference.scale_shift_activate(v, gamma, beta, _ACTIVATIONS[activation])
    return y.to(x.dtype), mean, variance


def _batch_norm_act_sge(*args):
    y, *moments = _batch_norm_act(*args[:5])
    return reference.sge_gate(y, *args[5:]), *moments


def _depthwise_conv2d_bn_act(*args):
    return _batch_norm_act(_depthwise_conv2d(*args[:9], None, None, 0), *args[9:])


def _depthwise_conv2d_bn_act_se(*args):
    y, *moments = _depthwise_conv2d_bn_act(*args[:13])
    return _se_gate(y, *args[13:]), *moments


def _depthwise_conv2d_bn_act_sge(*args):
    y, *moments = _depthwise_conv2d_bn_act(*args[:13])
    return reference.sge_gate(y, *args[13:]), *moments


def _hierarchical_depthwise_conv2d_bn_act(x, weight, bias, *rest):
    options, gamma, beta, epsilon, activation, splits = rest[:6], *rest[6:]
    moments = []

    def stage(v, weight, bias, gamma, beta):
        u, *of_split = _depthwise_conv2d_bn_act(v, weight, bias, *options, gamma, beta, epsilon, activation)
        moments.append(of_split)
        return u

    u = reference.chain_of_splits(stage, x, splits, options[:2], weight, bias, gamma, beta)
    return u, *(torch.cat(parts) for parts in zip(*moments, strict=True))


def _se_gate(x, w1, b1, w2, b2, activation, gate):
    return reference.se_gate(x, w1, b1, w2, b2, _ACTIVATIONS[activation], _GATES[gate])


def _reconstruct_vertices(params, mean, basis, vertices):
    return reference.reconstruct_vertices(params, _Morphable(mean, basis), vertices)


def _vdc(pred, target, *rest):
    *arrays, vertices, weights, target_tz, _, slopes = rest
    morphable = _Morphable(*arrays)

    def loss(pred):
        return (reference.vdc(pred, target, morphable, vertices, target_tz, vertex_weights=weights),)

    return _with_slopes(loss, pred, slopes)


def _wpdc_wing(pred, target, *rest):
    *arrays, vertices, weights, target_tz, _ = rest[:8]
    wpdc_vertices, by_sum, predicted_shape, wing_width, wing_curvature, slopes = rest[8:]
    morphable = _Morphable(*arrays)

    def losses(pred):
        return reference.wpdc_wing(
            *(pred, target, morphable),
            **dict(wing_width=wing_width, wing_curvature=wing_curvature),
            wpdc_normalization="sum" if by_sum else "max",
            wpdc_shape="pred" if predicted_shape else "target",
            **dict(target_tz=target_tz, wpdc_vertices=wpdc_vertices, vertices=vertices, vertex_weights=weights),
        )

    return _with_slopes(losses, pred, slopes)


def _with_slopes(losses: Callable, pred: torch.Tensor, wanted: bool) -> tuple[torch.Tensor, ...]:
    """Losses that each sample has for itself, and their slopes, which are empty where nobody wants them."""
    if not wanted:
        values = losses(pred)
        return *values, *(pred.new_empty(0) for _ in values)
    values, pull = torch.func.vjp(losses, pred)
    upstream = [tuple(torch.full_like(v, v is value) for v in values) for value in values]
    return *values, *(pull(ones)[0] for ones in upstream)


def _widened(value: torch.Tensor) -> torch.Tensor:
    """In the dtype of sums."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _moments(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of each channel."""
    v = _widened(v)
    mean = v.mean((0, 2, 3))
    return mean, (v - mean[:, None, None]).square().mean((0, 2, 3))


# Of the ops with a batch's statistics, these come behind the result, as from the op.
DECOMPOSITIONS: dict[str, Callable] = {
    "batch_norm_act": _batch_norm_act,
    "batch_norm_act_sge": _batch_norm_act_sge,
    "depthwise_conv2d": _depthwise_conv2d,
    "depthwise_conv2d_bn_act": _depthwise_conv2d_bn_act,
    "depthwise_conv2d_bn_act_se": _depthwise_conv2d_bn_act_se,
    "depthwise_conv2d_bn_act_sge": _depthwise_conv2d_bn_act_sge,
    "depthwise_conv2d_pooled": _depthwise_conv2d_pooled,
    "depthwise_conv2d_se": _depthwise_conv2d_se,
    "depthwise_conv2d_sge": _depthwise_conv2d_sge,
    "depthwise_conv2d_statistics": _depthwise_conv2d_statistics,
    "hierarchical_depthwise_conv2d": _hierarchical_depthwise_conv2d,
    "hierarchical_depthwise_conv2d_bn_act": _hierarchical_depthwise_conv2d_bn_act,
    "reconstruct_vertices": _reconstruct_vertices,
    "se_gate": _se_gate,
    "sge_gate": reference.sge_gate,
    "vdc": _vdc,
    "wpdc_wing": _wpdc_wing,
}
