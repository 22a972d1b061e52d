"""Files of predictions: what is read from them, and what is said of those that are not as documented."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from frnet import geometry
from frnet.evaluate import (
    Predictions,
    list_aflw2000,
    measure,
    measure_dense,
    nme_percent,
    read_aflw2000_configs,
    read_dense_truth,
    read_predictions,
    truth_of_aflw2000,
)
from frnet.morphable import MorphableModel

NAMES = ["b.jpg", "a.jpg", "c.jpg"]


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        path = tmp_path / "other.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.fixture(scope="module")
def truth(shared):
    return truth_of_aflw2000(list_aflw2000(shared / "aflw2000-3d-sample"))


@pytest.fixture(scope="module")
def reference(shared):
    with np.load(shared / "aflw2000-3d-sample/mb05_reference.npz") as data:
        return dict(data)


def test_what_3ddfa_v2_gives_is_3_415(save, truth, reference):
    """Its landmarks in image pixels; one pixel apart as published, and matched."""
    path = save(landmarks=reference["landmarks68"].transpose(0, 2, 1), names=reference["names"], frame="image")
    predictions = read_predictions(path)
    result = measure(predictions, truth)
    np.testing.assert_allclose(result.nme_percent, 100 * reference["nme"], rtol=1e-5)
    assert result.sample_mean == pytest.approx(3.415, abs=5e-4)
    assert "predictions count from 0, ground truth from 1, compared as stored" in str(result.protocol)
    matched = measure(predictions, truth, coordinates="matched")
    expected = nme_percent(predictions.landmarks, truth.points - np.array([1, 1, 0]))
    np.testing.assert_allclose(matched.nme_percent, expected, rtol=1e-9)
    assert matched.sample_mean < 3.4


def test_order_of_names_does_not_matter(save, truth, reference):
    landmarks = reference["landmarks68"].transpose(0, 2, 1)
    order = np.random.default_rng(0).permutation(8)
    straight = read_predictions(save(landmarks=landmarks, frame="image"))
    shuffled = read_predictions(save(landmarks=landmarks[order], names=reference["names"][order], frame="image"))
    np.testing.assert_array_equal(measure(straight, truth).nme_percent, measure(shuffled, truth).nme_percent)


def test_first_pixel_may_be_1(save, truth, reference):
    landmarks = reference["landmarks68"].transpose(0, 2, 1)
    one = read_predictions(save(landmarks=landmarks + np.float32([1, 1, 0]), frame="image", pixel_origin=1))
    zero = read_predictions(save(landmarks=landmarks, frame="image", pixel_origin=0))
    matched = measure(zero, truth, coordinates="matched")
    for coordinates in ("as-stored", "matched"):
        same = measure(one, truth, coordinates=coordinates)
        np.testing.assert_allclose(same.nme_percent, matched.nme_percent, rtol=1e-5)


def test_params_become_landmarks_of_the_published_crops(save, shared, configs, sample_truth, reference, truth):
    """3DDFA_V2's own parameters: in the crop, they are one crop pixel from its landmarks in the image."""
    model = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")
    predictions = read_predictions(save(params=reference["param"], method="mb05"), model)
    assert (predictions.frame, predictions.method) == ("crop120", "mb05")
    roi = sample_truth["roi"].astype(np.float64)
    scale = (roi[:, 2:] - roi[:, :2]) / 120
    mapped = predictions.landmarks[..., :2] * scale[:, None] + roi[:, None, :2]
    theirs = reference["landmarks68"].transpose(0, 2, 1)[..., :2]
    np.testing.assert_allclose(mapped - scale[:, None], theirs, atol=2e-3)
    np.testing.assert_allclose(predictions.pose, geometry.pose_angles(reference["param"]))
    assert predictions.vertices is None
    grid = MorphableModel.from_3ddfa_grid(shared / "3ddfa/bfm_grid64_basis.npz", shared / "3ddfa/landmark_basis")
    dense = read_predictions(save(params=reference["param"]), grid, vertices=True)
    np.testing.assert_allclose(dense.landmarks, predictions.landmarks, atol=1e-3)
    np.testing.assert_allclose(dense.vertices[:, :68], dense.landmarks, atol=1e-4)
    assert dense.vertices.shape == (8, 68 + 64 * 64, 3)
    with pytest.raises(ValueError, match=r"holds params: a morphable model with 68 landmarks is needed"):
        read_predictions(save(params=reference["param"]))
    with pytest.raises(ValueError, match=r"params must be \[n, 62\] for the model '3ddfa-landmarks', got \[8, 61\]"):
        read_predictions(save(params=reference["param"][:, 1:]), model)


