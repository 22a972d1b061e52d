"""depthwise_conv2d over every depthwise shape of the network, against torch's convolution."""

import pytest
import torch
from support.depthwise_samples import NETWORK_SHAPES, make

from frnet import ops
from frnet.ops import reference

CASES = [
    pytest.param(layout, batch, *shape, id=f"{layout}-b{batch}-{shape[0]}x{shape[1]}x{shape[1]}-s{shape[2]}")
    for layout in ("nchw", "channels_last")
    for batch in (1, 32)
    for shape in NETWORK_SHAPES
]


def _sample(layout, batch, channels, size, stride, requires_grad):
    sample = make(batch, channels, size, 3, stride, 1, bias=False, layout=layout)
    sample.differentiable = (0, 1) if requires_grad else ()
    x, weight, _ = sample.on("cpu", torch.float32)
    out = -(-size // stride)
    return x, weight, (x.numel() + batch * channels * out * out) * x.element_size()


@pytest.mark.parametrize(("layout", "batch", "channels", "size", "stride"), CASES)
def test_forward(benchmark, contend, contender, layout, batch, channels, size, stride):
    benchmark.group = f"depthwise_conv2d forward {layout} batch {batch} {channels}x{size}x{size} stride {stride}"
    x, weight, bytes_moved = _sample(layout, batch, channels, size, stride, requires_grad=False)
    with torch.inference_mode():
        contend(
            contender,
            lambda x, w: ops.depthwise_conv2d(x, w, None, stride, 1),
            lambda x, w: reference.depthwise_conv2d(x, w, None, stride, 1),
            (x, weight),
            bytes_moved,
        )


@pytest.mark.parametrize(
    ("layout", "batch", "channels", "size", "stride"), [case for case in CASES if "-b32-" in case.id]
)
def test_forward_and_backward(benchmark, contend, contender, layout, batch, channels, size, stride):
    benchmark.group = (
        f"depthwise_conv2d forward+backward {layout} batch {batch} {channels}x{size}x{size} stride {stride}"
    )
    x, weight, bytes_moved = _sample(layout, batch, channels, size, stride, requires_grad=True)
    upstream = torch.ones_like(reference.depthwise_conv2d(x, weight, None, stride, 1))

    def step(function):
        return lambda x, w: torch.autograd.grad(function(x, w, None, stride, 1), (x, w), upstream)

    # Forward reads x and writes y; backward reads both again, and writes the gradient of x.
    contend(
        contender,
        step(ops.depthwise_conv2d),
        step(reference.depthwise_conv2d),
        (x, weight),
        3 * bytes_moved,
        rtol=1e-3,
    )
