"""NumPy and CuPy arrays in the place of tensors."""

import warnings

import numpy as np
import pytest
import torch
from support.depthwise_samples import draw_image, make, with_epilogue
from support.op_tests import CallsOfOps, Sample

from frnet import ops
from frnet.morphable import MorphableModel

C, S, G = 8, 3, 2
SE = {"w1": (S, C), "b1": (S,), "w2": (C, S), "b2": (C,)}
SGE = {"sge_weight": (G,), "sge_bias": (G,)}
BN = {"bn_weight": (C,), "bn_bias": (C,)}
RUNNING = {"running_mean": (C,), "running_var": (C,)}
IMAGE = Sample({"x": draw_image(2, C, 6, 6)})
CONV = make(2, C, 6, 3, 1, 1)
EPILOGUE = with_epilogue(CONV, "silu")

CALLS = {
    "batch_norm_act": IMAGE.adding(BN | RUNNING, training=True, activation="relu"),
    "batch_norm_act_sge": IMAGE.adding(BN | RUNNING | SGE, training=True, groups=G),
    "depthwise_conv2d": EPILOGUE,
    "depthwise_conv2d pooled": EPILOGUE.adding(pooled=True),
    "depthwise_conv2d_statistics": CONV,
    "depthwise_conv2d_bn_act": CONV.adding(BN | RUNNING, training=True, activation="relu"),
    "depthwise_conv2d_se": EPILOGUE.adding(SE, gate="hardsigmoid"),
    "depthwise_conv2d_sge": EPILOGUE.adding(SGE, groups=G),
    "hierarchical_depthwise_conv2d": EPILOGUE.adding(SGE, groups=G),
    "hierarchical_depthwise_conv2d_bn_act": CONV.adding(BN | RUNNING, training=True),
    "se_gate": IMAGE.adding(SE, gate="sigmoid"),
    "sge_gate": IMAGE.adding({"weight": (G,), "bias": (G,)}, groups=G),
}


def prepared(name: str, dtype: torch.dtype) -> tuple:
    sample = CALLS[name]
    return getattr(ops, name.split()[0]), sample, [t.detach() for t in sample.on("cpu", dtype)]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_numpy_arrays_go_in_and_come_out_without_a_copy(name, dtype):
    op, sample, tensors = prepared(name, dtype)
    arrays = [tensor.clone().numpy() for tensor in tensors]
    with CallsOfOps() as calls:
        results = sample.call(op, arrays)
    expected = sample.call(op, tensors)
    for got, want in zip(results, expected, strict=True):
        assert type(got) is np.ndarray
        assert got.flags.writeable
        np.testing.assert_array_equal(got, want.numpy())
    for array, tensor in zip(arrays, tensors, strict=True):  # running statistics are updated in place
        np.testing.assert_array_equal(array, tensor.numpy())
    (arguments,), (outputs,) = calls.arguments.values(), calls.results.values()
    assert {a.data_ptr() for a in arguments if isinstance(a, torch.Tensor)} <= {a.ctypes.data for a in arrays}
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert {result.ctypes.data for result in results} <= {output.data_ptr() for output in outputs}


def test_the_memory_format_of_numpy_arrays_is_kept():
    x = draw_image(2, 8, 6, 7, "channels_last").float().numpy()
    y = ops.depthwise_conv2d(x, np.ones((8, 1, 3, 3), np.float32), padding=1)
    assert y.strides == x.strides


def test_vertices_of_a_numpy_array():
    model = MorphableModel(torch.arange(6.0), torch.ones(6, 1), torch.zeros(6, 1))
    params = np.linspace(0, 1, 14, dtype=np.float32)[None]
    vertices = ops.reconstruct_vertices(params, model)
    np.testing.assert_array_equal(vertices, ops.reconstruct_vertices(torch.from_numpy(params), model).numpy())


def test_a_read_only_array_is_read_in_place_and_silently():
    x = np.ones((1, 2, 4, 4), np.float32)
    weight = np.broadcast_to(np.ones((), np.float32), (2, 1, 3, 3))
    x.flags.writeable = False
    with warnings.catch_warnings(), CallsOfOps() as calls:
        warnings.simplefilter("error")
        y = ops.depthwise_conv2d(x, weight)
    assert (y == 9).all()
    (arguments,) = calls.arguments.values()
    assert arguments[0].data_ptr() == x.ctypes.data


def test_backward_strides_and_records_are_copied():
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    record = np.zeros((1, 2, 4, 4), [("byte", "u1"), ("value", "<f4")])
    record["value"] = x
    weight = np.ones((2, 1, 1, 1), np.float32)
    np.testing.assert_array_equal(ops.depthwise_conv2d(x[..., ::-1], weight), x[..., ::-1])
    np.testing.assert_array_equal(ops.depthwise_conv2d(record["value"], weight), x)