def test_crop_coordinates_need_boxes(save, truth, reference):
    predictions = read_predictions(save(landmarks=np.ones((8, 68, 2)), frame="crop120"))
    with pytest.raises(ValueError, match=r"other\.npz is in the frame of 3DDFA's published crops, whose boxes are in"):
        measure(predictions, truth)


LANDMARKS = np.ones((3, 68, 2))
BROKEN = LANDMARKS.copy()
BROKEN[1, 3, 0] = np.nan


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"landmarks": LANDMARKS}, "frame must be a string, got nothing"),
        ({"landmarks": LANDMARKS, "frame": "crop"}, "frame must be 'crop120' or 'image', got 'crop'"),
        ({"landmarks": LANDMARKS, "frame": 120}, r"frame must be a string, got int64 \[\]"),
        ({"frame": "image"}, "wanted either landmarks"),
        ({"landmarks": LANDMARKS, "params": LANDMARKS[:, 0]}, "wanted either landmarks"),
        ({"landmark": LANDMARKS, "frame": "image"}, "unknown array 'landmark'; known are landmarks, params"),
        ({"landmarks": LANDMARKS.transpose(0, 2, 1), "frame": "image"}, r"got \[3, 2, 68\]; points go in rows"),
        ({"landmarks": LANDMARKS[:0], "frame": "image"}, r"got \[0, 68, 2\]"),
        ({"landmarks": np.full((3, 68, 2), "a"), "frame": "image"}, "landmarks must hold numbers, got <U1"),
        ({"landmarks": LANDMARKS, "names": NAMES[:2], "frame": "image"}, r"landmarks must be \[2, 68, 2 or 3\]"),
        ({"landmarks": LANDMARKS, "names": ["a"] * 3, "frame": "image"}, "names holds 'a' more than once"),
        ({"landmarks": LANDMARKS, "names": [1, 2, 3], "frame": "image"}, "names must be strings"),
        ({"landmarks": BROKEN, "frame": "image"}, "landmarks of face 1: NaN"),
        ({"landmarks": BROKEN, "names": NAMES, "frame": "image"}, r"landmarks of a\.jpg \(face 1\): NaN"),
        ({"landmarks": LANDMARKS, "pose": np.zeros((3, 2)), "frame": "image"}, r"pose must be \[3, 3\]"),
        ({"landmarks": LANDMARKS, "vertices": np.zeros((3, 9)), "frame": "image"}, r"vertices must be \[3, V, 3\]"),
        ({"landmarks": LANDMARKS, "frame": "image", "pixel_origin": 2}, "pixel_origin must be 0 or 1, got 2"),
        ({"landmarks": LANDMARKS, "frame": "image", "method": 5}, "method must be a string"),
        ({"params": LANDMARKS[:, 0], "frame": "image"}, "params are those of the published crops"),
    ],
)
def test_files_that_are_not_as_documented(save, arrays, message):
    with pytest.raises(ValueError, match=r"predictions .*other\.npz: .*" + message):
        read_predictions(save(**arrays))


def test_files_that_are_no_archives(tmp_path):
    path = tmp_path / "other.npz"
    with pytest.raises(FileNotFoundError, match=r"other\.npz: no such file"):
        read_predictions(path)
    np.savez(path, landmarks=np.array([{}], object), frame="image")
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04garbage", b"\x93NUMPY\x01\x00v\x00", whole[:200], whole):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"other\.npz: wanted an \.npz file of plain arrays"):
            read_predictions(path)
    with open(path, "wb") as file:
        np.save(file, LANDMARKS)
    with pytest.raises(ValueError, match=r"other\.npz: wanted an \.npz file of plain arrays"):
        read_predictions(path)


def test_images_that_do_not_match(truth, configs, reference):
    landmarks = reference["landmarks68"].transpose(0, 2, 1)
    names = [*reference["names"].tolist()[:-1], "image99999.jpg"]
    with pytest.raises(
        ValueError,
        match=r"other does not match the ground truth: 1 \(image04331\.jpg\) missing here, 1 \(image99999\.jpg\)",
    ):
        measure(Predictions("other", landmarks, "image", names=names, source="other"), truth)
    with pytest.raises(ValueError, match="other holds 7 faces, and the ground truth 8"):
        measure(Predictions("other", landmarks[:7], "image", source="other"), truth)
    with pytest.raises(ValueError, match=r"other goes by names, and the ground truth has none; give the list"):
        measure(Predictions("o", landmarks, "crop120", names=names, source="other"), read_aflw2000_configs(configs))
    with pytest.raises(ValueError, match="coordinates must be one of as-stored, matched, got 'x'"):
        measure(Predictions("o", landmarks, "image"), truth, coordinates="x")


