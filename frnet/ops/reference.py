"""The ops in plain torch, written to be obviously right: what the tests compare with. Not fast."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from frnet.morphable import MorphableModel

__all__ = [
    "depthwise_conv2d",
    "depthwise_conv2d_bn_act",
    "depthwise_conv2d_bn_act_se",
    "depthwise_conv2d_bn_act_sge",
    "depthwise_conv2d_se",
    "depthwise_conv2d_sge",
    "depthwise_conv2d_statistics",
    "hierarchical_depthwise_conv2d",
    "hierarchical_depthwise_conv2d_bn_act",
    "reconstruct_vertices",
    "se_gate",
    "sge_gate",
]

_ACTIVATIONS = {"none": lambda v: v, "relu": F.relu, "relu6": F.relu6, "hardswish": F.hardswish, "silu": F.silu}
# (F.hardsigmoid's gradient has but the digits of float32, in float64 too.)
_GATES = {"sigmoid": torch.sigmoid, "hardsigmoid": lambda v: F.relu6(v + 3) / 6}


def depthwise_conv2d(
    x, weight, bias=None, stride=1, padding=0, dilation=1, scale=None, shift=None, activation="none", *, pooled=False
):
    """See ``frnet.ops.depthwise_conv2d``."""
    v = F.conv2d(x, weight, bias, stride, padding, dilation, groups=x.shape[1])
    y = _ACTIVATIONS[activation](_scale_and_shift(v, scale, shift)).to(x.dtype)
    return (y, y.mean((2, 3))) if pooled else y


def depthwise_conv2d_statistics(x, weight, bias=None, stride=1, padding=0, dilation=1):
    """See ``frnet.ops.depthwise_conv2d_statistics``."""
    v = depthwise_conv2d(x, weight, bias, stride, padding, dilation)
    return v.mean((0, 2, 3)), v.var((0, 2, 3), unbiased=False)


def depthwise_conv2d_bn_act(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    *,
    bn_weight=None,
    bn_bias=None,
    running_mean=None,
    running_var=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    activation="none",
):
    """See ``frnet.ops.depthwise_conv2d_bn_act``."""
    v = depthwise_conv2d(x, weight, bias, stride, padding, dilation)
    return _ACTIVATIONS[activation](
        F.batch_norm(v, running_mean, running_var, bn_weight, bn_bias, training, momentum, eps)
    )


def sge_gate(x, weight, bias, groups):
    """See ``frnet.ops.sge_gate``; step by step as the authors' module SpatialGroupEnhance."""
    n, c, h, w = x.shape
    x = x.reshape(n * groups, c // groups, h, w)
    t = (x * x.mean((2, 3), keepdim=True)).sum(1).reshape(n * groups, h * w)
    t = t - t.mean(1, keepdim=True)
    t = t / (t.std(1, keepdim=True) + 1e-5)
    t = t.reshape(n, groups, h, w) * weight[:, None, None] + bias[:, None, None]
    return (x * torch.sigmoid(t.reshape(n * groups, 1, h, w))).reshape(n, c, h, w).to(x.dtype)


def se_gate(x, w1, b1, w2, b2, activation="relu", gate="sigmoid"):
    """See ``frnet.ops.se_gate``."""
    hidden = _ACTIVATIONS[activation](F.linear(x.mean((2, 3)).to(w1.dtype), w1, b1))
    return (x * _GATES[gate](F.linear(hidden, w2, b2))[:, :, None, None]).to(x.dtype)


def depthwise_conv2d_se(*args, w1, b1=None, w2, b2=None, se_activation="relu", gate="sigmoid", **kwargs):
    """See ``frnet.ops.depthwise_conv2d_se``."""
    return se_gate(depthwise_conv2d(*args, **kwargs), w1, b1, w2, b2, se_activation, gate)


def depthwise_conv2d_sge(*args, sge_weight, sge_bias, groups, **kwargs):
    """See ``frnet.ops.depthwise_conv2d_sge``."""
    return sge_gate(depthwise_conv2d(*args, **kwargs), sge_weight, sge_bias, groups)


def depthwise_conv2d_bn_act_se(*args, w1, b1=None, w2, b2=None, se_activation="relu", gate="sigmoid", **kwargs):
    """See ``frnet.ops.depthwise_conv2d_bn_act_se``."""
    return se_gate(depthwise_conv2d_bn_act(*args, **kwargs), w1, b1, w2, b2, se_activation, gate)


def depthwise_conv2d_bn_act_sge(*args, sge_weight, sge_bias, groups, **kwargs):
    """See ``frnet.ops.depthwise_conv2d_bn_act_sge``."""
    return sge_gate(depthwise_conv2d_bn_act(*args, **kwargs), sge_weight, sge_bias, groups)


def hierarchical_depthwise_conv2d(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    scale=None,
    shift=None,
    activation="none",
    *,
    splits=4,
    out_scale=None,
    out_shift=None,
    sge_weight=None,
    sge_bias=None,
    groups=0,
):
    """See ``frnet.ops.hierarchical_depthwise_conv2d``."""

    def stage(v, weight, bias, scale, shift):
        return depthwise_conv2d(v, weight, bias, stride, padding, dilation, scale, shift, activation)

    u = _chain(stage, x, splits, stride, weight, bias, scale, shift)
    y = _scale_and_shift(u, out_scale, out_shift).to(x.dtype)
    return sge_gate(y, sge_weight, sge_bias, groups) if groups else y


def hierarchical_depthwise_conv2d_bn_act(
    x,
    weight,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    *,
    splits=4,
    bn_weight=None,
    bn_bias=None,
    running_mean=None,
    running_var=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    activation="none",
):
    """See ``frnet.ops.hierarchical_depthwise_conv2d_bn_act``."""

    def stage(v, weight, bias, bn_weight, bn_bias, running_mean, running_var):
        return depthwise_conv2d_bn_act(
            *(v, weight, bias, stride, padding, dilation),
            **dict(bn_weight=bn_weight, bn_bias=bn_bias, running_mean=running_mean, running_var=running_var),
            **dict(training=training, momentum=momentum, eps=eps, activation=activation),
        )

    return _chain(stage, x, splits, stride, weight, bias, bn_weight, bn_bias, running_mean, running_var)


def reconstruct_vertices(params: torch.Tensor, morphable: MorphableModel) -> torch.Tensor:
    """See ``frnet.ops.reconstruct_vertices``."""
    matrix = params[:, :12].reshape(-1, 3, 4)
    shape = (morphable.mean + params[:, 12:] @ morphable.basis.T).unflatten(1, (-1, 3))
    return shape @ matrix[:, :, :3].mT + matrix[:, None, :, 3]


def _scale_and_shift(v, scale, shift):
    if scale is not None:
        v = v * scale[:, None, None]
    return v if shift is None else v + shift[:, None, None]


def _chain(stage, x, splits, stride, *parameters):
    """The splits' results beside each other; where the stride is 1 each is added to the next one's input."""
    chained = stride in (1, (1, 1), [1, 1])
    slices = zip(*([None] * splits if p is None else p.chunk(splits) for p in parameters), strict=True)
    results = []
    for part, of_split in zip(x.chunk(splits, 1), slices, strict=True):
        results.append(stage(part + results[-1] if chained and results else part, *of_split))
    return torch.cat(results, 1)
