"""depthwise_conv2d over every depthwise shape of the network, against torch's convolution."""

import pytest
import torch
from support.depthwise_samples import NETWORK_SHAPES, make

from frnet import ops
from frnet.ops import reference


def cases(batches):
    return [
        pytest.param(layout, batch, *shape, id=f"{layout}-b{batch}-{shape[0]}x{shape[1]}x{shape[1]}-s{shape[2]}")
        for layout in ("nchw", "channels_last")
        for batch in batches
        for shape in NETWORK_SHAPES
    ]


def _sample(layout, batch, channels, size, stride, requires_grad, device, dtype=torch.float32):
    sample = make(batch, channels, size, 3, stride, 1, bias=False, layout=layout)
    sample.differentiable = ("x", "weight") if requires_grad else ()
    x, weight, *_ = sample.on(device, dtype)
    out = -(-size // stride)
    return x, weight, (x.numel() + batch * channels * out * out) * x.element_size()


def _forward(contend, contender, device, layout, batch, channels, size, stride, dtype, rtol):
    x, weight, bytes_moved = _sample(layout, batch, channels, size, stride, False, device, dtype)
    with torch.inference_mode():
        contend(
            contender,
            lambda x, w: ops.depthwise_conv2d(x, w, None, stride, 1),
            lambda x, w: reference.depthwise_conv2d(x, w, None, stride, 1),
            (x, weight),
            bytes_moved,
            rtol=rtol,
        )


def _backward(contend, contender, device, layout, batch, channels, size, stride, wanted, dtype, rtol):
    """Forward and backward; the gradients of `wanted`."""
    x, weight, bytes_moved = _sample(layout, batch, channels, size, stride, True, device, dtype)
    upstream = torch.ones_like(reference.depthwise_conv2d(x, weight, None, stride, 1))

    def step(function, x, w):
        return torch.autograd.grad(function(x, w), [{"x": x, "weight": w}[name] for name in wanted], upstream)

    # Forward reads x and writes y; backward reads both again, and writes the gradient of x.
    contend(
        contender,
        lambda x, w: ops.depthwise_conv2d(x, w, None, stride, 1),
        lambda x, w: reference.depthwise_conv2d(x, w, None, stride, 1),
        (x, weight),
        3 * bytes_moved,
        call=step,
        rtol=rtol,
    )


@pytest.mark.cpu_only
@pytest.mark.parametrize(("layout", "batch", "channels", "size", "stride"), cases([1, 32]))
def test_forward(benchmark, contend, contender, device, layout, batch, channels, size, stride):
    benchmark.group = f"depthwise_conv2d forward {layout} batch {batch} {channels}x{size}x{size} stride {stride}"
    _forward(contend, contender, device, layout, batch, channels, size, stride, torch.float32, 1e-4)


@pytest.mark.cpu_only
@pytest.mark.parametrize(("layout", "batch", "channels", "size", "stride"), cases([32]))
def test_forward_and_backward(benchmark, contend, contender, device, layout, batch, channels, size, stride):
    benchmark.group = (
        f"depthwise_conv2d forward+backward {layout} batch {batch} {channels}x{size}x{size} stride {stride}"
    )
    _backward(contend, contender, device, layout, batch, channels, size, stride, ["x", "weight"], torch.float32, 1e-3)


# On a GPU every pass by itself, since each is to be held against the bandwidth of a copy.
PASSES = {
    "forward": lambda g, x, w, s: ops.depthwise_conv2d(x, w, None, s, 1),
    "backward input": lambda g, x, w, s: _gradient(g, x, w, s, True, False)[0],
    "backward weight": lambda g, x, w, s: _gradient(g, x, w, s, False, True)[1],
}
PEERS = {
    "forward": lambda g, x, w, s: reference.depthwise_conv2d(x, w, None, s, 1),
    "backward input": lambda g, x, w, s: torch.nn.grad.conv2d_input(x.shape, w, g, s, 1, 1, x.shape[1]),
    "backward weight": lambda g, x, w, s: torch.nn.grad.conv2d_weight(x, w.shape, g, s, 1, 1, x.shape[1]),
}


def _gradient(g, x, w, stride, needs_x, needs_weight):
    return torch.ops.frnet.depthwise_conv2d_backward(
        g, x, w, None, stride, stride, 1, 1, 1, 1, None, None, 0, None, None, needs_x, needs_weight, False, False, False
    )


@pytest.mark.cuda_only
@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize(("layout", "batch", "channels", "size", "stride"), cases([256]))
def test_passes_on_a_gpu(benchmark, contend, contender, device, name, layout, batch, channels, size, stride):
    benchmark.group = f"depthwise_conv2d {name} {layout} batch {batch} {channels}x{size}x{size} stride {stride}"
    x, weight, bytes_moved = _sample(layout, batch, channels, size, stride, False, device, torch.bfloat16)
    with torch.no_grad():
        g = torch.randn_like(reference.depthwise_conv2d(x, weight, None, stride, 1))
        contend(
            contender,
            lambda g, x, w: PASSES[name](g, x, w, stride),
            lambda g, x, w: PEERS[name](g, x, w, stride),
            (g, x, weight),
            bytes_moved,
            rtol=3e-2,
        )