X = np.zeros((2, 4, 6, 6), np.float32)
W = np.zeros((4, 1, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(weight=torch.from_numpy(W)), TypeError, "weight must be a numpy.ndarray, as x is, got torch.Tensor"),
        (dict(scale=[1.0] * 4), TypeError, "scale must be a numpy.ndarray, as x is, got builtins.list"),
        (dict(x=X.astype(np.int32)), TypeError, "x must be float32, float64 or float16, got int32"),
        (dict(bias=np.zeros(4, ">f4")), TypeError, "bias must be float32, float64 or float16, got >f4"),
        (dict(weight=W.astype(np.float64)), TypeError, "weight must be float32, got float64"),
        (dict(bias=np.zeros(3, np.float32)), ValueError, r"bias must have shape \[4\].*got \[3\]"),
        (dict(stride=0), ValueError, "stride must be at least 1"),
    ],
)
def test_bad_arrays_are_named(arguments, error, message):
    with pytest.raises(error, match=f"depthwise_conv2d: {message}"):
        ops.depthwise_conv2d(**({"x": X, "weight": W} | arguments))


def test_what_is_updated_must_be_writable():
    mean, variance = np.zeros(4, np.float32), np.ones(8, np.float32)[::-2]
    call = dict(x=X, weight=W, running_mean=mean, running_var=variance)
    with pytest.raises(
        ValueError, match="depthwise_conv2d_bn_act: running_var is written to and must have positive str"
    ):
        ops.depthwise_conv2d_bn_act(**call, training=True)
    mean.flags.writeable = False
    call["running_var"] = variance.copy()
    with pytest.raises(ValueError, match="depthwise_conv2d_bn_act: running_mean is written to, got a read-only array"):
        ops.depthwise_conv2d_bn_act(**call, training=True)
    assert ops.depthwise_conv2d_bn_act(**call).shape == (2, 4, 4, 4)


@pytest.mark.cuda
@pytest.mark.parametrize("name", CALLS)
def test_cupy_arrays_go_in_and_come_out_without_a_copy(name):
    cupy = pytest.importorskip("cupy")
    op, sample, tensors = prepared(name, torch.float32)
    arrays = [cupy.asarray(tensor.numpy()) for tensor in tensors]
    with CallsOfOps() as calls:
        results = sample.call(op, arrays)
    expected = sample.call(op, [tensor.cuda() for tensor in tensors])
    for got, want in zip(results, expected, strict=True):
        assert isinstance(got, cupy.ndarray)
        np.testing.assert_array_equal(cupy.asnumpy(got), want.cpu().numpy())
    (arguments,), (outputs,) = calls.arguments.values(), calls.results.values()
    assert {a.data_ptr() for a in arguments if isinstance(a, torch.Tensor)} <= {a.data.ptr for a in arrays}
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert {result.data.ptr for result in results} <= {output.data_ptr() for output in outputs}


@pytest.mark.cuda
@pytest.mark.parametrize("stream", ["default", "own", "per-thread"])
def test_cupy_arrays_are_worked_on_in_the_callers_stream(stream):
    """The input is written by a long queue of work in the stream, and nobody waits for it but the stream."""
    cupy = pytest.importorskip("cupy")
    make_stream = {
        "default": lambda: cupy.cuda.Stream.null,
        "own": lambda: cupy.cuda.Stream(non_blocking=True),
        "per-thread": lambda: cupy.cuda.Stream.ptds,
    }[stream]
    weight = cupy.ones((8, 1, 1, 1), cupy.float32)
    before = torch.cuda.current_stream()
    with make_stream() as current:
        x = cupy.zeros((8, 8, 256, 256), cupy.float32)
        for _ in range(200):
            x += 1
        y = ops.depthwise_conv2d(x, weight)
        x.fill(0)  # behind the op in the same stream
        total = float(y.sum())
        current.synchronize()
    assert total == 200 * x.size
    assert torch.cuda.current_stream() == before


@pytest.mark.cuda
def test_cupy_and_numpy_arrays_do_not_mix():
    cupy = pytest.importorskip("cupy")
    with pytest.raises(TypeError, match=r"weight must be a cupy.ndarray, as x is, got numpy.ndarray"):
        ops.depthwise_conv2d(cupy.asarray(X), W)
    with pytest.raises(TypeError, match=r"weight must be a numpy.ndarray, as x is, got cupy.ndarray"):
        ops.depthwise_conv2d(X, cupy.asarray(W))
