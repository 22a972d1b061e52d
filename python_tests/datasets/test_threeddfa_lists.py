"""3DDFA's packed lists, made here in their real format: a pickle of an array, a text file, a folder of crops."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from support.labels import landmarks_of

from frnet import geometry
from frnet.datasets import LabelError, ThreeDDFALists
from frnet.io.unpickle import UnpickleError
from frnet.morphable import load_whitening


@pytest.fixture
def whitening(shared):
    return load_whitening(shared / "3ddfa/train.configs/param_whitening.pkl")


@pytest.fixture
def lists(tmp_path, rng, whitening):
    """Six crops and labels, with the dtype and protocol of the published file."""
    (tmp_path / "crops").mkdir()
    names = [f"AFW_GT_{index}_{index % 3}.jpg" for index in range(6)]
    for name in names:
        small = rng.integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "crops" / name), cv2.resize(small, (120, 120)))
    labels = rng.normal(size=(6, 62)).astype(np.float32)
    return Lists(tmp_path, names, labels, whitening)


class Lists:
    def __init__(self, root, names, labels, whitening):
        self.root, self.names, self.labels, self.whitening = root, names, labels, whitening

    def open(self, **options):
        with (self.root / "param_all_norm.pkl").open("wb") as file:
            pickle.dump(self.labels, file, protocol=2)
        (self.root / "train.list").write_text("\n".join(self.names) + "\n")
        files = (self.root / "param_all_norm.pkl", self.root / "train.list", self.root / "crops")
        return ThreeDDFALists(*files, **{"whitening": self.whitening, "cache": self.root / "cache", **options})


def test_labels_are_dewhitened(lists, whitening):
    data = lists.open(frame="3ddfa-v1")
    assert len(data) == 6
    assert data.convention.frame == "3ddfa-v1"
    assert not data.convention.scale_depth
    for index in range(6):
        sample = data[index]
        wanted = lists.labels[index].astype(np.float64) * whitening.std + whitening.mean
        np.testing.assert_allclose(sample.params, wanted, rtol=1e-6)
        np.testing.assert_array_equal(sample.image, cv2.imread(str(lists.root / "crops" / data.name(index))))
        assert data.name(index) == lists.names[index]
        assert sample.landmarks.isnan().all()


def test_the_frame_of_the_package_is_the_default(lists, model):
    """Published labels are in the frame of 3DDFA's first version; the same image points come out of the second."""
    old, new = (lists.open(frame=frame, morphable=model) for frame in ("3ddfa-v1", "3ddfa-v2"))
    for index in range(6):
        before, after = old[index], new[index]
        np.testing.assert_allclose(after.params[[3, 7]] - before.params[[3, 7]], [1, -1], atol=1e-4)
        np.testing.assert_array_equal(*(np.delete(sample.params.numpy(), [3, 7]) for sample in (after, before)))
        np.testing.assert_allclose(before.landmarks, after.landmarks, rtol=0, atol=1e-4)
        np.testing.assert_allclose(after.landmarks, landmarks_of(model, after.params), rtol=0, atol=1e-3)
        roi = [101, 51, 341, 291]
        vertices = np.column_stack([landmarks_of(model, before.params, "3ddfa-v1") * (1, -1) + (0, 121), np.zeros(68)])
        published = geometry.crop_to_image_3ddfa_v1(vertices, roi)[:, :2] - 1
        np.testing.assert_allclose(after.landmarks.numpy() * 2 + (100, 50), published, atol=1e-3)
    same = lists.open(stored_frame="3ddfa-v2", frame="3ddfa-v2")
    np.testing.assert_allclose(same[0].params[[3, 7]], old[0].params[[3, 7]])


def test_synergynets_longer_labels(lists, whitening):
    wanted = lists.open()[2].params
    lists.labels = np.concatenate([lists.labels, np.full((6, 40), 7, np.float32)], 1)
    np.testing.assert_array_equal(lists.open()[2].params, wanted)


def test_npy_works_as_well(lists):
    wanted = lists.open()
    np.save(lists.root / "params.npy", lists.labels)
    got = ThreeDDFALists(
        lists.root / "params.npy", lists.root / "train.list", lists.root / "crops", lists.whitening, cache=lists.root
    )
    for index in range(6):
        np.testing.assert_array_equal(got[index].params, wanted[index].params)


