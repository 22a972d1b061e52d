"""Samples with a batch normalisation behind the convolution."""

from __future__ import annotations

from support.op_tests import Sample


def with_norm(sample: Sample, activation: str, weight=True, bias=True, **options) -> Sample:
    channels = sample.tensors["x"].shape[1]
    shapes = {"bn_weight": (channels,) if weight else None, "bn_bias": (channels,) if bias else None}
    return sample.adding(shapes, activation=activation, **options)


def with_running(sample: Sample) -> Sample:
    """Running statistics, the variance positive; no gradients."""
    channels = sample.tensors["x"].shape[1]
    sample = sample.adding({"running_mean": (channels,), "running_var": (channels,)})
    sample.tensors["running_var"] = sample.tensors["running_var"].abs() + 0.1
    sample.differentiable = [name for name in sample.differentiable if not name.startswith("running")]
    return sample
