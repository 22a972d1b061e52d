"""Drawing: what is nearer hides what is farther, axes point where the head does, inputs stay as they were."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from frnet import geometry
from frnet.align import Face, Pose, draw_axes, draw_faces, draw_landmarks, draw_mesh
from frnet.render.draw import AXIS_COLORS, FACE_PARTS, RENDER_SIZE, shade_mesh

SQUARE = np.array([[0, 1, 2], [0, 2, 3]])


def square(x0, y0, x1, y1, z=0.0):
    return np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]], np.float32)


def landmarks(centre=(100.0, 100.0), size=80.0):
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle), np.zeros(68)], 1) * size / 2
    points[30] = 0  # tip of the nose
    return (points + np.array([*centre, 0.0])).astype(np.float32)


def pose_params(yaw, pitch, roll):
    matrix = np.concatenate([5e-4 * geometry.rotation_from_euler(yaw, pitch, roll), np.zeros((3, 1))], 1)
    return np.concatenate([matrix.ravel(), np.zeros(50)]).astype(np.float32)


def test_parts_cover_the_68_points_once():
    covered = [index for first, end, _ in FACE_PARTS.values() for index in range(first, end)]
    assert covered == list(range(68))


def test_coverage_is_that_of_the_polygon(rng):
    points = np.concatenate([rng.uniform(5, 95, (30, 2)), rng.normal(size=(30, 1))], 1).astype(np.float32)
    triangles = rng.permutation(30).reshape(10, 3)
    _, cover, (left, top) = shade_mesh(points, triangles, 100, 100)
    drawn = np.zeros((100, 100), np.float32)
    drawn[top : top + cover.shape[0], left : left + cover.shape[1]] = cover
    contours = [corners[:, None] for corners in points[triangles, :2]]
    expected = [
        [max(cv2.pointPolygonTest(contour, (float(x), float(y)), True) for contour in contours) for x in range(100)]
        for y in range(100)
    ]
    clear = np.abs(expected) > 1  # pixels; nearer to an edge a pixel is covered in part
    np.testing.assert_array_equal(drawn[clear], np.array(expected)[clear] > 0)
    assert 0.2 < drawn[np.abs(expected) < 0.3].mean() < 0.8


def test_the_nearest_triangle_is_seen(rng):
    near, far = square(10, 10, 40, 40, z=5.0), square(0, 0, 50, 50, z=-5.0)
    far[:2, 2] = -60  # tilted, so it is lit otherwise
    for first, second in ((near, far), (far, near)):
        light, cover, _ = shade_mesh(np.concatenate([first, second]), np.concatenate([SQUARE, SQUARE + 4]), 60, 60)
        assert cover[25, 25] == cover[5, 5] == 1
        assert light[25, 25] == pytest.approx(0.25 + 0.75 / np.hypot(1, 0.4), abs=1e-5)
        assert light[5, 5] != light[25, 25]


def test_either_winding_is_lit_alike():
    vertices = square(5, 5, 30, 30)
    vertices[0, 2] = 9
    light = shade_mesh(vertices, SQUARE, 40, 40)[0]
    np.testing.assert_allclose(shade_mesh(vertices, SQUARE[:, ::-1], 40, 40)[0], light, atol=1e-6)


def test_meshes_partly_or_wholly_outside():
    image = np.zeros((50, 60, 3), np.uint8)
    assert draw_mesh(image, square(-100, -100, 500, 500), SQUARE, opacity=1).all()
    for vertices in (square(70, 0, 90, 20), square(-30, -30, -1, -1), square(0, 0, 9, 9) * np.nan):
        assert not draw_mesh(image, vertices, SQUARE).any()
    assert not draw_mesh(image, square(0, 0, 9, 9), np.empty((0, 3), int)).any()


def test_a_large_face_is_rendered_small_and_scaled_up():
    side = 3 * RENDER_SIZE
    light, cover, corner = shade_mesh(square(0, 0, side - 1, side - 1), SQUARE, side, side)
    assert corner == (0, 0)
    assert light.shape == (side, side)
    assert cover.min() > 0.99
    np.testing.assert_allclose(light, 0.25 + 0.75 / np.hypot(1, 0.4), atol=1e-4)


def arrow_tip(params, color) -> np.ndarray:
    """From the nose to the farthest pixel of one axis."""
    image = draw_axes(np.zeros((200, 200, 3), np.uint8), params, landmarks())
    ys, xs = np.nonzero((np.abs(image.astype(int) - color) < 30).all(axis=2))
    offsets = np.stack([xs, ys], 1) - 100.0
    return offsets[np.argmax(np.linalg.norm(offsets, axis=1))]


def test_axes_of_a_frontal_head():
    params = pose_params(0, 0, 0)
    assert arrow_tip(params, AXIS_COLORS[0])[0] > 35  # to our right: the person's left
    assert arrow_tip(params, AXIS_COLORS[1])[1] < -35  # up


@pytest.mark.parametrize(
    ("angles", "direction"),
    [((-60, 0, 0), (1, 0)), ((60, 0, 0), (-1, 0)), ((0, 60, 0), (0, -1)), ((0, -60, 0), (0, 1))],
)
def test_the_nose_axis_points_where_the_head_looks(angles, direction):
    """Positive yaw looks to the left of the picture, positive pitch up (FACTS A5)."""
    tip = arrow_tip(pose_params(*angles), AXIS_COLORS[2])
    assert np.dot(tip, direction) > 25
    assert abs(np.dot(tip, direction[::-1])) < 10


def test_axes_of_parameters_that_mean_nothing():
    image = np.zeros((200, 200, 3), np.uint8)
    assert not draw_axes(image, np.zeros(62), landmarks()).any()
    assert not draw_axes(image, np.full(62, np.nan), landmarks()).any()


def test_landmarks_are_where_they_should_be():
    points = landmarks()
    image = draw_landmarks(np.zeros((200, 200, 3), np.uint8), points)
    for x, y in np.round(points[:, :2]).astype(int):
        assert image[y - 1 : y + 2, x - 1 : x + 2, 2].max() > 200
    with pytest.raises(ValueError, match=r"must be \[68, 2 or 3\], got \[67, 3\]"):
        draw_landmarks(image, points[:67])


@pytest.mark.parametrize("centre", [(1e9, 0), (-5e3, 4e4), (-3e8, -3e8)])
def test_points_far_outside_leave_no_mark(centre):
    assert not draw_landmarks(np.zeros((50, 50, 3), np.uint8), landmarks(centre), thickness=1).any()


@pytest.mark.parametrize("away", [4e4, 1e9])
def test_a_point_far_outside_leaves_the_others_where_they_are(away):
    """Of the lines that lead to it, what lies in the picture."""
    points = landmarks(size=60)
    points[0] = [-away, 100, 0]
    drawn = draw_landmarks(np.zeros((200, 200, 3), np.uint8), points, thickness=1)
    points[0] = points[1]
    without = draw_landmarks(np.zeros((200, 200, 3), np.uint8), points, thickness=1)
    np.testing.assert_array_equal(drawn[:, 140:], without[:, 140:])
    assert drawn[96:108, :60].any(axis=(0, 2)).all()  # the line to it, up to the border
    assert not without[:, :60].any()


def test_a_point_that_is_no_number_counts_as_zero():
    points = landmarks()
    points[3, 0] = np.nan
    drawn = draw_landmarks(np.zeros((200, 200, 3), np.uint8), points, thickness=1)
    np.testing.assert_array_equal(
        drawn, draw_landmarks(np.zeros((200, 200, 3), np.uint8), np.nan_to_num(points), thickness=1)
    )
    assert drawn[:, :3].any()


def test_drawing_leaves_the_image_alone():
    image = np.full((200, 200, 3), 90, np.uint8)
    points = landmarks()
    face = Face(points, points, pose_params(0, 0, 0), Pose(0, 0, 0), np.array([0, 0, 9, 9], np.float32))
    drawn = draw_faces(image, [face, face], np.array([[0, 20, 40], [10, 30, 50]]))
    assert (image == 90).all()
    assert (drawn != 90).any()
    assert (draw_faces(image, []) == 90).all()
