"""WPDC and Wing in plain torch, written for speed: the baseline that frnet's op is measured against.

What 3DDFA's code does, on all vertices at once: the target's shape is made once, without a gradient, for both losses;
the basis is kept as three planes, so that a pose acts on long rows.
"""

from __future__ import annotations

import math

import torch


class PlainWpdcWing:
    """Called with (pred, target), gives per-sample (wpdc, wing) with the defaults of ``frnet.ops.wpdc_wing``."""

    def __init__(self, morphable):
        coefficients = morphable.basis.shape[1]
        planes = morphable.basis.unflatten(0, (-1, 3)).transpose(0, 1).contiguous()  # [3, vertices, coefficients]
        self.basis = planes.flatten(0, 1).T.contiguous()  # [coefficients, 3 * vertices]
        self.mean = morphable.mean.unflatten(0, (-1, 3)).T.flatten().contiguous()
        self.param_mean, self.param_std = morphable.param_mean, morphable.param_std
        self.vertices = planes.shape[1]
        self.basis_length = self.basis.norm(dim=1) * 0.00057339936 if coefficients else self.mean.new_empty(0)

    def __call__(self, pred, target, width=10.0, curvature=2.0):
        params, target_params = pred * self.param_std + self.param_mean, target * self.param_std + self.param_mean
        with torch.no_grad():
            shape = self.shape(target_params)
            weights = self.weights((params - target_params).abs(), shape)
            placed = self.place(target_params, shape, target_params[:, 11])
        size = (self.place(params, self.shape(params), target_params[:, 11]) - placed).abs()
        offset = width - width * math.log(1 + width / curvature)
        wing = torch.where(size < width, width * torch.log(1 + size / curvature), size - offset)
        return (weights * (pred - target) ** 2).mean(1), wing.mean((1, 2))

    def shape(self, params):
        return torch.addmm(self.mean, params[:, 12:], self.basis).unflatten(1, (3, self.vertices))

    def place(self, params, shape, tz):
        matrix = params[:, :12].unflatten(1, (3, 4))
        translation = torch.cat([matrix[:, :2, 3], tz[:, None]], 1)
        return torch.baddbmm(translation[:, :, None], matrix[:, :, :3], shape)

    def weights(self, change, shape):
        lengths = torch.cat([shape.norm(dim=2), shape.new_full((len(shape), 1), math.sqrt(self.vertices))], 1)
        weights = change * torch.cat([lengths.repeat(1, 3), self.basis_length.expand(len(shape), -1)], 1) + 1e-6
        weights[:, 11] = 0
        return weights / weights.amax(1, keepdim=True)
