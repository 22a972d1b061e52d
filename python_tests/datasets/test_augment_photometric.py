"""Colour, blur, noise, compression and occlusion: each does what it says, and what it is not asked for it leaves."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from frnet.datasets import (
    AugmentationConfig,
    Blur,
    Colour,
    Downscale,
    Face,
    Flip,
    Jpeg,
    LabelConvention,
    MotionBlur,
    Noise,
    Occlusion,
    RoiJitter,
    Rotation,
    augment,
)
from frnet.datasets.augment import photometric

NONE = AugmentationConfig.none()
PLAIN_COLOUR = Colour(1.0, 0, (1, 1), (1, 1), (1, 1), (1, 1))
PHOTOMETRIC = ("occlusion", "colour", "blur", "motion_blur", "downscale", "noise", "jpeg")


@pytest.fixture
def crop(rng):
    return cv2.resize(rng.integers(0, 256, (15, 15, 3), np.uint8), (120, 120), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def face(crop):
    return Face(crop, np.array([0.0, 0, 120, 120]), np.arange(62.0), np.ones((68, 2)))


def impulse():
    image = np.zeros((61, 61, 3), np.uint8)
    image[30, 30] = 255
    return image


@pytest.mark.parametrize("name", [field.name for field in fields(AugmentationConfig) if field.name != "flip"])
def test_every_kind_can_be_switched(face, name):
    """On, it changes the picture; with probability 0, or None, nothing at all."""
    on = replace(getattr(AugmentationConfig(), name), probability=1.0)
    convention = LabelConvention()
    for config, changes in (
        (replace(NONE, **{name: on}), True),
        (replace(NONE, **{name: replace(on, probability=0.0)}), False),
        (NONE, False),
    ):
        got, params, landmarks = augment(face, config, np.random.default_rng(1), convention)
        assert (not np.array_equal(got, face.image)) == changes
        if name in PHOTOMETRIC or not changes:
            np.testing.assert_array_equal(params, face.params)
            np.testing.assert_array_equal(landmarks, face.landmarks)
        assert got.dtype == np.uint8
        assert got.shape == (120, 120, 3)


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_the_source_is_left_alone(crop, name):
    before = crop.copy()
    function = photometric.occlude if name == "occlusion" else getattr(photometric, name)
    arguments = (None,) if name == "occlusion" else ()
    function(crop, getattr(AugmentationConfig(), name), np.random.default_rng(0), *arguments)
    np.testing.assert_array_equal(crop, before)


def test_probabilities_are_kept(face):
    changed = 0
    config = replace(NONE, noise=Noise(0.3, sigma=(5, 5)))
    for seed in range(500):
        changed += not np.array_equal(
            augment(face, config, np.random.default_rng(seed), LabelConvention())[0], face.image
        )
    assert abs(changed - 150) < 4 * np.sqrt(500 * 0.3 * 0.7)


def test_neutral_colour_changes_nothing(crop, rng):
    np.testing.assert_array_equal(photometric.colour(crop, PLAIN_COLOUR, rng), crop)


@pytest.mark.parametrize(
    ("change", "formula"),
    [
        ({"contrast": (0.5, 0.5)}, lambda x: 0.5 * (x - 0.5) + 0.5),
        ({"gamma": (2, 2)}, lambda x: x**2),
        ({"gain": (0.8, 0.8)}, lambda x: 0.8 * x),
        ({"contrast": (3, 3)}, lambda x: np.clip(3 * (x - 0.5) + 0.5, 0, 1)),
        (
            {"saturation": (0, 0)},
            lambda x: np.repeat((x @ [0.114, 0.587, 0.299])[..., None], 3, -1),  # ITU-R BT.601 luma of BGR
        ),
        ({"saturation": (2, 2)}, lambda x: np.clip(2 * x - (x @ [0.114, 0.587, 0.299])[..., None], 0, 1)),
    ],
    ids=["contrast", "gamma", "gain", "clipped", "grey", "saturated"],
)
def test_colour_is_its_formula(crop, rng, change, formula):
    got = photometric.colour(crop, replace(PLAIN_COLOUR, **change), rng)
    np.testing.assert_allclose(got, 255 * formula(crop / 255), rtol=0, atol=1.6)


def test_brightness_goes_both_ways(crop):
    config = replace(PLAIN_COLOUR, brightness=0.2)
    grey = np.full_like(crop, 128)
    values = [int(photometric.colour(grey, config, np.random.default_rng(seed))[0, 0, 0]) for seed in range(200)]
    assert 128 - 52 <= min(values) < 85
    assert 170 < max(values) <= 128 + 52


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_blur_has_its_width(sigma, rng):
    weights = photometric.blur(255 * (impulse() > 0).astype(np.uint8), Blur(1.0, (sigma, sigma)), rng)[..., 0].astype(
        float
    )
    place = np.arange(61) - 30
    variance = (weights.sum(0) @ place**2) / weights.sum()
    assert np.sqrt(variance) == pytest.approx(sigma, rel=0.15)  # eight bits cut the tails off


@pytest.mark.parametrize("length", [3.0, 8.0])
def test_motion_blur_is_a_line(length):
    directions = []
    for seed in range(20):
        image = impulse().astype(np.float32) / 255  # eight bits would hide the ends of the line
        weights = photometric.motion_blur(image, MotionBlur(1.0, (length, length)), np.random.default_rng(seed))[..., 0]
        y, x = np.mgrid[:61, :61] - 30
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        spread = np.array([[(weights * x * x).sum(), (weights * x * y).sum()], [0, (weights * y * y).sum()]])
        spread[1, 0] = spread[0, 1]
        values, vectors = np.linalg.eigh(spread)
        # Along itself a line of length l has the variance l^2 / 12, its pixels (l^2 - 1) / 12, their widths up to 1/3.
        assert 0.95 * (length**2 - 1) / 12 < values[1] < length**2 / 12 + 1 / 3
        assert values[0] < 0.4
        directions.append(np.arctan2(*vectors[:, 1][::-1]) % np.pi)
    assert np.ptp(directions) > 2


def test_downscaling_loses_what_is_fine(rng):
    board = (np.indices((120, 120)).sum(0) % 2 * 255).astype(np.uint8)
    got = photometric.downscale(np.repeat(board[..., None], 3, -1), Downscale(1.0, (4, 4)), rng)
    assert np.abs(got.astype(int) - 127.5).max() <= 1
    coarse = np.repeat(np.repeat(rng.integers(0, 256, (6, 6, 3), np.uint8), 20, 0), 20, 1)
    kept = photometric.downscale(coarse, Downscale(1.0, (2, 2)), rng)
    assert np.abs(kept[10::20, 10::20].astype(int) - coarse[10::20, 10::20]).max() <= 1


def test_noise_has_its_strength(rng):
    grey = np.full((120, 120, 3), 128, np.uint8)
    noise = photometric.noise(grey, Noise(1.0, (6, 6)), rng).astype(float) - 128
    assert noise.std() == pytest.approx(np.sqrt(36 + 1 / 12), rel=0.02)  # rounding adds its own
    assert abs(noise.mean()) < 0.15
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.04


def test_jpeg_is_opencvs(crop, rng):
    got = photometric.jpeg(crop, Jpeg(1.0, (40, 40)), rng)
    wanted = cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(got, wanted)


def test_occlusion_is_one_shape(crop):
    config = Occlusion(1.0, (0.2, 0.4), other_face=0.0)
    areas, filled = [], set()
    for seed in range(100):
        got = photometric.occlude(crop, config, np.random.default_rng(seed), None)
        mask = (got != crop).any(-1).astype(np.uint8)
        if not mask.any():
            continue
        colours = np.unique(got[mask > 0], axis=0)
        assert len(colours) == 1
        filled.add(tuple(colours[0]))
        areas.append(mask.sum())
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        hull = cv2.convexHull(max(contours, key=cv2.contourArea))
        assert cv2.contourArea(hull) <= 1.2 * mask.sum() + 10  # convex, but for pixels of the same colour inside
    assert len(areas) > 95
    assert len(filled) > 90
    assert max(areas) <= 1.05 * 48 * 48
    assert 0.5 * 24 * 24 < np.median(areas) < 48 * 48


def test_occlusion_by_another_face(crop):
    other = 255 - crop
    config = Occlusion(1.0, (0.3, 0.5), other_face=1.0)
    for seed in range(10):
        got = photometric.occlude(crop, config, np.random.default_rng(seed), lambda rng: other)
        mask = (got != crop).any(-1)
        np.testing.assert_array_equal(got[mask], other[mask])
    assert mask.any()


def test_all_of_it_is_one_seed(face):
    config = AugmentationConfig()
    one, again, other = (augment(face, config, np.random.default_rng(s), LabelConvention()) for s in (5, 5, 6))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotation(degrees=200), "Rotation: degrees must be from 0 to 180, got 200"),
        (lambda: Rotation(probability=1.5), "Rotation: probability must be from 0 to 1, got 1.5"),
        (lambda: Flip(probability=float("nan")), "Flip: probability must be from 0 to 1, got nan"),
        (lambda: RoiJitter(scale=(1.2, 0.9)), r"RoiJitter: scale must be \(smallest, largest\) .* got \(1.2, 0.9\)"),
        (lambda: RoiJitter(scale=(0, 1)), "RoiJitter: scale must be"),
        (lambda: RoiJitter(shift=-0.1), "RoiJitter: shift must be from 0 to 1, got -0.1"),
        (lambda: Jpeg(quality=(50, 101)), "Jpeg: quality must be .* between 0 and 100"),
        (lambda: Noise(sigma=(1, 2, 3)), "Noise: sigma must be"),
        (lambda: Occlusion(side=(0.5, 2)), "Occlusion: side must be"),
        (lambda: Colour(gamma=(-1, 1)), "Colour: gamma must be"),
        (lambda: Downscale(factor=(0.5, 2)), "Downscale: factor must be"),
        (lambda: Blur(sigma=(0, 1)), "Blur: sigma must be"),
        (lambda: MotionBlur(length=(0, 1)), "MotionBlur: length must be"),
    ],
)
def test_settings_are_checked_when_they_are_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_settings_from_lists_are_settings(face):
    """As a configuration file gives them."""
    assert RoiJitter(scale=[0.9, 1.1]) == RoiJitter(scale=(0.9, 1.1))
    assert hash(AugmentationConfig(roi_jitter=RoiJitter(scale=[0.9, 1.1])))
    assert AugmentationConfig.none().is_none
    assert replace(NONE, jpeg=Jpeg(0.0)).is_none
    assert not AugmentationConfig().is_none
    assert AugmentationConfig().flip is None


def test_pydantic_reads_them_and_refuses_what_it_does_not_know():
    pydantic = pytest.importorskip("pydantic")
    read = pydantic.TypeAdapter(AugmentationConfig).validate_python
    assert read({"rotation": {"degrees": 45}, "jpeg": None}) == replace(
        AugmentationConfig(), rotation=Rotation(degrees=45.0), jpeg=None
    )
    for wrong in ({"rotations": None}, {"rotation": {"angle": 45}}, {"rotation": {"degrees": 400}}):
        with pytest.raises(ValueError, match="rotation"):
            read(wrong)
