"""Poses, roi boxes and coordinates with NumPy alone: what the numbers of a label mean. No torch is loaded.

Run: python examples/numpy_geometry.py
"""

from __future__ import annotations

import sys

import numpy as np

from frnet import geometry

# A head that looks 40 degrees to the viewer's left and a little up, as a rotation and back, exactly.
rotation = geometry.rotation_from_euler(yaw=40, pitch=10, roll=-5)
print("the nose points at", (rotation @ [0, 0, 1]).round(3).tolist())
np.testing.assert_allclose(geometry.euler_from_rotation(rotation), [40, 10, -5], atol=1e-9)

# 3DDFA prints other angles for the same head; figures of the two kinds do not compare.
print("as 3DDFA prints it", np.rad2deg(geometry.matrix2angle_3ddfa(rotation)).round(1).tolist(), "degrees")

# The square that a network looks at, from a detector's box and from landmarks.
print("roi of a box", geometry.roi_from_box([100, 80, 200, 200]).tolist())
corners = np.array([[110.0, 100.0], [190.0, 190.0]])
roi = geometry.roi_from_landmarks(corners)
print("roi of landmarks", roi.round(1).tolist())

# The first 12 parameters of a face are the matrix [f R | t] in the 120 x 120 crop, y up.
matrix = np.hstack([6e-4 * rotation, [[60.0], [60.0], [0.0]]])
pose = geometry.decompose_pose(matrix)
print(f"scale {pose.scale:.1e}, translation {pose.translation.tolist()}")
np.testing.assert_allclose(geometry.pose_angles(matrix), [40, 10, -5], atol=1e-9)

# From the crop to the photograph and back.
in_crop = np.array([[60.0, 60.0, 0.0], [90.0, 30.0, 5.0]])
in_image = geometry.crop_to_image(in_crop, roi)
print("in the photograph", in_image.round(1).tolist())
np.testing.assert_allclose(geometry.image_to_crop(in_image, roi), in_crop, atol=1e-9)

assert "torch" not in sys.modules
