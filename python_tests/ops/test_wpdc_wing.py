"""wpdc_wing and wpdc_weights against their formulas in plain torch, and against 3DDFA's own results."""

import math

import numpy as np
import pytest
import torch
from support.faces import MODEL, Arrays, P, faces, golden_model, relative_error, some, weighted
from support.op_tests import CPU_AND_CUDA, OpTests, draw
from support.tolerances import assert_close

from frnet import ops
from frnet.morphable import MorphableModel
from frnet.ops import reference


class TestWpdcWing(OpTests):
    samples = {
        **{
            f"{batch}x{vertices}x{coefficients}": faces(batch, vertices, coefficients)
            for batch, vertices, coefficients in [
                (1, 1, 1),
                (1, 68, 50),
                (3, 7, 4),
                (4, 16, 50),
                (9, 41, 50),
                (33, 1009, 50),
                (2, 435, 129),
                (5, 100, 400),
                (0, 68, 50),
                (2, 5, 0),
            ]
        },
        "by sum": faces(3, 41, 10, wpdc_normalization="sum"),
        "predicted shape": faces(3, 41, 10, wpdc_shape="pred"),
        "own tz": faces(5, 41, 10, target_tz=False),
        "other wing": faces(5, 41, 10, wing_width=3.0, wing_curvature=0.5),
        "some vertices": faces(5, 90, 50, vertices=some(31, 90)),
        "other vertices for wpdc": faces(5, 90, 50, vertices=some(68, 90), wpdc_vertices=some(200, 90)),
        "same vertices for wpdc": faces(5, 90, 50, vertices=some(68, 90), wpdc_vertices=some(68, 90)),
        "all but wpdc": faces(6, 90, 50, wpdc_vertices=some(9, 90)),
        "weighted": weighted(faces(5, 41, 10), 41),
        "some weighted": weighted(faces(5, 90, 50, vertices=some(31, 90)), 31),
    }
    small = ["3x7x4", "other vertices for wpdc"]
    dtypes = [torch.float32, torch.float64]
    gradient_is_an_op = False
    stops_gradients = True

    def test_gradcheck(self, small_sample):
        """Of Wing: the weights of WPDC change with pred, but are no part of its gradient."""
        tensors = small_sample.on("cpu", torch.float64)
        assert torch.autograd.gradcheck(lambda *args: small_sample.call(self.op, args)[1], tensors, fast_mode=False)

    @staticmethod
    def op(pred, target, mean, basis, param_mean, param_std, **options):
        return ops.wpdc_wing(pred, target, Arrays(mean, basis, param_mean, param_std), **options)

    @staticmethod
    def reference(pred, target, mean, basis, param_mean, param_std, **options):
        return reference.wpdc_wing(pred, target, Arrays(mean, basis, param_mean, param_std), **options)


@pytest.mark.parametrize("module", [ops, reference], ids=["op", "reference"])
def test_what_3ddfa_computes(shared, module):
    """Weights, loss and gradient of 3DDFA's own WPDCLoss on its landmarks; 3DDFA's loss is the mean over the batch."""
    golden = np.load(shared / "golden" / "wpdc_vdc_3ddfa.npz")
    model = golden_model(golden)
    pred, target = torch.tensor(golden["input"], requires_grad=True), torch.tensor(golden["target"])
    weights = module.wpdc_weights(pred, target, model, wpdc_vertices=model.landmarks)
    np.testing.assert_allclose(weights.numpy(), golden["wpdc_weights"], rtol=1e-4)
    wpdc, _ = module.wpdc_wing(pred, target, model, wpdc_vertices=model.landmarks)
    np.testing.assert_allclose(wpdc.mean().item(), golden["wpdc_loss"], rtol=1e-4)
    (gradient,) = torch.autograd.grad(wpdc.mean(), pred)
    np.testing.assert_allclose(gradient.numpy(), golden["wpdc_grad"], rtol=1e-4, atol=1e-10)
    assert relative_error(gradient, golden["wpdc_grad"]) < 1e-5


def test_weights_match_the_reference():
    for options in (
        {},
        {"wpdc_normalization": "sum"},
        {"wpdc_shape": "pred"},
        {"wpdc_vertices": some(20, 41)},
    ):
        pred, target, *arrays = faces(7, 41, 10).on("cpu", torch.float64)
        wanted = reference.wpdc_weights(pred, target, Arrays(*arrays), **options)
        got = ops.wpdc_weights(pred, target, Arrays(*arrays), **options)
        assert_close(got, wanted, "forward")
        assert not got.requires_grad
        assert (got[:, 11] == 0).all()


