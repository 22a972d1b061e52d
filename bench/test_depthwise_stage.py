"""The depthwise stage over every depthwise shape of the network: convolution, batch normalisation, ReLU6 and a gate,
and the multi-scale stage, at inference and in training, against the same stage in plain torch layers."""

import pytest
import torch
from plain_stage import HierarchicalStage, SpatialGroupEnhance, SqueezeExcite, Stage
from support.depthwise_samples import NETWORK_SHAPES

from frnet import nn as frnet_nn

GROUPS = 8
REDUCTION = 16
STAGES = ["conv_bn_relu6", "conv_bn_relu6_se", "conv_bn_relu6_sge", "hierarchical", "hierarchical_sge"]


def make_stages(kind: str, channels: int, stride: int, device: str):
    """(frnet's module, the plain one) with the same parameters and statistics."""
    torch.manual_seed(0)
    gate = {"sge": "sge", "se": "se"}.get(kind.rsplit("_", 1)[-1])
    plain_gate = {
        "sge": lambda: SpatialGroupEnhance(GROUPS),
        "se": lambda: SqueezeExcite(channels, channels // REDUCTION),
        None: lambda: None,
    }[gate]()
    our_gate = {
        "sge": lambda: frnet_nn.SpatialGroupEnhance(GROUPS),
        "se": lambda: frnet_nn.SqueezeExcite(channels, rd_channels=channels // REDUCTION),
        None: lambda: None,
    }[gate]()
    if kind.startswith("hierarchical"):
        plain = HierarchicalStage(channels, stride, plain_gate)
        ours = frnet_nn.HierarchicalDepthwiseConv2d(channels, stride=stride, gate=our_gate)
    else:
        plain = Stage(channels, stride, plain_gate)
        ours = frnet_nn.DepthwiseConv2dNormAct(channels, 3, stride=stride, padding=1, gate=our_gate)
    with torch.no_grad():
        for name, value in plain.state_dict().items():
            if "weight" in name and value.dim() == 1:
                value.uniform_(0.5, 1.5)
            elif "running_var" in name:
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point():
                value.normal_(0, 0.5)
        copy_state(plain, ours)
    return ours.to(device), plain.to(device)


def copy_state(plain, ours):
    """The plain stage's values into ours, whose splits lie in one tensor."""
    state = plain.state_dict()
    if isinstance(plain, HierarchicalStage):
        count = len(plain.convs)
        merged = {"conv.weight": torch.cat([state.pop(f"convs.{i}.weight") for i in range(count)])}
        for name in ("weight", "bias", "running_mean", "running_var"):
            merged[f"norm.{name}"] = torch.cat([state.pop(f"norms.{i}.{name}") for i in range(count)])
        merged["norm.num_batches_tracked"] = state["norms.0.num_batches_tracked"]
        for i in range(count):
            state.pop(f"norms.{i}.num_batches_tracked")
        state |= merged
    ours.load_state_dict(state)


def stage_bytes(x, y) -> int:
    """What a pass has to move: x read and y written."""
    return (x.numel() + y.numel()) * x.element_size()


def draw(layout, batch, channels, size, device, dtype=torch.float32):
    x = torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    return x.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else x


def cases(batches, layouts=("nchw",), kinds=STAGES):
    return [
        pytest.param(kind, layout, batch, *shape, id=f"{kind}-{layout}-b{batch}-{shape[0]}x{shape[1]}-s{shape[2]}")
        for kind in kinds
        for layout in layouts
        for batch in batches
        for shape in NETWORK_SHAPES
    ]


GATED = ["conv_bn_relu6_se", "conv_bn_relu6_sge", "hierarchical_sge"]


def _inference(contend, contender, benchmark, device, kind, layout, batch, channels, size, stride, dtype, rtol):
    benchmark.group = f"{kind} inference {layout} batch {batch} {channels}x{size}x{size} stride {stride}"
    ours, plain = make_stages(kind, channels, stride, device)
    ours, plain = ours.eval().fuse().to(dtype), plain.eval().to(dtype)
    x = draw(layout, batch, channels, size, device, dtype)
    with torch.inference_mode():
        contend(contender, ours, plain, (x,), stage_bytes(x, plain(x)), rtol=rtol)


@pytest.mark.cpu_only
@pytest.mark.parametrize(("kind", "layout", "batch", "channels", "size", "stride"), cases([1, 32], kinds=GATED))
def test_inference(benchmark, contend, contender, device, kind, layout, batch, channels, size, stride):
    _inference(contend, contender, benchmark, device, kind, layout, batch, channels, size, stride, torch.float32, 1e-4)


@pytest.mark.cuda_only
@pytest.mark.parametrize(("kind", "layout", "batch", "channels", "size", "stride"), cases([256], kinds=GATED))
def test_inference_on_a_gpu(benchmark, contend, contender, device, kind, layout, batch, channels, size, stride):
    _inference(contend, contender, benchmark, device, kind, layout, batch, channels, size, stride, torch.bfloat16, 3e-2)


TRAINING = [
    *cases([32], kinds=["conv_bn_relu6", "conv_bn_relu6_se", "conv_bn_relu6_sge", "hierarchical_sge"]),
    *cases([1], kinds=["conv_bn_relu6_sge"]),
]


@pytest.mark.cpu_only
@pytest.mark.parametrize(("kind", "layout", "batch", "channels", "size", "stride"), TRAINING)
def test_training(benchmark, contend, contender, device, kind, layout, batch, channels, size, stride):
    benchmark.group = f"{kind} training {layout} batch {batch} {channels}x{size}x{size} stride {stride}"
    ours, plain = make_stages(kind, channels, stride, device)
    ours.train(), plain.train()
    x = draw(layout, batch, channels, size, device).requires_grad_()
    upstream = torch.randn_like(plain(x))
    parameters = {ours: list(ours.parameters()), plain: list(plain.parameters())}

    def step(function, x):
        wanted = parameters[ours if function is ours else plain]
        # Of the parameters' gradients, those both sides order alike are compared elsewhere; here the input's.
        return torch.autograd.grad(function(x), [x, *wanted], upstream)[0]

    # Forward reads x and writes y; backward reads both, and writes the gradient of x.
    contend(contender, ours, plain, (x,), 3 * stage_bytes(x, upstream), call=step, rtol=1e-3)
