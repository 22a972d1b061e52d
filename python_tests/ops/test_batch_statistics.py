"""What the ops that normalise by a batch's statistics share: empty batches, and running statistics in transforms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from frnet import ops

CHANNELS, GROUPS = 8, 2


def parameters(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    sums = torch.promote_types(dtype, torch.float32)
    shapes = {"bn_weight": CHANNELS, "bn_bias": CHANNELS}
    return {name: torch.ones(size, dtype=sums, requires_grad=True) for name, size in shapes.items()}


def running() -> dict[str, torch.Tensor]:
    return {"running_mean": torch.full((CHANNELS,), 0.25), "running_var": torch.full((CHANNELS,), 2.0)}


def se(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    sums = torch.promote_types(dtype, torch.float32)
    shapes = {"w1": (4, CHANNELS), "b1": (4,), "w2": (CHANNELS, 4), "b2": (CHANNELS,)}
    return {name: torch.ones(shape, dtype=sums, requires_grad=True) for name, shape in shapes.items()}


def sge(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    sums = torch.promote_types(dtype, torch.float32)
    return {name: torch.ones(GROUPS, dtype=sums, requires_grad=True) for name in ("sge_weight", "sge_bias")}


def nothing(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {}


# Op, its gate's tensors, its options, whether it has a convolution.
FORMS = {
    "batch_norm_act": (ops.batch_norm_act, nothing, {}, False),
    "batch_norm_act_sge": (ops.batch_norm_act_sge, sge, {"groups": GROUPS}, False),
    "depthwise_conv2d_bn_act": (ops.depthwise_conv2d_bn_act, nothing, {"stride": 2}, True),
    "depthwise_conv2d_bn_act_se": (ops.depthwise_conv2d_bn_act_se, se, {"padding": 1}, True),
    "depthwise_conv2d_bn_act_sge": (ops.depthwise_conv2d_bn_act_sge, sge, {"groups": GROUPS}, True),
    "hierarchical_depthwise_conv2d_bn_act": (
        ops.hierarchical_depthwise_conv2d_bn_act,
        nothing,
        {"padding": 1, "splits": 2},
        True,
    ),
}


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def image(batch: int, dtype: torch.dtype, layout: str = "nchw") -> torch.Tensor:
    x = torch.randn(batch, CHANNELS, 6, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


def leaves(form, x: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    _, gate, _, convolves = form
    weight = {"weight": torch.ones(CHANNELS, 1, 3, 3, dtype=dtype, requires_grad=True)} if convolves else {}
    return {"x": x, **weight, **parameters(dtype), **gate(dtype)}


def convolved(form, x: torch.Tensor) -> torch.Tensor:
    """As torch does it."""
    if not form[3]:
        return x
    geometry = {name: value for name, value in form[2].items() if name in ("stride", "padding")}
    return F.conv2d(x, torch.ones(CHANNELS, 1, 3, 3, dtype=x.dtype), groups=CHANNELS, **geometry)


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_an_empty_batch(form, dtype, layout):
    """As torch's batch_norm, which is asked too: an empty result, statistics untouched, gradients of zero."""
    tensors, statistics = leaves(form, image(0, dtype, layout), dtype), running()
    y = form[0](**tensors, **statistics, **form[2], training=True, activation="silu")
    expected = convolved(form, tensors["x"])
    theirs = running()
    expected = F.batch_norm(expected, *theirs.values(), training=True)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    torch.testing.assert_close(statistics, running(), rtol=0, atol=0)
    torch.testing.assert_close(theirs, statistics, rtol=0, atol=0)
    gradients = torch.autograd.grad(y, list(tensors.values()), torch.ones_like(y))
    for tensor, gradient in zip(tensors.values(), gradients, strict=True):
        assert gradient.dtype == tensor.dtype
        assert torch.equal(gradient, torch.zeros_like(tensor))


def test_an_empty_batch_under_autocast(form):
    tensors = leaves(form, image(0, torch.float32), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = form[0](**tensors, **form[2], training=True)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert {tensor.grad.dtype for tensor in tensors.values()} == {torch.float32}


@pytest.mark.parametrize("name", ["batch_norm_act", "depthwise_conv2d_bn_act_se"])
def test_an_empty_batch_compiled(name):
    form = FORMS[name]
    tensors, statistics = leaves(form, image(0, torch.float32), torch.float32), running()
    torch.compiler.reset()
    compiled = torch.compile(form[0], fullgraph=True, backend="aot_eager")
    y = compiled(**tensors, **statistics, **form[2], training=True)
    assert y.shape == convolved(form, tensors["x"]).shape
    y.sum().backward()
    assert all(torch.equal(tensor.grad, torch.zeros_like(tensor)) for tensor in tensors.values())
    torch.testing.assert_close(statistics, running(), rtol=0, atol=0)


def test_an_empty_batch_does_not_hide_a_bad_argument(form):
    tensors = leaves(form, image(0, torch.float32), torch.float32)
    with pytest.raises(ValueError, match=r"bn_weight must have shape \[8\], .*got \[3\]"):
        form[0](**tensors | {"bn_weight": torch.ones(3)}, **form[2], training=True)


def test_running_statistics_in_transforms(form):
    """torch.func updates them as torch's own batch_norm does; vmap, which cannot, says so."""
    tensors = {name: value.detach() for name, value in leaves(form, image(3, torch.float32), torch.float32).items()}
    x, rest = tensors.pop("x"), tensors

    def call(statistics):
        return lambda x: form[0](x, **rest, **statistics, **form[2], training=True)

    expected = running()
    F.batch_norm(convolved(form, x), *expected.values(), training=True)
    if form[0] is ops.hierarchical_depthwise_conv2d_bn_act:  # (whose second split sees the first one's result)
        expected = running()
        call(expected)(x)
    for transform in (torch.func.grad, torch.func.vjp, torch.func.jvp):
        ours = running()
        function = call(ours)
        if transform is torch.func.grad:
            transform(lambda x: function(x).square().sum())(x)  # noqa: B023
        else:
            transform(function, *((x,) if transform is torch.func.vjp else ((x,), (torch.ones_like(x),))))
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    ours = running()
    with pytest.raises(NotImplementedError, match=r"running statistics, it cannot update under torch\.func\.vmap"):
        torch.func.vmap(call(ours))(x[None])
    torch.testing.assert_close(ours, running(), rtol=0, atol=0)
    torch.func.vmap(lambda x: form[0](x, **rest, **form[2], training=True))(x[None])