def wing_in_words(d: float, width: float, curvature: float) -> tuple[float, float]:
    """Feng et al., equation 5, and its derivative, one number at a time."""
    if abs(d) < width:
        return width * math.log1p(abs(d) / curvature), math.copysign(width / (curvature + abs(d)), d)
    return abs(d) - (width - width * math.log(1 + width / curvature)), math.copysign(1, d)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("width", "curvature"), [(10.0, 2.0), (3.0, 0.5), (1.0, 40.0), (5.0, 1e-6)])
def test_wing_on_both_sides_of_its_kink(dtype, width, curvature):
    """A face of one vertex that tx and ty alone move: the differences are what the test says."""
    model = Arrays(*(torch.zeros(3), torch.zeros(3, 0), torch.zeros(12), torch.ones(12)))
    model = Arrays(*(tensor.to(dtype) for tensor in model))
    at = [0.0, 1e-30, 1e-9, 1e-4, 0.3, 1, width * (1 - 1e-3), width * (1 - 1e-6), width * (1 + 1e-6), 1.5 * width, 1e4]
    distances = torch.tensor([[x, -y] for x in at for y in at], dtype=dtype)
    pred = torch.zeros(len(distances), 12, dtype=dtype)
    pred[:, [3, 7]] = distances
    pred.requires_grad_()
    _, wing = ops.wpdc_wing(pred, torch.zeros_like(pred), model, wing_width=width, wing_curvature=curvature)
    (slope,) = torch.autograd.grad(wing.sum(), pred)
    wanted = torch.tensor(
        [[wing_in_words(d, width, curvature) for d in row] for row in distances.tolist()], dtype=torch.float64
    )
    values, slopes = wanted.unbind(2)
    slopes = torch.where(distances == 0, 0, slopes)  # where the derivative jumps, torch's abs has 0
    rtol = 1e-14 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(wing.detach().double(), values.sum(1) / 3, rtol=rtol, atol=0)
    torch.testing.assert_close(slope[:, [3, 7]].double(), slopes / 3, rtol=rtol, atol=0)


def wing_of(differences: torch.Tensor) -> torch.Tensor:
    size, offset = differences.abs(), 10 - 10 * math.log1p(5)
    return torch.where(size < 10, 10 * torch.log1p(size / 2), size - offset).mean((1, 2))


PRECISIONS = {"tf32": (10, 5e-4, 0.011), "bfloat16": (7, 4e-3, 0.09)}  # bits kept, errors that the docstring states


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_the_matrix_units_lose(grid, precision):
    """Products of rounded numbers, in float64 otherwise, in the steps of the kernel; that these are the steps is seen
    where nothing is rounded: they give what the op gives."""
    bits, rms_px, most_px = PRECISIONS[precision]
    model = grid.to(torch.float64)
    target = draw(256, 62, seed=1)
    pred = target + draw(256, 62, seed=2)
    params, target_params = model.dewhiten(pred), model.dewhiten(target)

    def rounded(value):
        half = 1 << (22 - bits)
        words = value.float().view(torch.int32)
        return ((words + half) & ~(2 * half - 1)).view(torch.float32).double()

    def differences(keep):
        basis = keep(model.basis).T
        shape = (model.mean + keep(target_params[:, 12:]) @ basis).unflatten(1, (-1, 3))
        change = (keep((params - target_params)[:, 12:]) @ basis).unflatten(1, (-1, 3))
        matrix, target_matrix = (p[:, :12].unflatten(1, (3, 4)) for p in (params, target_params))
        turned = shape @ (matrix - target_matrix)[:, :, :3].mT + change @ matrix[:, :, :3].mT
        return turned + (matrix - target_matrix)[:, None, :, 3]

    exact = differences(lambda value: value)
    _, wing = ops.wpdc_wing(pred, target, model, target_tz=False)
    torch.testing.assert_close(wing, wing_of(exact), rtol=1e-11, atol=1e-11)
    error = differences(rounded) - exact
    assert float(error.square().mean().sqrt()) < rms_px
    assert float(error.abs().max()) < most_px