@pytest.fixture
def meshes(truth, rng):
    """True meshes of 90 vertices about each face, counting from 0, depth of their own."""
    spread = rng.uniform(0, 100, (8, 90, 3))
    return truth.points[:, :1] * [1, 1, 0] + spread


def test_dense_truth_from_a_file(tmp_path, truth, reference, meshes):
    path = tmp_path / "dense.npz"
    np.savez(path, vertices=meshes[::-1], names=truth.names[::-1], outer_eyes=[3, 5], subset=np.arange(0, 90, 2))
    moved = meshes + np.array([3.0, 4.0, 50.0])
    pred = Predictions("o", reference["landmarks68"].transpose(0, 2, 1), "image", vertices=moved)
    result = measure_dense(pred, read_dense_truth(path), truth)
    box = np.sqrt(np.ptp(meshes[:, ::2, :2], axis=1).prod(-1))
    np.testing.assert_allclose(result.nme_3d_percent, 500 / box)
    np.testing.assert_allclose(result.nme_2d_percent, 500 / box)
    np.testing.assert_allclose(result.reconstruction_percent, 0, atol=1e-9)
    assert "45 of 90 vertices" in result.protocol
    np.savez(path, vertices=meshes, pixel_origin=1)
    result = measure_dense(pred, read_dense_truth(path), truth)
    box = np.sqrt(np.ptp(meshes[..., :2], axis=1).prod(-1))
    np.testing.assert_allclose(result.nme_2d_percent, 100 * np.hypot(4, 5) / box)  # predictions count from 0
    assert result.reconstruction_percent is None


def test_dense_truth_that_does_not_fit(tmp_path, truth, reference, meshes):
    path = tmp_path / "dense.npz"
    landmarks = reference["landmarks68"].transpose(0, 2, 1)
    for arrays, message in (
        ({"names": ["a"]}, "vertices must hold numbers .*, got nothing"),
        ({"vertices": meshes[0]}, r"got float64 \[90, 3\]"),
        ({"vertices": meshes, "names": ["a"]}, "1 names for 8 meshes"),
        ({"vertices": meshes * np.nan}, "vertices of face 0, and 7 more faces: NaN"),
        ({"vertices": meshes, "pixel_origin": 5}, "pixel_origin must be 0 or 1"),
        ({"vertices": meshes, "eyes": [1, 2]}, "unknown array 'eyes'"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=r"dense truth .*dense\.npz: .*" + message):
            read_dense_truth(path)
    np.savez(path, vertices=meshes)
    dense = read_dense_truth(path)
    for vertices, message in ((None, "holds no vertices"), (meshes[:, 1:], "meshes of 89 vertices, .* of 90")):
        with pytest.raises(ValueError, match=message):
            measure_dense(Predictions("o", landmarks, "image", vertices=vertices), dense, truth)


def test_nan_in_ground_truth_names_the_file(tmp_path, shared):
    source = shared / "aflw2000-3d-sample/image00050"
    (tmp_path / "image00050.jpg").write_bytes(source.with_suffix(".jpg").read_bytes())
    data = scipy.io.loadmat(source.with_suffix(".mat"))
    data["pt3d_68"][1, 2] = np.nan
    scipy.io.savemat(tmp_path / "image00050.mat", {key: data[key] for key in ("pt3d_68", "Pose_Para")})
    with pytest.raises(ValueError, match=r"image00050\.mat holds values that are NaN or infinite"):
        list_aflw2000(tmp_path)
    (tmp_path / "image00050.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"image00050\.mat has no image beside it: image00050\.jpg is missing"):
        list_aflw2000(tmp_path)


def test_predictions_of_another_shape_or_frame():
    with pytest.raises(ValueError, match=r"mine: landmarks must be \[n, 68, 2 or 3\], got \[3, 2, 68\]"):
        Predictions("mine", np.zeros((3, 2, 68)), "image", source="mine")
    with pytest.raises(ValueError, match="mine: frame must be 'crop120' or 'image', got 'crop'"):
        Predictions("mine", LANDMARKS, "crop", source="mine")
