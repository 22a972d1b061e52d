"""The ops in plain torch, written to be obviously right: what the tests compare with. Not fast."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

__all__ = [
    "batch_norm_act",
    "batch_norm_act_sge",
    "chain_of_splits",
    "depthwise_conv2d",
    "depthwise_conv2d_bn_act",
    "depthwise_conv2d_bn_act_se",
    "depthwise_conv2d_bn_act_sge",
    "depthwise_conv2d_se",
    "depthwise_conv2d_sge",
    "depthwise_conv2d_statistics",
    "hierarchical_depthwise_conv2d",
    "hierarchical_depthwise_conv2d_bn_act",
    "rasterize",
    "reconstruct_vertices",
    "scale_shift_activate",
    "se_gate",
    "sge_gate",
    "vdc",
    "wpdc_weights",
    "wpdc_wing",
]

_ACTIVATIONS = {"none": lambda v: v, "relu": F.relu, "relu6": F.relu6, "hardswish": F.hardswish, "silu": F.silu}
# (F.hardsigmoid's gradient has but the digits of float32, in float64 too.)
_GATES = {"sigmoid": torch.sigmoid, "hardsigmoid": lambda v: F.relu6(v + 3) / 6}


def depthwise_conv2d(
    x, weight, bias=None, stride=1, padding=0, dilation=1, scale=None, shift=None, activation="none", *, pooled=False
):
    """See ``frnet.ops.depthwise_conv2d``."""
    v = F.conv2d(x, weight, bias, stride, padding, dilation, groups=x.shape[1])
    y = scale_shift_activate(v, scale, shift, activation).to(x.dtype)
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


def batch_norm_act(
    x,
    bn_weight=None,
    bn_bias=None,
    running_mean=None,
    running_var=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
    activation="none",
):
    """See ``frnet.ops.batch_norm_act``."""
    y = F.batch_norm(x, running_mean, running_var, bn_weight, bn_bias, training, momentum, eps)
    return _ACTIVATIONS[activation](y)


def batch_norm_act_sge(x, *norm_arguments, sge_weight, sge_bias, groups, **norm_options):
    """See ``frnet.ops.batch_norm_act_sge``."""
    return sge_gate(batch_norm_act(x, *norm_arguments, **norm_options), sge_weight, sge_bias, groups)


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

    u = chain_of_splits(stage, x, splits, stride, weight, bias, scale, shift)
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

    return chain_of_splits(stage, x, splits, stride, weight, bias, bn_weight, bn_bias, running_mean, running_var)


def reconstruct_vertices(params, morphable, vertices=None):
    """See ``frnet.ops.reconstruct_vertices``."""
    matrix = params[:, :12].reshape(-1, 3, 4)
    shape = _shapes(params, morphable, vertices)
    return shape @ matrix[:, :, :3].mT + matrix[:, None, :, 3]


def vdc(pred, target, morphable, vertices=None, target_tz=True, *, vertex_weights=None):
    """See ``frnet.ops.vdc``."""
    d = _vertex_differences(pred, target, morphable, vertices, target_tz)
    return _mean_over_vertices(d.square(), vertex_weights)


def wpdc_wing(
    pred,
    target,
    morphable,
    *,
    wing_width=10.0,
    wing_curvature=2.0,
    wpdc_normalization="max",
    wpdc_shape="target",
    target_tz=True,
    wpdc_vertices=None,
    vertices=None,
    vertex_weights=None,
):
    """See ``frnet.ops.wpdc_wing``."""
    options = dict(wpdc_normalization=wpdc_normalization, wpdc_shape=wpdc_shape, wpdc_vertices=wpdc_vertices)
    wpdc = (wpdc_weights(pred, target, morphable, **options) * (pred - target).square()).mean(1)
    size = _vertex_differences(pred, target, morphable, vertices, target_tz).abs()
    offset = wing_width - wing_width * math.log1p(wing_width / wing_curvature)
    wing = torch.where(size < wing_width, wing_width * torch.log1p(size / wing_curvature), size - offset)
    return wpdc, _mean_over_vertices(wing, vertex_weights)


@torch.no_grad()
def wpdc_weights(pred, target, morphable, *, wpdc_normalization="max", wpdc_shape="target", wpdc_vertices=None):
    """See ``frnet.ops.wpdc_weights``."""
    pred, target = pred.detach(), target.detach()  # constant in forward mode too
    change = ((pred - target) * morphable.param_std).abs()
    shape = _shapes(_dewhitened(target if wpdc_shape == "target" else pred, morphable), morphable, wpdc_vertices)
    points = shape.new_full((len(shape), 1), shape.shape[1])
    pose = torch.cat([shape.square().sum(1), points], 1).sqrt().repeat(1, 3)
    basis = _rows(morphable.basis, wpdc_vertices).square().sum((0, 1)).sqrt() * 0.00057339936
    weights = change * torch.cat([pose, basis.expand(len(shape), -1)], 1) + 1e-6
    weights[:, 11] = 0
    norm = weights.amax(1, keepdim=True) if wpdc_normalization == "max" else weights.sum(1, keepdim=True)
    return weights / norm


def rasterize(
    vertices,
    triangles,
    height,
    width,
    *,
    attributes=None,
    inverse_depth=None,
    cull=False,
    samples=1,
    barycentrics=True,
):
    """See ``frnet.ops.rasterize``. Every triangle against every sample, in float64."""
    batch = vertices.shape[0]
    rows, columns = height * samples, width * samples
    y, x = torch.meshgrid(256.0 * torch.arange(rows).double(), 256.0 * torch.arange(columns).double(), indexing="ij")
    # Scaled in float32, then to whole steps, halves up.
    steps = ((vertices[..., :2].float() * (256 * samples) + 128 * (samples - 1)).double() + 0.5).floor()
    near = (vertices[..., 2] if inverse_depth is None else inverse_depth).double()
    winner = torch.full((batch, rows, columns), -1, dtype=torch.int32)
    nearness = torch.full((batch, rows, columns), -math.inf, dtype=torch.float64)
    weights = torch.zeros(batch, rows, columns, 3, dtype=torch.float64)
    hidden = ~vertices.isfinite().all(-1) | ~near.isfinite()
    if inverse_depth is not None:
        hidden |= near <= 0
    for b in range(batch):
        for t, corners in enumerate(triangles.long()):
            if hidden[b, corners].any():
                continue
            (x0, y0), (x1, y1), (x2, y2) = steps[b, corners]
            area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
            if area == 0 or (cull and area > 0):
                continue
            inside, functions = torch.ones(rows, columns, dtype=torch.bool), []
            for (ax, ay), (bx, by) in (((x1, y1), (x2, y2)), ((x2, y2), (x0, y0)), ((x0, y0), (x1, y1))):
                dx, dy = (bx - ax) * area.sign(), (by - ay) * area.sign()
                function = dx * (y - ay) - dy * (x - ax)
                top_left = dy < 0 or (dy == 0 and dx > 0)
                inside &= (function > 0) | ((function == 0) & top_left)
                functions.append(function / area.abs())
            w = torch.stack(functions, -1)
            n = near[b, corners]
            depth = n[0] + w[..., 1] * (n[1] - n[0]) + w[..., 2] * (n[2] - n[0])
            better = inside & (depth > nearness[b])
            if inverse_depth is not None:
                w = w * n / (w * n).sum(-1, keepdim=True)
            winner[b][better], nearness[b][better], weights[b][better] = t, depth[better], w[better]
    seen = winner >= 0
    corners = triangles.long()[winner.clamp(min=0).long()] if len(triangles) else winner.new_zeros((*winner.shape, 3))
    images = torch.arange(batch)[:, None, None, None]

    def interpolate(values):  # [batch, count, channels]
        if not len(triangles):
            return weights.new_zeros((*winner.shape, values.shape[2]))
        corner = values.double()[images, corners.long()]
        return torch.where(seen[..., None], (weights[..., None] * corner).sum(-2), 0)

    def by_pixel(values):  # [batch, height, width, samples^2, ...]
        values = values.reshape(batch, height, samples, width, samples, *values.shape[3:])
        return values.transpose(2, 3).flatten(3, 4)

    def nearest(values):
        return torch.take_along_dim(by_pixel(values), first.reshape(*first.shape, *[1] * (values.dim() - 3)), 3)[
            :, :, :, 0
        ]

    near, number = by_pixel(nearness), by_pixel(winner)
    number = torch.where(near == near.amax(3, keepdim=True), number, torch.iinfo(torch.int32).max)
    first = number.argmin(3, keepdim=True)
    share = by_pixel(seen).double().mean(3)
    image = None
    if attributes is not None:
        total = by_pixel(interpolate(attributes.expand(batch, -1, -1))).sum(3)
        image = total / (share * samples**2).clamp(min=1)[..., None]
    depth = nearest(interpolate(vertices[..., 2:]))[..., 0]
    return nearest(winner), depth, nearest(weights) if barycentrics else None, image, share


def _dewhitened(z, morphable):
    return z * morphable.param_std + morphable.param_mean


def _rows(values, vertices):
    """Interleaved rows [3N, ...] as [vertices, 3, ...]."""
    values = values.unflatten(0, (len(values) // 3, 3))
    return values if vertices is None else values[vertices]


def _shapes(params, morphable, vertices):
    """The faces before they are placed, [batch, vertices, 3]."""
    basis = _rows(morphable.basis, vertices)
    offsets = params[:, 12:] @ basis.flatten(0, 1).T
    return _rows(morphable.mean, vertices) + offsets.reshape(len(params), *basis.shape[:2])


def _vertex_differences(pred, target, morphable, vertices, target_tz):
    params, target_params = _dewhitened(pred, morphable), _dewhitened(target, morphable)
    if target_tz:
        params = torch.cat([params[:, :11], target_params[:, 11:12], params[:, 12:]], 1)
    return reconstruct_vertices(params, morphable, vertices) - reconstruct_vertices(target_params, morphable, vertices)


def _mean_over_vertices(values, weights):
    """The mean over coordinates and over vertices, weighted, of [batch, vertices, 3]."""
    values = values.mean(2)
    return values.mean(1) if weights is None else values @ (weights / weights.sum())


def scale_shift_activate(v, scale, shift, activation):
    """a(scale v + shift), channel by channel."""
    return _ACTIVATIONS[activation](_scale_and_shift(v, scale, shift))


def _scale_and_shift(v, scale, shift):
    if scale is not None:
        v = v * scale[:, None, None]
    return v if shift is None else v + shift[:, None, None]


def chain_of_splits(stage, x, splits, stride, *parameters):
    """The splits' results beside each other; where the stride is 1 each is added to the next one's input."""
    chained = stride in (1, (1, 1), [1, 1])
    slices = zip(*([None] * splits if p is None else p.chunk(splits) for p in parameters), strict=True)
    results = []
    for part, of_split in zip(x.chunk(splits, 1), slices, strict=True):
        results.append(stage(part + results[-1] if chained and results else part, *of_split))
    return torch.cat(results, 1)
