"""Mean absolute error of the angles, over the images that the field counts."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.evaluate import list_aflw2000, pose_mae, read_aflw2000_configs
from frnet.geometry import euler_from_rotation, rotation_from_euler


def test_known_errors():
    truth = np.array([[10.0, 20, 30], [-40, 0, 5]])
    error = pose_mae(truth + np.array([[1, -2, 3], [-3, 4, -9]]), truth)
    assert (error.yaw, error.pitch, error.roll) == (2, 3, 6)
    assert error.mean == pytest.approx(11 / 3)
    assert error.counted.all()


def test_any_angle_beyond_99_degrees_leaves_the_image_out():
    truth = np.array([[99.0, 0, 0], [99.1, 0, 0], [0, -99.1, 0], [0, 0, 187], [0, 0, 0]])
    prediction = truth + 1
    prediction[4] = np.nan  # no face was found
    error = pose_mae(prediction, truth)
    assert error.counted.tolist() == [True, False, False, False, False]
    assert error.mean == 1


def test_yaw_alone_leaves_out_no_more_than_the_31_of_the_field(configs):
    """The rule keeps 1969 of 2000 images; test.configs has yaw alone, which accounts for six of the others."""
    yaw = read_aflw2000_configs(configs).yaw
    truth = np.stack([yaw, 0 * yaw, 0 * yaw], -1)
    assert pose_mae(truth, truth).counted.sum() == 1994


def test_angles_of_the_samples_pass_through_their_rotation(shared):
    truth = np.stack([sample.pose for sample in list_aflw2000(shared / "aflw2000-3d-sample")])
    decoded = euler_from_rotation(rotation_from_euler(*truth.T))
    assert pose_mae(decoded, truth).mean < 1e-9


def test_what_is_refused():
    for prediction, truth, message in (
        (np.zeros((2, 3)), np.zeros((3, 3)), r"got \[2, 3\] and \[3, 3\]"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "yaw, pitch, roll"),
        (np.zeros((2, 3)), [[0, 0, 0], [0, np.nan, 0]], "true angles of face 1 are not finite"),
        (np.zeros((1, 3)), [[120, 0, 0]], "no image has a prediction and true angles within 99"),
    ):
        with pytest.raises(ValueError, match=message):
            pose_mae(prediction, truth)
