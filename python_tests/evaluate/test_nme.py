"""NME against the figures that 3DDFA's evaluator printed."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.evaluate import nme_percent


def test_published_reference(shared):
    truth = np.load(shared / "aflw2000-3d-sample/ground_truth.npz")["pts68"].transpose(0, 2, 1)
    reference = np.load(shared / "aflw2000-3d-sample/mb05_reference.npz")
    errors = nme_percent(reference["landmarks68"].transpose(0, 2, 1), truth)
    np.testing.assert_allclose(errors, 100 * reference["nme"], rtol=1e-5)


def test_does_not_depend_on_scale_place_or_depth(rng):
    truth, error = rng.normal(size=(5, 68, 3)), rng.normal(size=(5, 68, 3))
    plain = nme_percent(truth + error, truth)
    np.testing.assert_allclose(nme_percent(7 * (truth + error) + 3, 7 * truth + 3), plain)
    np.testing.assert_allclose(nme_percent((truth + error)[..., :2], truth), plain)


def test_shapes_that_do_not_fit():
    points = np.zeros((68, 2))
    with pytest.raises(ValueError, match=r"got \[68, 2\] and \[67, 2\]"):
        nme_percent(points, points[1:])
    with pytest.raises(ValueError, match="must be"):
        nme_percent(points[0], points[0])
    with pytest.raises(ValueError, match="span no area"):
        nme_percent(points, points)
