"""Reading 3DDFA's test.configs, and what is said of files that are not as they should be."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.evaluate import read_aflw2000_configs, read_aflw_configs
from frnet.evaluate.configs_3ddfa import is_test_configs


def test_the_eight_samples_are_where_they_belong(configs, sample_truth):
    truth = read_aflw2000_configs(configs)
    assert len(truth) == 2000
    for place, points, roi, yaw in zip(*(sample_truth[k] for k in ("index", "pts68", "roi", "yaw")), strict=True):
        np.testing.assert_array_equal(truth.points[place], points[:2].T)
        np.testing.assert_array_equal(truth.boxes.published[place], roi)
        assert truth.yaw[place] == yaw


def test_annotations_differ_as_known(configs):
    """By 3.7 pixels in each coordinate on average."""
    original, new = (read_aflw2000_configs(configs, annotation=a) for a in ("original", "reannotated"))
    assert np.abs(original.points - new.points).mean() == pytest.approx(3.7, abs=0.05)
    np.testing.assert_array_equal(original.boxes.of("exact"), new.boxes.of("exact"))


def test_every_missing_file_is_named(small_configs):
    assert is_test_configs(small_configs)
    for path in sorted(small_configs.iterdir()):
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(FileNotFoundError, match=path.name.replace(".", r"\.") + ": no such file"):
            read_all(small_configs)
        path.write_bytes(kept)
    assert not is_test_configs(small_configs / "nowhere")


def read_all(folder):
    for split in ("pose", "new"):
        for annotation in ("original", "reannotated"):
            read_aflw2000_configs(folder, split, annotation)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("AFLW2000-3D.pts68", np.zeros((8, 4, 68)), r"\[n, 2 or 3, 68\], got float64 \[8, 4, 68\]"),
        ("AFLW2000-3D.pts68", np.zeros((0, 3, 68)), r"got float64 \[0, 3, 68\]"),
        ("AFLW2000-3D-Reannotated.pts68", np.zeros((7, 2, 68)), r"\[8, 2 or 3, 68\], got float64 \[7, 2, 68\]"),
        ("AFLW2000-3D.pose", np.zeros((8, 1)), r"\[8\], got float64 \[8, 1\]"),
        ("AFLW2000-3D-new.pose", np.full(8, "a"), r"\[8\], got <U1"),
        ("AFLW2000-3D_crop.roi_box", np.zeros((8, 3)), r"\[8, 4\], got float64 \[8, 3\]"),
        ("AFLW2000-3D.pose", np.array([0, 1, 2, np.nan, 40, 50, 60, 70]), "face 3 holds values that are NaN"),
        ("AFLW2000-3D.pose", np.zeros(8), "no face has a yaw of 30-60 degrees"),
        ("AFLW2000-3D-new.pose", np.arange(8) * 8.0, "no face has a yaw of 60-90 degrees"),
    ],
)
def test_files_that_do_not_fit(small_configs, name, content, message):
    np.save(small_configs / f"{name}.npy", content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.") + r"\.npy: .*" + message):
        read_all(small_configs)


def test_nothing_is_unpickled(small_configs):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("the file was executed",)

    np.save(small_configs / "AFLW2000-3D.pose.npy", np.array([Trap()] * 8, object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"AFLW2000-3D\.pose\.npy: not a readable \.npy file of numbers"):
        read_all(small_configs)


def test_a_truncated_file(small_configs):
    path = small_configs / "AFLW2000-3D.pts68.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"AFLW2000-3D\.pts68\.npy: not a readable"):
        read_all(small_configs)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"AFLW2000-3D\.pts68\.npy: not a readable"):
        read_all(small_configs)


def test_names_of_another_number(small_configs):
    with pytest.raises(ValueError, match="holds 8 faces, and there are 2 crops"):
        read_aflw2000_configs(small_configs, names=["a", "b"])


def test_an_aflw_face_without_visible_points(tmp_path):
    points = np.full((4, 2, 21), 5.0)
    points[2] = -1
    for name, content in {
        "pts21": points,
        "pts68": np.random.default_rng(0).normal(size=(4, 2, 68)),
        "crop_yaws": np.array([0.0, 40, 80, 0]),
        "crop_roi_box": np.tile([1, 1, 100, 100], (4, 1)),
    }.items():
        np.save(tmp_path / f"AFLW_GT_{name}.npy", content)
    with pytest.raises(ValueError, match=r"AFLW_GT_pts21\.npy: face 2 has no visible landmark"):
        read_aflw_configs(tmp_path)
