"""What the inference forms of depthwise stages share: modules that hold constants alone, made by ``fuse()``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .depthwise_conv2d import DepthwiseConv2d

__all__ = ["Folded"]


class Folded(nn.Module):
    """The arguments of one op: tensors as buffers, read without the detours of attributes; stays in evaluation."""

    def __init__(
        self,
        operation: Callable[..., Tensor],
        conv: DepthwiseConv2d,
        scale: Tensor,
        shift: Tensor,
        activation: str,
        **rest,
    ) -> None:
        super().__init__()
        self.training = False
        self.operation = operation
        self.geometry = tuple(
            pair[0] if pair[0] == pair[1] else pair for pair in (conv.stride, conv.padding, conv.dilation)
        )
        self.activation = activation
        self.register_buffer("weight", conv.weight.detach().clone())
        self.register_buffer("scale", scale.detach())
        self.register_buffer("shift", shift.detach())
        self.tensors = [name for name, value in rest.items() if value is None or isinstance(value, Tensor)]
        self.options = {name: value for name, value in rest.items() if name not in self.tensors}
        for name in self.tensors:
            self.register_buffer(name, None if rest[name] is None else rest[name].detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels, out_height, out_width]."""
        values = self._buffers
        return self.operation(
            x,
            values["weight"],
            None,
            *self.geometry,
            values["scale"],
            values["shift"],
            self.activation,
            **{name: values[name] for name in self.tensors},
            **self.options,
        )

    def train(self, mode: bool = True) -> nn.Module:
        """Refuses ``mode=True``: the running statistics are folded in."""
        if mode:
            raise RuntimeError(f"{type(self).__name__}: holds constants and cannot be trained, only its source can")
        return super().train(mode)

    def extra_repr(self) -> str:
        """Text inside the brackets of ``repr``."""
        stride, padding, dilation = self.geometry
        text = (
            f"{self.weight.shape[0]}, kernel_size={tuple(self.weight.shape[2:])}, stride={stride}, padding={padding}, "
            f"dilation={dilation}, activation={self.activation}"
        )
        return text + "".join(f", {name}={value}" for name, value in self.options.items())