def test_bad_rows_are_left_out_and_named(lists, caplog):
    lists.labels[1, 5] = np.nan
    (lists.root / "crops" / lists.names[4]).unlink()
    (lists.root / "crops" / lists.names[2]).write_bytes(b"broken")
    for _ in range(2):
        data = lists.open()
        assert len(data) == 4
        assert [data.name(i) for i in range(4)] == [lists.names[i] for i in (0, 2, 3, 5)]
        reasons = {skipped.file: skipped.reason for skipped in data.report.skipped}
        assert "row 1 of param_all_norm.pkl, has NaN" in reasons[lists.names[1]]
        assert reasons[lists.names[4]] == "no such image"
    sample = data[1]  # the broken one, found when it is its turn
    assert bool(sample.replaced)
    assert int(sample.index) == 2
    np.testing.assert_array_equal(sample.params, data[2].params)
    assert f"{lists.names[2]} cannot be decoded" in caplog.text


def test_the_index_follows_the_files(lists):
    assert len(lists.open()) == 6
    (lists.root / "crops" / lists.names[0]).unlink()
    assert len(lists.open()) == 5
    lists.labels = lists.labels + 1
    before = lists.open(frame="3ddfa-v1")[0].params
    lists.labels = lists.labels - 1
    assert not np.allclose(lists.open(frame="3ddfa-v1")[0].params, before)


def test_names_in_folders_and_a_list_from_windows(lists):
    (lists.root / "crops/sub").mkdir()
    name = lists.names[3]
    (lists.root / "crops" / name).rename(lists.root / "crops/sub" / name)
    lists.names[3] = f"sub/{name}"
    data = lists.open()
    (lists.root / "train.list").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lists.names, "", " "]).encode())
    again = ThreeDDFALists(
        lists.root / "param_all_norm.pkl", lists.root / "train.list", lists.root / "crops", lists.whitening,
        cache=lists.root,
    )  # fmt: skip
    for each in (data, again):
        assert not each.report.skipped
        assert each.name(3) == f"sub/{name}"
        assert not each[3].replaced


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda labels: labels[:5], LabelError, "5 labels, .*train.list has 6 names"),
        (
            lambda labels: labels[:, :40],
            LabelError,
            "labels have 40 .* whitening has 62",
        ),
        (
            lambda labels: {"a": 1},
            LabelError,
            r"expected an array of labels \[N, 62\], got dict",
        ),
        (lambda labels: labels[0], LabelError, r"got \[62\] float32"),
        (lambda labels: print, UnpickleError, "param_all_norm.pkl"),
        (lambda labels: labels * np.nan, ValueError, "no sample that can be used"),
    ],
)
def test_lists_that_do_not_fit(lists, change, error, message):
    lists.labels = change(lists.labels)
    with pytest.raises(error, match=message):
        lists.open()


def test_files_that_are_not_there(lists, model):
    with pytest.raises(ValueError, match="the whitening has 62 parameters, the model 55"):
        lists.open(morphable=model.truncate(40, 3))
    with pytest.raises(FileNotFoundError, match=r"other\.list"):
        ThreeDDFALists("a.pkl", lists.root / "other.list", lists.root / "crops", lists.whitening)
    with pytest.raises(NotADirectoryError, match="nowhere: no such folder"):
        ThreeDDFALists("a.pkl", lists.root / "train.list", lists.root / "nowhere", lists.whitening)
    (lists.root / "train.list").write_bytes(b"\xff\xfe\x00names")
    with pytest.raises(ValueError, match=r"train\.list: expected a text file"):
        ThreeDDFALists("a.pkl", lists.root / "train.list", lists.root / "crops", lists.whitening)


def test_a_crop_that_is_not_square_or_of_another_size(lists, caplog):
    crops = lists.root / "crops"
    image = cv2.imread(str(crops / lists.names[0]))
    cv2.imwrite(str(crops / lists.names[0]), image[:100])
    cv2.imwrite(str(crops / lists.names[1]), cv2.resize(image, (240, 240)))
    data = lists.open()
    assert bool(data[0].replaced)
    assert "must be a square crop, got 120 x 100" in caplog.text
    assert data[1].image.shape == (120, 120, 3)
