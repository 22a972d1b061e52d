"""frnet's ops in terms of torch's, for runtimes that have not heard of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from frnet.ops import reference
from frnet.ops.activations import ACTIVATIONS, GATES

__all__ = ["decompositions"]


def decompositions() -> dict[torch._ops.OpOverload, Callable]:
    """What ``torch.export.ExportedProgram.run_decompositions`` takes: the ops of inference by their references."""
    ops = torch.ops.frnet
    return {
        ops.depthwise_conv2d.default: _depthwise_conv2d,
        ops.depthwise_conv2d_se.default: _depthwise_conv2d_se,
        ops.depthwise_conv2d_sge.default: _depthwise_conv2d_sge,
        ops.hierarchical_depthwise_conv2d.default: _hierarchical_depthwise_conv2d,
        ops.se_gate.default: _se_gate,
        ops.sge_gate.default: reference.sge_gate,
    }


def _convolution(x, weight, bias, sh, sw, ph, pw, dh, dw, scale, shift, activation) -> tuple:
    return x, weight, bias, (sh, sw), (ph, pw), (dh, dw), scale, shift, list(ACTIVATIONS)[activation]


def _depthwise_conv2d(*args):
    return reference.depthwise_conv2d(*_convolution(*args))


def _depthwise_conv2d_se(*args):
    return _se_gate(reference.depthwise_conv2d(*_convolution(*args[:12])), *args[12:])


def _depthwise_conv2d_sge(*args):
    return reference.sge_gate(reference.depthwise_conv2d(*_convolution(*args[:12])), *args[12:])


def _se_gate(x, w1, b1, w2, b2, activation, gate):
    return reference.se_gate(x, w1, b1, w2, b2, list(ACTIVATIONS)[activation], list(GATES)[gate])


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
