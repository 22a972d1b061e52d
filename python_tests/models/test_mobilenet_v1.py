"""MobileNetV1: the paper's size, the state dict of 3DDFA's files, and the checks of its input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frnet import geometry
from frnet.models import MobileNetV1, MobileNetV1Config, create_model, list_models


@pytest.fixture(scope="module")
def small() -> MobileNetV1:
    return create_model("mobilenet_v1", width=0.125).eval()


def test_parameter_count_is_the_papers():
    """4.2 M with 1000 classes at width 1 (arXiv 1704.04861, table 8)."""
    count = sum(p.numel() for p in create_model("mobilenet_v1", num_params=1000).parameters())
    assert count == 4_231_976


def test_width_scales_every_channel():
    model = create_model("mobilenet_v1_050")
    assert model.conv1.out_channels == 16
    assert model.fc.in_features == 512


def test_state_dict_has_the_published_names(shared):
    stored = torch.load(shared / "3ddfa/weights/mb05_120x120.pth", map_location="cpu", weights_only=True)
    theirs = {name.removeprefix("module.").replace("fc_param", "fc") for name in stored["state_dict"]}
    ours = set(create_model("mobilenet_v1_050").state_dict())
    assert ours == {name for name in theirs if not name.startswith("fc_lm")}


def test_channels_last_and_batch_size_do_not_change_the_result(small):
    x = torch.randn(5, 3, 120, 120, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        y = small(x)
        torch.testing.assert_close(small(x.to(memory_format=torch.channels_last)), y, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(small(x[3:4]), y[3:4], rtol=1e-4, atol=1e-5)
        assert small(x[:0]).shape == (0, 62)


def test_backward_reaches_every_parameter(small):
    model = create_model("mobilenet_v1", width=0.125)
    model(torch.randn(2, 3, 120, 120)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_under_autocast_other_dtypes_are_fine(small):
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.isfinite(small(torch.zeros(1, 3, 120, 120))).all()


def test_takes_what_normalize_gives(small):
    crops = np.full((2, 120, 120, 3), 255, np.uint8)
    assert small(torch.from_numpy(geometry.normalize(crops))).shape == (2, 62)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(1, 3, 120, 120, dtype=torch.uint8), TypeError, "torch.uint8; frnet.geometry.normalize"),
        (torch.zeros(1, 3, 128, 128), ValueError, r"\[batch, 3, 120, 120\], got \[1, 3, 128, 128\]"),
        (torch.zeros(1, 120, 120, 3), ValueError, r"got \[1, 120, 120, 3\]"),
        (torch.zeros(3, 120, 120), ValueError, r"got \[3, 120, 120\]"),
        (
            torch.zeros(1, 3, 120, 120, dtype=torch.float64),
            TypeError,
            "x is torch.float64, the weights are torch.float32",
        ),
        (torch.zeros(1, 3, 120, 120, device="meta"), ValueError, "x is on meta, the weights are on cpu"),
        (np.zeros((1, 3, 120, 120), np.float32), TypeError, "must be a torch.Tensor, got ndarray"),
    ],
)
def test_inputs_that_would_be_misread(small, x, error, message):
    with pytest.raises(error, match=message):
        small(x)


def test_registry_lists_and_suggests():
    assert {"mobilenet_v1", "mobilenet_v1_050"} <= set(list_models())
    with pytest.raises(ValueError, match="no model 'mobilenet_v1_05'; did you mean 'mobilenet_v1_050'"):
        create_model("mobilenet_v1_05")
    with pytest.raises(ValueError, match=r"known: .*mobilenet_v1"):
        create_model("zzz")


def test_registry_refuses_settings_that_do_not_apply():
    with pytest.raises(TypeError, match="has no setting 'widht'; it has input_size, num_params, width"):
        create_model("mobilenet_v1", widht=0.5)
    with pytest.raises(TypeError, match=r"mobilenet_v1_050 means width=0.5, got width=1.0"):
        create_model("mobilenet_v1_050", width=1.0)


@pytest.mark.parametrize(
    "settings", [{"num_params": 0}, {"width": 0.0}, {"width": 0.01}, {"width": 9}, {"input_size": 0}]
)
def test_config_out_of_range(settings):
    with pytest.raises(ValueError, match="mobilenet_v1: "):
        MobileNetV1Config(**settings)
