"""Depthwise convolution, batch normalisation, activation and gate as one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frnet import ops
from frnet.ops.activations import ACTIVATIONS
from frnet.ops.convolution import convolution_options, result_size

from .arguments import check_name
from .batch_norm import batch_statistics_arguments, fold_batch_norm, normalises_by_batch, refuse_fusing
from .depthwise_conv2d import DepthwiseConv2d
from .folded_depthwise_conv2d import FoldedDepthwiseConv2d
from .spatial_group_enhance import SpatialGroupEnhance
from .squeeze_excite import SqueezeExcite
from .sync_batch_norm2d import BatchStatistics, batch_statistics, synchronised_scale_and_shift, synchronises

__all__ = ["DepthwiseConv2dNormAct", "convolution_statistics", "convolve_normalise_activate", "normalise_activate"]


class DepthwiseConv2dNormAct(nn.Module):
    """Depthwise convolution, batch normalisation, activation and, where given, a gate: the stage of mobile networks.

    It equals ``Sequential(DepthwiseConv2d(...), BatchNorm2d(channels), activation, gate)``. In training the batch's
    statistics come from the convolution's own pass and nothing but the input is kept for the backward pass. In
    evaluation all of it is one op, with the running statistics folded into a scale and a shift. Which of the two,
    ``norm.training`` decides, so a frozen normalisation stays frozen; :func:`synchronise_batch_norm` makes the batch
    that of all processes. The modules ``conv`` and ``norm`` hold parameters and buffers under their usual names; their
    forward is not called, nor, in evaluation, the gate's.

    Args:
        channels: number of input and of output channels, at least 1.
        kernel_size: height and width of the filter, in pixels.
        stride: step of the filter, in pixels.
        padding: zeros added on each side, in pixels.
        dilation: distance between two taps of the filter, in pixels.
        bias: whether the convolution adds a bias, which the normalisation takes away again.
        activation: "none", "relu", "relu6", "hardswish" or "silu".
        eps: added to the variance.
        momentum: share of a batch in the new running statistics; None: the mean over all batches.
        affine: whether the normalisation has parameters.
        track_running_stats: whether it has running statistics; else it takes the batch's in evaluation too.
        gate: a SqueezeExcite or a SpatialGroupEnhance for these channels, or None.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        TypeError: the gate is neither.
        ValueError: a size or a name is not one of those above.

    Example:
        >>> import torch
        >>> stage = DepthwiseConv2dNormAct(8, 3, padding=1, activation="hardswish", gate=SqueezeExcite(8))
        >>> stage(torch.randn(4, 8, 15, 15)).shape
        torch.Size([4, 8, 15, 15])
        >>> list(stage.eval().fuse().state_dict())[:3]
        ['weight', 'scale', 'shift']
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = False,
        activation: str = "relu6",
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        gate: SqueezeExcite | SpatialGroupEnhance | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = "DepthwiseConv2dNormAct"
        if gate is not None and not isinstance(gate, (SqueezeExcite, SpatialGroupEnhance)):
            raise TypeError(
                f"{name}: gate must be a SqueezeExcite, a SpatialGroupEnhance or None, got {type(gate).__name__}"
            )
        self.activation = check_name(name, "activation", ACTIVATIONS, activation)
        factory = {"device": device, "dtype": dtype}
        self.conv = DepthwiseConv2d(channels, kernel_size, stride, padding, dilation, bias, **factory)
        self.norm = nn.BatchNorm2d(channels, eps, momentum, affine, track_running_stats, **factory)
        if gate is not None:
            gate.check_channels(name, channels)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, out_height, out_width]."""
        return convolve_normalise_activate(x, self.conv.arguments(), self.norm, self.activation, self.gate)

    @torch.no_grad()
    def fuse(self) -> FoldedDepthwiseConv2d:
        """The same in evaluation, with the normalisation folded once and for all; parameters are copied.

        Raises:
            RuntimeError: the module is in training, or has no running statistics.
        """
        refuse_fusing(self, self.norm)
        scale, shift = fold_batch_norm(self.norm, self.conv.bias)
        operation, gate = (ops.depthwise_conv2d, {}) if self.gate is None else (self.gate.fused, self.gate.arguments())
        return FoldedDepthwiseConv2d(operation, self.conv, scale, shift, self.activation, **gate)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        return f"activation={self.activation}"


def convolve_normalise_activate(
    x: Tensor,
    conv: tuple,
    norm: nn.BatchNorm2d,
    activation: str,
    gate: SqueezeExcite | SpatialGroupEnhance | None = None,
) -> Tensor:
    """The forward of :class:`DepthwiseConv2dNormAct`, for modules that live elsewhere; conv: the arguments of one.

    Where the normalisation synchronises, the convolution runs once for its statistics and once for its result.
    """
    if synchronises(norm):
        epilogue = synchronised_scale_and_shift(norm, convolution_statistics(x, conv))
    elif normalises_by_batch(norm):
        operation, behind = (
            (ops.depthwise_conv2d_bn_act, {}) if gate is None else (gate.fused_with_norm, gate.arguments())
        )
        statistics = batch_statistics_arguments(norm)
        return operation(x, *conv, **statistics, activation=activation, **behind)
    else:
        epilogue = fold_batch_norm(norm)
    convolution = (x, *conv, *epilogue, activation)
    return ops.depthwise_conv2d(*convolution) if gate is None else gate.fused(*convolution, **gate.arguments())


def convolution_statistics(x: Tensor, conv: tuple) -> BatchStatistics:
    """Of a depthwise convolution's result, in this process; conv: as in :func:`convolve_normalise_activate`."""
    weight, _, *geometry = conv
    if len(x) == 0:
        return batch_statistics(ops.depthwise_conv2d(x, *conv))
    height, width = result_size(x, weight, convolution_options("convolution_statistics", *geometry))
    return BatchStatistics(*ops.depthwise_conv2d_statistics(x, *conv), len(x) * height * width)


def normalise_activate(
    u: Tensor, norm: nn.BatchNorm2d, activation: str, gate: SpatialGroupEnhance | None = None
) -> Tensor:
    """What stands behind a convolution alone, as one op."""
    if synchronises(norm):
        unit = u.new_ones(u.shape[1], 1, 1, 1)  # a convolution that changes nothing
        return convolve_normalise_activate(u, (unit, None, 1, 0, 1), norm, activation, gate)
    if normalises_by_batch(norm):
        statistics = batch_statistics_arguments(norm)
    else:
        statistics = {
            "bn_weight": norm.weight,
            "bn_bias": norm.bias,
            "running_mean": norm.running_mean,
            "running_var": norm.running_var,
            "eps": norm.eps,
        }
    if gate is None:
        return ops.batch_norm_act(u, **statistics, activation=activation)
    return ops.batch_norm_act_sge(u, **statistics, activation=activation, **gate.arguments())
