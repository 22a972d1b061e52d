"""The loss modules against the formulas in plain torch, and in a training loop."""

import pytest
import torch
import torch.nn.functional as F
from support.faces import faces
from torch import nn

from frnet.morphable import MorphableModel
from frnet.nn import FRNetLoss, VDCLoss, WingLoss, WPDCLoss
from frnet.ops import reference


def make(batch=6, vertices=90, coefficients=10, landmarks=(0, 3, 17), dtype=torch.float32):
    pred, target, mean, basis, param_mean, param_std = faces(batch, vertices, coefficients).on("cpu", dtype)
    model = MorphableModel(
        mean, basis[:, :6], basis[:, 6:], param_mean=param_mean, param_std=param_std, landmarks=landmarks
    )
    return pred, target, model


REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "none": lambda losses: losses}


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_each_loss_is_its_op_reduced(reduction):
    pred, target, model = make()
    some = torch.tensor([4, 1, 80])
    cases = [
        (WPDCLoss(model, reduction=reduction), reference.wpdc_wing(pred, target, model)[0]),
        (
            WPDCLoss(model, normalization="sum", shape="pred", reduction=reduction),
            reference.wpdc_wing(pred, target, model, wpdc_normalization="sum", wpdc_shape="pred")[0],
        ),
        (WingLoss(model, reduction=reduction), reference.wpdc_wing(pred, target, model)[1]),
        (
            WingLoss(model, 3.0, 0.5, vertices=some, target_tz=False, reduction=reduction),
            reference.wpdc_wing(
                pred, target, model, wing_width=3.0, wing_curvature=0.5, vertices=some, target_tz=False
            )[1],
        ),
        (VDCLoss(model, reduction=reduction), reference.vdc(pred, target, model)),
        (
            VDCLoss(model, vertices=some, target_tz=False, reduction=reduction),
            reference.vdc(pred, target, model, some, False),
        ),
    ]
    for loss, wanted in cases:
        wanted = REDUCTIONS[reduction](wanted)
        got = loss(pred, target)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=0)
        gradients = [torch.autograd.grad(value.sum(), pred, retain_graph=True)[0] for value in (got, wanted)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4 * float(gradients[1].abs().max()))


def test_resampling_draws_anew_and_keeps_the_landmarks():
    pred, target, model = make()
    loss = WPDCLoss(model, resample=20)
    torch.manual_seed(3)
    first, second = loss(pred, target), loss(pred, target)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(loss(pred, target), first)
    torch.manual_seed(3)
    points = torch.cat([model.landmarks, torch.randperm(90)[:20]])
    wanted, _ = reference.wpdc_wing(pred, target, model, wpdc_vertices=points)
    torch.testing.assert_close(first, wanted.mean())


