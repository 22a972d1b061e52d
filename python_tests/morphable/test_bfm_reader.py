"""The Basel Face Model's MATLAB forms, as small files of exactly those forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from frnet.morphable import MorphableModel

COUNT = 5
TRIANGLES = np.array([[1, 2], [2, 5], [3, 4]])  # [3, T], counting from 1


def face3d(rng):
    return {
        "model": {
            "shapeMU": rng.normal(size=(3 * COUNT, 1)),
            "shapePC": rng.normal(size=(3 * COUNT, 199)),
            "shapeEV": rng.normal(size=(199, 1)),
            "texMU": rng.normal(size=(3 * COUNT, 1)),
            "texPC": rng.normal(size=(3 * COUNT, 199)),
            "texEV": rng.normal(size=(199, 1)),
            "expMU": rng.normal(size=(3 * COUNT, 1)),
            "expPC": rng.normal(size=(3 * COUNT, 29)),
            "expEV": rng.normal(size=(29, 1)),
            "tri": TRIANGLES.astype(np.uint32),
            "tri_mouth": TRIANGLES.astype(np.uint32),
            "kpt_ind": np.array([[5, 1, 2]], np.uint16),
        }
    }


def refine(rng):
    return {
        "model_refine": {
            "mu_shape": rng.normal(size=(3 * COUNT, 1)),
            "mu_exp": rng.normal(size=(3 * COUNT, 1)),
            "w": rng.normal(size=(3 * COUNT, 199)),
            "w_exp": rng.normal(size=(3 * COUNT, 29)),
            "tri": TRIANGLES.astype(np.float64),
            "keypoints": np.array([[5.0, 1.0, 2.0]]),
        }
    }


def bfm2009(rng):
    return {
        "shapeMU": rng.normal(size=(3 * COUNT, 1)).astype(np.float32),
        "shapePC": rng.normal(size=(3 * COUNT, 199)).astype(np.float32),
        "shapeEV": rng.normal(size=(199, 1)).astype(np.float32),
        "texMU": rng.normal(size=(3 * COUNT, 1)).astype(np.float32),
        "tl": TRIANGLES.T.astype(np.float64),
        "segbin": np.zeros((COUNT, 4)),
    }


def check_triangles(model):
    assert np.sort(model.triangles, 1).tolist() == [[0, 1, 2], [1, 3, 4]]
    corners = model.mean.double().numpy().reshape(-1, 3)[model.triangles.numpy()]
    assert np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2].sum() > 0


@pytest.mark.parametrize("flat", [False, True], ids=["struct", "top level"])
@pytest.mark.parametrize(
    ("form", "names"),
    [(face3d, ("shapeMU", "expMU", "shapePC", "expPC")), (refine, ("mu_shape", "mu_exp", "w", "w_exp"))],
)
def test_forms_with_expression(tmp_path, rng, form, names, flat):
    stored = form(rng)
    (fields,) = stored.values()
    path = tmp_path / "BFM.mat"
    scipy.io.savemat(path, fields if flat else stored)
    model = MorphableModel.from_bfm(path)
    mu_shape, mu_exp, w, w_exp = (fields[name] for name in names)
    np.testing.assert_allclose(model.mean, (mu_shape + mu_exp)[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(model.basis_shape, w[:, :40].astype(np.float32))
    np.testing.assert_array_equal(model.basis_expression, w_exp[:, :10].astype(np.float32))
    assert model.landmarks.tolist() == [4, 0, 1]
    assert model.param_mean is None
    check_triangles(model)
    whole = MorphableModel.from_bfm(path, num_shape=None, num_expression=None)
    assert (whole.layout.num_shape, whole.layout.num_expression) == (199, 29)
    assert MorphableModel.from_bfm(path, num_shape=3, num_expression=0).num_params == 15


def test_bfm_2009(tmp_path, rng):
    stored = bfm2009(rng)
    path = tmp_path / "01_MorphableModel.mat"
    scipy.io.savemat(path, stored)
    model = MorphableModel.from_bfm(path, num_shape=199)
    np.testing.assert_array_equal(model.mean, stored["shapeMU"][:, 0])
    np.testing.assert_array_equal(model.basis_shape, stored["shapePC"])
    assert model.layout.num_expression == 0
    assert model.landmarks is None
    check_triangles(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapePC": np.zeros((12, 199))}, r"basis_shape \(from .*BFM\.mat: shapePC\): expected \[15"),
        ({"expMU": np.zeros((12, 1))}, r"BFM\.mat: expMU must have 15 numbers, as shapeMU has, got 12"),
        ({"expPC": np.zeros((15, 9))}, r"BFM\.mat: expPC: expected at least 10 components, got 9"),
        ({"tri": TRIANGLES - 1}, r"BFM\.mat: tri: .*count from 1, got 0"),
        ({"tri": TRIANGLES + 1}, r"triangles \(from .*BFM\.mat: tri\): .*0 to 4, got 1 to 5"),
        ({"kpt_ind": np.array([[0, 1]])}, r"landmarks \(from .*BFM\.mat: kpt_ind\): .*got -1"),
        (
            {"shapePC": np.full((15, 199), np.nan)},
            r"basis_shape \(from .*BFM\.mat: shapePC\): expected finite",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, rng, changes, message):
    path = tmp_path / "BFM.mat"
    scipy.io.savemat(path, {"model": face3d(rng)["model"] | changes})
    with pytest.raises(ValueError, match=message):
        MorphableModel.from_bfm(path)


def test_files_that_are_no_such_model(tmp_path):
    path = tmp_path / "BFM.mat"
    with pytest.raises(FileNotFoundError):
        MorphableModel.from_bfm(path)
    scipy.io.savemat(path, {"UV": np.zeros((5, 2))})
    with pytest.raises(ValueError, match=r"BFM\.mat: expected the variables of a Basel Face Model.*got \['UV'\]"):
        MorphableModel.from_bfm(path)
    for content in (b"", b"not a mat file" * 20):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"BFM\.mat: not a readable MATLAB file"):
            MorphableModel.from_bfm(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" * 20)
    with pytest.raises(ValueError, match=r"BFM\.mat: a MATLAB 7\.3 .*-v7"):
        MorphableModel.from_bfm(path)
