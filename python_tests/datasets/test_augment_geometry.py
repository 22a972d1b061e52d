"""Roi jitter, rotation and flip: landmarks made from the label are the landmarks that went with the image."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from support.labels import landmarks_of

from frnet.datasets import (
    AugmentationConfig,
    Face,
    FaceRanges,
    Flip,
    LabelConvention,
    ProceduralFaces,
    RoiJitter,
    Rotation,
    ThreeHundredWLP,
    augment,
)
from frnet.datasets.augment.geometric import draw_affine

NONE = AugmentationConfig.none()
KINDS = {
    "jitter": replace(NONE, roi_jitter=RoiJitter(shift=0.3, scale=(0.6, 1.6))),
    "rotation": replace(NONE, rotation=Rotation(1.0, degrees=180)),
    "both": replace(NONE, roi_jitter=RoiJitter(shift=0.1), rotation=Rotation(1.0, degrees=45)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frame", ["3ddfa-v1", "3ddfa-v2"])
def test_label_and_landmarks_move_together(wlp, model, tmp_path, kind, frame):
    convention = LabelConvention(frame=frame, scale_depth=frame == "3ddfa-v2")
    data = ThreeHundredWLP(wlp, model, convention=convention, cache=tmp_path)
    moved = data.with_augmentation(KINDS[kind])
    for index in range(9):
        plain = data[index].landmarks
        for epoch in range(5):
            sample = moved[epoch, index]
            got = landmarks_of(model, sample.params, frame)
            np.testing.assert_allclose(got, sample.landmarks.numpy(), rtol=0, atol=2e-3)
            assert (sample.landmarks - plain).abs().max() > 0.5
            # A similarity: distances between landmarks keep their ratios.
            first, second = (torch.pdist(points) for points in (plain, sample.landmarks))
            ratio = second[first > 5] / first[first > 5]
            assert ratio.max() / ratio.min() < 1.001


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_move_with_the_label(wlp, model, tmp_path, kind):
    """A dot drawn into the source image at a landmark is found where the augmented label says."""
    data = ThreeHundredWLP(wlp, model, cache=tmp_path)
    y, x = np.mgrid[:450, :450]
    checked = 0
    for index in range(0, 9, 2):
        face = data.read(index)
        scale = (face.roi[2] - face.roi[0]) / 120
        for landmark in (30, 8, 36, 54):
            place = face.landmarks[landmark] * scale + face.roi[:2]
            blob = 255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * (1.5 * scale) ** 2))
            dotted = face._replace(image=np.repeat(blob[..., None], 3, -1).astype(np.uint8))
            rng = np.random.default_rng((index, landmark))
            crop, params, _ = augment(dotted, KINDS[kind], rng, data.convention)
            wanted = landmarks_of(model, params)[landmark]
            if (wanted < 8).any() or (wanted > 111).any() or (place < 8).any() or (place > 440).any():
                continue  # part of the dot is not on the picture
            weights = crop[..., 0].astype(float)
            got = np.array([weights.sum(0) @ np.arange(120), weights.sum(1) @ np.arange(120)]) / weights.sum()
            assert np.abs(got - wanted).max() < 0.5, (index, landmark)
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("kind", ["jitter", "both"])
def test_crops_alone_are_augmented_alike(model, tmp_path, wlp, kind, rng):
    """Where only 120-pixel crops exist, one warp of the crop; its label goes along as exactly."""
    face = ThreeHundredWLP(wlp, model, cache=tmp_path).read(0)
    image = cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (120, 120))
    crop_only = Face(image, np.array([0.0, 0, 120, 120]), face.params, face.landmarks)
    crop, params, landmarks = augment(crop_only, KINDS[kind], np.random.default_rng(3), LabelConvention())
    assert crop.shape == (120, 120, 3)
    np.testing.assert_allclose(landmarks_of(model, params), landmarks, rtol=0, atol=2e-3)


def test_flips_of_a_model_that_mirrors():
    config = replace(NONE, flip=Flip(1.0), rotation=Rotation(1.0, degrees=40), roi_jitter=RoiJitter(shift=0.1))
    flipped = ProceduralFaces(6, ranges=FaceRanges(yaw=20, roll=0), augmentation=config)
    for index in range(6):
        sample = flipped[1, index]
        got = landmarks_of(flipped.morphable, sample.params)
        np.testing.assert_allclose(got, sample.landmarks.numpy(), rtol=0, atol=2e-3)
        assert np.linalg.det(sample.params[:12].reshape(3, 4)[:, :3]) > 0
        assert (got[36:42, 0] < got[42:48, 0]).all()  # the eye on the viewer's left is still numbered first


def test_a_flip_is_the_mirrored_picture():
    faces = ProceduralFaces(4)
    flipped = faces.with_augmentation(replace(NONE, flip=Flip(1.0)))
    for index in range(4):
        mirrored = faces[index].image.flip(1).numpy().astype(int)
        got = flipped[index].image.numpy().astype(int)
        # The middle of a crop is label position 60, that of its pixels 59.5: one pixel between the two flips.
        np.testing.assert_array_equal(got[:, 1:], mirrored[:, :-1])
        np.testing.assert_allclose(
            flipped[index].landmarks[30], faces[index].landmarks[30] * torch.tensor([-1, 1]) + torch.tensor([120, 0])
        )


def test_ranges_are_kept_and_reached():
    roi = np.array([100.0, 50.0, 340.0, 290.0])
    config = replace(
        NONE,
        roi_jitter=RoiJitter(0.5, shift=0.2, scale=(0.8, 1.5)),
        rotation=Rotation(0.5, degrees=25),
        flip=Flip(0.25),
    )
    scales, angles, shifts, flips, plain = [], [], [], 0, 0
    for seed in range(2000):
        affine = draw_affine(config, roi, 120, np.random.default_rng(seed))
        if affine is None:
            plain += 1
            continue
        flip = np.linalg.det(affine[:, :2]) < 0
        flips += flip
        column = affine[:, 1]
        scales.append(240 / 120 * np.hypot(*column))
        angles.append(np.rad2deg(np.arctan2(-column[0], column[1])))
        centre = np.linalg.solve(affine[:, :2], 60 - affine[:, 2])
        shifts.append((centre - (220, 170)) / 240)
    scales, angles, shifts = 1 / np.array(scales), np.array(angles), np.array(shifts)
    assert 0.8 - 1e-9 <= scales.min() < 0.82
    assert 1.48 < scales.max() <= 1.5 + 1e-9
    assert 24 < np.abs(angles).max() <= 25 + 1e-9
    assert 0.19 < np.abs(shifts).max() <= 0.2 + 1e-9
    # Binomial counts of 2000 at 1/4 and at 1/2 * 1/2 * 3/4, to four standard deviations.
    assert abs(flips - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75)
    assert abs(plain - 375) < 4 * np.sqrt(2000 * 0.1875 * 0.8125)


def test_no_landmarks_stay_no_landmarks(wlp, model, tmp_path):
    face = ThreeHundredWLP(wlp, model, cache=tmp_path).read(0)._replace(landmarks=np.full((68, 2), np.nan))
    landmarks = augment(face, KINDS["both"], np.random.default_rng(0), LabelConvention())[2]
    assert np.isnan(landmarks).all()