def test_the_balance_makes_both_gradients_equally_long():
    pred, target, model = make()
    parts = FRNetLoss(model, 1.0, 1.0, balance="gradient")(pred, target)
    wpdc, wing = (loss.mean() for loss in reference.wpdc_wing(pred, target, model))
    (of_wpdc,) = torch.autograd.grad(wpdc, pred)
    (of_wing,) = torch.autograd.grad(wing, pred)
    torch.testing.assert_close(parts.wpdc_factor, of_wing.norm() / of_wpdc.norm(), rtol=1e-4, atol=0)
    (gradient,) = torch.autograd.grad(parts.loss, pred)
    torch.testing.assert_close(gradient, parts.wpdc_factor * of_wpdc + of_wing, rtol=1e-4, atol=1e-5)
    assert not parts.wpdc.requires_grad
    assert not parts.wing.requires_grad
    assert not parts.wpdc_factor.requires_grad
    torch.testing.assert_close(parts.wpdc, wpdc.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(parts.wing, wing.detach(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("balance", "factor"), [("none", 1.0), (250.0, 250.0)])
def test_a_fixed_balance_is_a_factor(balance, factor):
    pred, target, model = make()
    parts = FRNetLoss(model, 0.5, 2.0, balance=balance)(pred, target)
    assert float(parts.wpdc_factor) == factor
    torch.testing.assert_close(parts.loss, 0.5 * factor * parts.wpdc + 2 * parts.wing)


def test_a_perfect_prediction_has_no_loss():
    pred, _, model = make()
    parts = FRNetLoss(model)(pred, pred.detach())
    parts.loss.backward()
    assert parts.loss.item() == 0
    assert torch.equal(pred.grad, torch.zeros_like(pred))


def test_losses_move_and_save_like_modules():
    pred, target, model = make()
    loss = FRNetLoss(model, vertices=torch.tensor([1, 2]), resample=4)
    assert loss.state_dict() == {}
    torch.manual_seed(0)
    single = loss(pred, target).loss
    torch.manual_seed(0)
    double = loss.double()(pred.double(), target.double()).loss
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)


class SmallNetwork(nn.Sequential):
    def __init__(self, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(128, outputs),
        )  # fmt: skip


# (Wing's slope jumps where a difference changes its sign: in float32 long steps soon part any two ways of rounding.)
@pytest.mark.parametrize(
    ("dtype", "lr", "falls_to", "rtol"), [(torch.float64, 0.03, 0.7, 1e-9), (torch.float32, 0.01, 0.9, 1e-5)]
)
def test_ten_steps_of_training_end_at_the_same_loss(dtype, lr, falls_to, rtol):
    """A small network overfits a batch: with the fused op, and with the same losses in plain torch."""
    _, target, model = make(batch=8, vertices=300, dtype=dtype)
    images = torch.randn(8, 3, 24, 24, generator=torch.Generator().manual_seed(5)).to(dtype)
    fused = FRNetLoss(model, balance=20.0)

    def plain(pred, target):
        wpdc, wing = reference.wpdc_wing(pred, target, model)
        return 0.5 * 20 * wpdc.mean() + wing.mean()

    ends = []
    for loss in (lambda pred, target: fused(pred, target).loss, plain):
        torch.manual_seed(1)
        network = SmallNetwork(target.shape[1]).to(dtype)
        optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
        values = []
        for _ in range(11):
            optimizer.zero_grad()
            value = loss(network(images), target)
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[-1] < falls_to * values[0]
        ends.append(values[-1])
    torch.testing.assert_close(ends[0], ends[1], rtol=rtol, atol=0)


def test_compiled_without_graph_breaks():
    pred, target, model = make()
    loss = FRNetLoss(model)
    compiled = torch.compile(lambda p, t: loss(p, t).loss, fullgraph=True, backend="aot_eager")
    expected, got = loss(pred, target).loss, compiled(pred, target)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, pred)[0], torch.autograd.grad(expected, pred)[0])


def test_wing_on_landmarks_is_that_of_the_landmark_model():
    pred, target, model = make()
    whole = WingLoss(model, vertices=model.landmarks)(pred, target)
    alone = WingLoss(model.landmark_model())(pred, target)
    assert torch.equal(whole, alone)
    assert F.l1_loss(whole, WingLoss(model)(pred, target)) > 0


MODEL = make()[2]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: WPDCLoss(MODEL.with_whitening(None, None)), "WPDCLoss: morphable must have a whitening"),
        (lambda: WPDCLoss(MODEL, reduction="max"), "WPDCLoss: reduction must be one of mean, sum, none, got 'max'"),
        (lambda: WPDCLoss(MODEL, normalization="l2"), "WPDCLoss: normalization must be one of max, sum"),
        (lambda: WPDCLoss(MODEL, shape="mean"), "WPDCLoss: shape must be one of target, pred"),
        (lambda: WPDCLoss(MODEL, resample=91), "WPDCLoss: resample must be None or from 0 to the 90 vertices, got 91"),
        (lambda: WPDCLoss(make(landmarks=None)[2], resample=5), "WPDCLoss: resample adds vertices to the landmarks"),
        (lambda: WingLoss(MODEL, vertices=torch.tensor([90])), "WingLoss: vertices must be indices from 0 to 89"),
        (lambda: WingLoss(MODEL, vertices=torch.tensor([0.5])), r"WingLoss: vertices must be int64 \[count\]"),
        (lambda: VDCLoss(MODEL, vertices=torch.tensor([-1])), "VDCLoss: vertices must be indices from 0 to 89"),
        (lambda: FRNetLoss(MODEL, -1.0), "FRNetLoss: lambda_wpdc must be at least 0, got -1.0"),
        (lambda: FRNetLoss(MODEL, balance="both"), "FRNetLoss: balance must be 'gradient', 'none' or a positive"),
        (lambda: FRNetLoss(MODEL, balance=0.0), "FRNetLoss: balance must be 'gradient', 'none' or a positive"),
    ],
)
def test_bad_constructor_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
