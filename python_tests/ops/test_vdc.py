"""vdc against its formula in plain torch, and against 3DDFA's own results."""

import numpy as np
import pytest
import torch
from support.faces import MODEL, Arrays, P, faces, golden_model, relative_error, some, weighted
from support.op_tests import OpTests

from frnet import ops
from frnet.ops import reference


class TestVdc(OpTests):
    samples = {
        **{
            f"{batch}x{vertices}x{coefficients}": faces(batch, vertices, coefficients)
            for batch, vertices, coefficients in [
                (1, 1, 1),
                (3, 7, 4),
                (9, 41, 50),
                (33, 1009, 50),
                (2, 435, 129),
                (5, 100, 400),
                (0, 68, 50),
                (2, 5, 0),
            ]
        },
        "own tz": faces(5, 41, 10, target_tz=False),
        "some vertices": faces(5, 90, 50, vertices=some(31, 90)),
        "weighted": weighted(faces(5, 41, 10), 41),
    }
    small = ["3x7x4", "some vertices"]
    dtypes = [torch.float32, torch.float64]
    gradient_is_an_op = False

    @staticmethod
    def op(pred, target, mean, basis, param_mean, param_std, **options):
        return ops.vdc(pred, target, Arrays(mean, basis, param_mean, param_std), **options)

    @staticmethod
    def reference(pred, target, mean, basis, param_mean, param_std, **options):
        return reference.vdc(pred, target, Arrays(mean, basis, param_mean, param_std), **options)


@pytest.mark.parametrize("module", [ops, reference], ids=["op", "reference"])
def test_what_3ddfa_computes(shared, module):
    golden = np.load(shared / "golden" / "wpdc_vdc_3ddfa.npz")
    pred, target = torch.tensor(golden["input"], requires_grad=True), torch.tensor(golden["target"])
    loss = module.vdc(pred, target, golden_model(golden)).mean()
    np.testing.assert_allclose(loss.item(), golden["vdc_loss"], rtol=1e-4)
    (gradient,) = torch.autograd.grad(loss, pred)
    assert relative_error(gradient, golden["vdc_grad"]) < 1e-5
    largest = np.abs(golden["vdc_grad"]).max(1, keepdims=True)
    np.testing.assert_allclose(gradient.numpy() / largest, golden["vdc_grad"] / largest, rtol=1e-4, atol=1e-6)


def test_not_finite_predictions_are_found():
    pred = P.clone()
    pred[1, 2] = float("nan")
    assert ops.vdc(pred, P, MODEL).isnan().tolist() == [False, True]
    with pytest.raises(ValueError, match=r"vdc: pred has NaN or Inf in 1 of 2 samples: 1$"):
        ops.vdc(pred, P, MODEL, check_finite=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pred": [1.0]}, TypeError, "pred must be a torch.Tensor"),
        ({"target": P[:1]}, ValueError, r"target must have pred's shape \[2, 16\], got \[1, 16\]"),
        ({"vertices": torch.tensor([5])}, ValueError, "vertices must be indices from 0 to 4, got 5"),
        ({"precision": "half"}, ValueError, "precision must be one of"),
        ({"vertex_weights": torch.ones(4)}, ValueError, "vertex_weights must have one value"),
        ({"morphable": MODEL.with_whitening(None, None)}, ValueError, "morphable must have a whitening"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=f"vdc: {message}"):
        ops.vdc(**{"pred": P, "target": P, "morphable": MODEL, **arguments})