@pytest.mark.parametrize("device", CPU_AND_CUDA)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_is_a_permission(grid, precision, device):
    """The CPU does not use it. Where it is used, the mean of Wing moves by its steepest slope times the error at most,
    and WPDC does not."""
    target = draw(256, 62, seed=1)
    pred = target + draw(256, 62, seed=2)
    exact = ops.wpdc_wing(pred, target, grid.to(torch.float64))
    faces = pred.to(device, torch.float32), target.to(device, torch.float32), grid.to(device)
    full = ops.wpdc_wing(*faces, return_slopes=True)
    got = ops.wpdc_wing(*faces, precision=precision, return_slopes=True)
    assert torch.equal(got[0], full[0])
    assert torch.equal(got[2], full[2])
    if device == "cpu":
        assert torch.equal(got[1], full[1])
        assert torch.equal(got[3], full[3])
    steepest = 10 / 2
    moved = (got[1].cpu().double() - exact[1]).abs()
    assert float(moved.square().mean().sqrt()) < steepest * PRECISIONS[precision][1]


def test_slopes_are_the_gradients():
    pred, target, *arrays = faces(4, 41, 10).on("cpu", torch.float32)
    wpdc, wing, slope_wpdc, slope_wing = ops.wpdc_wing(pred, target, Arrays(*arrays), return_slopes=True)
    assert not slope_wpdc.requires_grad
    for loss, slope in ((wpdc, slope_wpdc), (wing, slope_wing)):
        (gradient,) = torch.autograd.grad(loss.sum(), pred, retain_graph=True)
        assert torch.equal(gradient, slope)


def test_equal_faces_have_no_loss_and_no_slope():
    pred, _, *arrays = faces(3, 41, 10).on("cpu", torch.float32)
    results = ops.wpdc_wing(pred, pred.detach(), Arrays(*arrays), return_slopes=True)
    for result in results:
        assert torch.equal(result, torch.zeros_like(result))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("parameter", [0, 3, 15])
def test_not_finite_predictions_stay_in_their_sample(bad, parameter):
    pred, target, *arrays = faces(6, 41, 10).on("cpu", torch.float32)
    clean = ops.wpdc_wing(pred, target, Arrays(*arrays), return_slopes=True)
    spoiled = pred.detach().clone()
    spoiled[4, parameter] = bad
    others = [0, 1, 2, 3, 5]
    for got, wanted in zip(ops.wpdc_wing(spoiled, target, Arrays(*arrays), return_slopes=True), clean, strict=True):
        assert torch.equal(got[others], wanted[others])
    wpdc, wing, *slopes = ops.wpdc_wing(spoiled, target, Arrays(*arrays), return_slopes=True)
    assert not wpdc[4].isfinite()
    assert not wing[4].isfinite()
    if math.isnan(bad):
        assert all(slope[4].isnan().all() for slope in slopes)
    with pytest.raises(ValueError, match=r"wpdc_wing: pred has NaN or Inf in 1 of 6 samples: 4$"):
        ops.wpdc_wing(spoiled, target, Arrays(*arrays), check_finite=True)
    with pytest.raises(ValueError, match=r"wpdc_wing: target has NaN or Inf in 1 of 6 samples: 4$"):
        ops.wpdc_wing(target, spoiled, Arrays(*arrays), check_finite=True)


