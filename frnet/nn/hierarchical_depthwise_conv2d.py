"""The multi-scale depthwise stage as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frnet import ops
from frnet.ops.activations import ACTIVATIONS
from frnet.ops.batch_norm import fold_statistics
from frnet.ops.checks import image_layout

from .arguments import check_channels, check_divides, check_name, check_pair
from .batch_norm import (
    batch_statistics_arguments,
    fold_batch_norm,
    normalises_by_batch,
    refuse_fusing,
)
from .depthwise_conv2d import DepthwiseConv2d
from .depthwise_conv2d_norm_act import convolution_statistics, convolve_normalise_activate, normalise_activate
from .folded_hierarchical_depthwise_conv2d import FoldedHierarchicalDepthwiseConv2d
from .spatial_group_enhance import SpatialGroupEnhance
from .sync_batch_norm2d import BatchStatistics, statistics_over_processes, synchronises, track_statistics

__all__ = ["HierarchicalDepthwiseConv2d"]


class HierarchicalDepthwiseConv2d(nn.Module):
    r"""Equal splits of the channels, each with a depthwise convolution, batch normalisation and activation of its own.

    .. math::
        u_0 &= a(\mathrm{bn}_0(w_0 * x_0)), \qquad u_i = a(\mathrm{bn}_i(w_i * (x_i + u_{i-1}))) \\
        y &= \mathrm{gate}\big(\mathrm{bn}_\mathrm{out}([u_0, u_1, \dots])\big)

    With a stride other than 1 the splits are not chained: :math:`u_i` is made of :math:`x_i` alone. Padding keeps
    the size of the plane. The splits' parameters lie one behind the other in one convolution ``conv`` and one
    normalisation ``norm`` over all channels; as both act on each channel alone, that equals one module per split.
    In training the statistics of ``norm`` come from the convolutions' own passes; in evaluation all of it, gate
    included, is one op. ``norm.training`` and ``out_norm.training`` decide, so frozen normalisations stay frozen.

    Args:
        channels: number of input and of output channels, at least 1.
        kernel_size: height and width of the filters, in pixels; odd.
        stride: step of the filters, in pixels.
        splits: number of splits; divides the channels.
        activation: of every split: "none", "relu", "relu6", "hardswish" or "silu".
        eps: added to the variances.
        momentum: share of a batch in the new running statistics; None: the mean over all batches.
        gate: a SpatialGroupEnhance whose groups divide the channels, or None.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        TypeError: the gate is something else.
        ValueError: a size or a name is not one of those above.

    Source: Gao et al., Res2Net, 2019, figure 2 and equation 1, with depthwise convolutions.

    Example:
        >>> import torch
        >>> stage = HierarchicalDepthwiseConv2d(32, splits=4, gate=SpatialGroupEnhance(8))
        >>> stage(torch.randn(2, 32, 15, 15)).shape
        torch.Size([2, 32, 15, 15])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        splits: int = 4,
        activation: str = "relu6",
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        gate: SpatialGroupEnhance | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = "HierarchicalDepthwiseConv2d"
        if gate is not None and not isinstance(gate, SpatialGroupEnhance):
            raise TypeError(f"{name}: gate must be a SpatialGroupEnhance or None, got {type(gate).__name__}")
        check_channels(name, channels)
        kernel = check_pair(name, "kernel_size", kernel_size, 1)
        if not all(size % 2 for size in kernel):
            raise ValueError(f"{name}: kernel_size must be odd, to keep the size of the plane, got {kernel_size!r}")
        stride = check_pair(name, "stride", stride, 1)
        padding = tuple(size // 2 for size in kernel)
        self.splits = check_divides(name, "splits", splits, channels)
        self.activation = check_name(name, "activation", ACTIVATIONS, activation)
        factory = {"device": device, "dtype": dtype}
        self.conv = DepthwiseConv2d(channels, kernel, stride, padding, bias=False, **factory)
        self.norm = nn.BatchNorm2d(channels, eps, momentum, **factory)
        self.out_norm = nn.BatchNorm2d(channels, eps, momentum, **factory)
        if gate is not None:
            gate.check_channels(name, channels)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, out_height, out_width]."""
        conv, stage = self.conv.arguments(), {"splits": self.splits, "activation": self.activation}
        if synchronises(self.norm):
            u = self._synchronised(x)
        elif normalises_by_batch(self.norm):
            norm = batch_statistics_arguments(self.norm)
            u = ops.hierarchical_depthwise_conv2d_bn_act(x, *conv, **norm, **stage)
        else:
            stage["scale"], stage["shift"] = fold_batch_norm(self.norm)
            if not normalises_by_batch(self.out_norm):
                stage["out_scale"], stage["out_shift"] = fold_batch_norm(self.out_norm)
                gate = {} if self.gate is None else self.gate.arguments()
                return ops.hierarchical_depthwise_conv2d(x, *conv, **stage, **gate)
            u = ops.hierarchical_depthwise_conv2d(x, *conv, **stage)
        return normalise_activate(u, self.out_norm, "none", self.gate)

    def _synchronised(self, x: Tensor) -> Tensor:
        """The splits, normalised by the batches of all processes, each by what the split before it has become there."""
        weight, *rest = self.conv.arguments()
        if self.conv.stride != (1, 1):  # no chain
            return convolve_normalise_activate(x, (weight, *rest), self.norm, self.activation)
        parameters = (value.chunk(self.splits) for value in (weight, self.norm.weight, self.norm.bias))
        u, results, statistics = None, [], []
        for x_i, weight_i, *affine in zip(x.chunk(self.splits, 1), *parameters, strict=True):
            v = x_i.contiguous(memory_format=image_layout(x)) if u is None else x_i + u
            conv = (weight_i, *rest)
            batch = statistics_over_processes(convolution_statistics(v, conv), self.norm.process_group)
            scale, shift = fold_statistics(batch.mean, batch.variance, *affine, self.norm.eps)
            u = ops.depthwise_conv2d(v, *conv, scale, shift, self.activation)
            results.append(u)
            statistics.append(batch)
        means, variances, counts = zip(*statistics, strict=True)
        track_statistics(self.norm, BatchStatistics(torch.cat(means), torch.cat(variances), counts[0]))
        return torch.cat(results, 1)

    @torch.no_grad()
    def fuse(self) -> FoldedHierarchicalDepthwiseConv2d:
        """The same in evaluation, with both normalisations folded once and for all; parameters are copied.

        Raises:
            RuntimeError: the module is in training, or has no running statistics.
        """
        refuse_fusing(self, self.norm, self.out_norm)
        scale, shift = fold_batch_norm(self.norm)
        out_scale, out_shift = fold_batch_norm(self.out_norm)
        gate = {} if self.gate is None else self.gate.arguments()
        out = {"splits": self.splits, "out_scale": out_scale, "out_shift": out_shift}
        stage = (ops.hierarchical_depthwise_conv2d, self.conv, scale, shift, self.activation)
        return FoldedHierarchicalDepthwiseConv2d(*stage, **out, **gate)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        return f"splits={self.splits}, activation={self.activation}"