def test_no_mesh_sized_buffer():
    """Of the allocator's own count: all that a training step takes is far below one mesh per sample."""
    vertices, batch = 20_000, 64
    pred, target, *arrays = faces(batch, vertices, 50).on("cpu", torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        wpdc, wing = ops.wpdc_wing(pred, target, Arrays(*arrays))
        (wpdc + wing).sum().backward()
    allocated = sum(event.self_cpu_memory_usage for event in profile.key_averages() if event.self_cpu_memory_usage > 0)
    assert allocated < 0.15 * batch * vertices * 3 * 4


def test_arrays_in_and_out():
    tensors = faces(3, 41, 10).on("cpu", torch.float32)
    pred, target, *arrays = (tensor.detach() for tensor in tensors)
    results = ops.wpdc_wing(pred.numpy(), target.numpy(), Arrays(*arrays))
    for result, wanted in zip(results, ops.wpdc_wing(pred, target, Arrays(*arrays)), strict=True):
        np.testing.assert_array_equal(result, wanted.numpy())
    weights = ops.wpdc_weights(pred.numpy(), target.numpy(), Arrays(*arrays))
    np.testing.assert_array_equal(weights, ops.wpdc_weights(pred, target, Arrays(*arrays)).numpy())


def test_under_autocast_it_computes_in_float32():
    pred, target, *arrays = faces(3, 41, 10).on("cpu", torch.float32)
    lower = pred.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, wing = ops.wpdc_wing(lower, target, Arrays(*arrays))
    assert wing.dtype == torch.float32
    _, wanted = ops.wpdc_wing(lower.detach().float().requires_grad_(), target, Arrays(*arrays))
    assert torch.equal(wing, wanted)
    wing.sum().backward()
    assert lower.grad.dtype == torch.bfloat16


def test_the_target_is_not_differentiable():
    pred, target, *arrays = faces(3, 41, 10).on("cpu", torch.float32)
    _, wing = ops.wpdc_wing(pred, target.requires_grad_(), Arrays(*arrays))
    with pytest.raises(NotImplementedError, match="wpdc_wing: differentiable in pred alone"):
        wing.sum().backward()


BIG = MorphableModel(
    torch.zeros(3), torch.zeros(3, 600), torch.zeros(3, 0), param_mean=torch.zeros(612), param_std=torch.ones(612)
)
SEE = torch.tensor


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pred": [1.0]}, TypeError, "pred must be a torch.Tensor"),
        ({"pred": P[0]}, ValueError, r"pred must have shape \[batch, parameters\], got \[16\]"),
        ({"pred": P[:, :14]}, ValueError, r"pred must have shape \[batch, 16\].*4 coefficients.*got \[2, 14\]"),
        ({"pred": P.half()}, TypeError, "pred must be float32 or float64, got float16"),
        ({"pred": P.double()}, TypeError, "morphable must have pred's dtype torch.float64, got torch.float32"),
        ({"pred": P.to("meta")}, ValueError, "morphable must be on pred's device meta, got cpu"),
        ({"pred": torch.zeros(1, 612), "morphable": BIG}, ValueError, "morphable must have at most 512"),
        ({"morphable": MODEL.with_whitening(None, None)}, ValueError, "morphable must have a whitening"),
        ({"target": P[:1]}, ValueError, r"target must have pred's shape \[2, 16\], got \[1, 16\]"),
        ({"target": P.double()}, TypeError, "target must be float32, got float64"),
        ({"target": 1}, TypeError, "target must be a torch.Tensor"),
        ({"wing_width": 0}, ValueError, "wing_width must be positive and finite, got 0"),
        ({"wing_width": float("nan")}, ValueError, "wing_width must be positive and finite, got nan"),
        ({"wing_curvature": -1.0}, ValueError, "wing_curvature must be positive and finite, got -1.0"),
        ({"wing_curvature": 1e-20}, ValueError, "wing_curvature must be at least wing_width / 1e"),
        ({"wing_curvature": "2"}, TypeError, "wing_curvature must be a number of pixels, got '2'"),
        ({"wpdc_normalization": "mean"}, ValueError, "wpdc_normalization must be 'max' or 'sum', got 'mean'"),
        ({"wpdc_shape": "both"}, ValueError, "wpdc_shape must be 'target' or 'pred', got 'both'"),
        ({"precision": "int8"}, ValueError, "precision must be one of 'float32', 'tf32', 'bfloat16', got 'int8'"),
        ({"vertices": SEE([0, 5])}, ValueError, "vertices must be indices from 0 to 4, got 5"),
        ({"vertices": SEE([0, -1])}, ValueError, "vertices must be indices from 0 to 4, got -1"),
        ({"vertices": SEE([0.0])}, TypeError, "vertices must be int64, got float32"),
        ({"vertices": SEE([[0]])}, ValueError, r"vertices must have shape \[count\], got \[1, 1\]"),
        ({"vertices": SEE([], dtype=torch.int64)}, ValueError, "vertices must name at least one vertex"),
        ({"vertices": [0]}, TypeError, "vertices must be a torch.Tensor"),
        ({"wpdc_vertices": SEE([9])}, ValueError, "wpdc_vertices must be indices from 0 to 4, got 9"),
        ({"wpdc_vertices": SEE([], dtype=torch.int64)}, ValueError, "wpdc_vertices must name at least one vertex"),
        ({"vertex_weights": torch.ones(4)}, ValueError, r"vertex_weights must have one value.*5 vertices.*\[4\]"),
        ({"vertex_weights": torch.ones(5).double()}, TypeError, "vertex_weights must be float32, got float64"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    arguments = {"pred": P, "target": P, "morphable": MODEL, **arguments}
    if arguments["pred"] is not P and isinstance(arguments["pred"], torch.Tensor) and "target" not in arguments:
        arguments["target"] = arguments["pred"]
    with pytest.raises(error, match=f"wpdc_wing: {message}"):
        ops.wpdc_wing(**arguments)
