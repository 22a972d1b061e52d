"""Readers of 3DDFA's and 3DDFA_V2's model files, on the published parts and on small files of their form."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import scipy.io
from scipy.optimize import least_squares

from frnet.morphable import MorphableModel


def vertices(model: MorphableModel, params) -> np.ndarray:
    parts = model.layout.split(np.asarray(params, np.float64))
    alpha = np.concatenate([parts.alpha_shape, parts.alpha_expression])
    shape = (model.mean.double().numpy() + model.basis.double().numpy() @ alpha).reshape(-1, 3)
    return shape @ parts.matrix.T + parts.translation


def normals(model: MorphableModel) -> np.ndarray:
    corners = model.mean.double().numpy().reshape(-1, 3)[model.triangles.numpy()]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


# -- landmarks


def test_landmarks_are_the_keypoints_of_the_mean_mesh(shared):
    model = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")
    assert (model.num_vertices, model.num_params) == (68, 62)
    assert model.landmarks.tolist() == list(range(68))
    folder = shared / "3ddfa/train.configs"
    mean = (np.load(folder / "u_shp.npy") + np.load(folder / "u_exp.npy")).reshape(-1)
    keypoints = np.load(folder / "keypoints_sim.npy")
    np.testing.assert_allclose(model.mean, mean[keypoints], rtol=1e-6)


def test_whitening_of_the_landmarks(shared, tmp_path):
    folder = shared / "3ddfa/landmark_basis"
    assert MorphableModel.from_3ddfa_landmarks(folder).whitening == "3ddfa-v2"
    assert MorphableModel.from_3ddfa_landmarks(folder, "v1").whitening == "3ddfa-v1"
    assert MorphableModel.from_3ddfa_landmarks(folder, "v2").whitening == "3ddfa-v2"
    pickled = shared / "3ddfa/train.configs/param_whitening.pkl"
    assert MorphableModel.from_3ddfa_landmarks(folder, pickled).whitening == "3ddfa-v1"
    assert MorphableModel.from_3ddfa_landmarks(folder, (np.zeros(62), np.ones(62))).whitening == "custom"
    for path in folder.iterdir():
        if "v2" not in path.name:
            shutil.copyfile(path, tmp_path / path.name)
    assert MorphableModel.from_3ddfa_landmarks(tmp_path).whitening == "3ddfa-v1"  # the newest it holds
    with pytest.raises(FileNotFoundError, match=r"param_mean_v2\.txt.*param_std_v2\.txt"):
        MorphableModel.from_3ddfa_landmarks(tmp_path, "v2")
    (tmp_path / "param_mean.txt").unlink()
    assert MorphableModel.from_3ddfa_landmarks(tmp_path).whitening is None


def test_whitening_of_v1_as_text_is_coarse(shared):
    # Six decimals leave two to three digits of the rotation's entries: about a tenth of a crop pixel.
    folder = shared / "3ddfa/landmark_basis"
    coarse = MorphableModel.from_3ddfa_landmarks(folder, "v1")
    exact = MorphableModel.from_3ddfa_landmarks(folder, shared / "3ddfa/train.configs/param_whitening.pkl")
    z = np.clip(np.random.default_rng(0).normal(size=(50, 62)), -3, 3)
    error = [
        np.linalg.norm(vertices(exact, exact.dewhiten(one)) - vertices(exact, coarse.dewhiten(one)), axis=1).max()
        for one in z
    ]
    assert 0.01 < max(error) < 0.3


def test_reference_parameters_and_landmarks(shared):
    # What 3DDFA_V2's own code gives for its own network's output.
    model = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis", "v2")
    reference = np.load(shared / "aflw2000-3d-sample/mb05_reference.npz")
    np.testing.assert_allclose(model.dewhiten(reference["raw_output"]), reference["param"], rtol=1e-6)


@pytest.fixture(scope="module")
def fitted_face(shared):
    """The 53,215 fitted vertices of a real image, and what least squares makes of its 68 keypoints."""
    vertices_of_image = scipy.io.loadmat(shared / "300w-lp-sample/image00427.mat")["vertex"].T.astype(np.float64)
    keypoints = np.load(shared / "3ddfa/train.configs/keypoints_sim.npy")[::3] // 3
    model = MorphableModel.from_3ddfa_landmarks(
        shared / "3ddfa/landmark_basis", shared / "3ddfa/train.configs/param_whitening.pkl"
    )
    wanted = vertices_of_image[keypoints]
    found = least_squares(lambda z: (vertices(model, model.dewhiten(z)) - wanted).reshape(-1), np.zeros(62))
    return vertices_of_image, found, model.dewhiten(found.x)


def test_a_fitted_mesh_lies_in_the_landmarks_span(fitted_face):
    # They come from the same 40 + 10 components: some parameter vector reproduces the keypoints to the rounding of the
    # basis' text. This ties together the order of the vector, the interleaving of the basis, the keypoints and the crop
    # frame (y up).
    _, found, _ = fitted_face
    assert np.sqrt(np.mean(found.fun**2)) < 2e-4  # crop pixels
    assert np.abs(found.x).max() < 4  # and under this whitening it is an ordinary face


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("w_shp_base.txt", lambda rows: rows[:-3], r"basis_shape \(from .*w_shp_base\.txt\): expected \[204"),
        (
            "w_exp_base.txt",
            lambda rows: [r + " 1.0" for r in rows],
            r"param_mean \(from .*\[63\].*got \[62\]",
        ),
        ("u_base.txt", lambda rows: rows[:-1], r"mean \(from .*u_base\.txt\): expected \[3N\]"),
        ("u_base.txt", lambda rows: ["nan", *rows[1:]], r"mean \(from .*u_base\.txt\): expected finite"),
        ("u_base.txt", lambda rows: ["x", *rows[1:]], r"u_base\.txt: not a table"),
        ("param_std_v2.txt", lambda rows: rows[:-1], r"param_mean_v2\.txt, .*param_std_v2\.txt: .*62 and 61"),
        ("u_base.txt", None, r"missing .*u_base\.txt"),
    ],
)
def test_a_damaged_landmark_folder(shared, tmp_path, name, edit, message):
    for path in (shared / "3ddfa/landmark_basis").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    path = tmp_path / name
    if edit is None:
        path.unlink()
    else:
        path.write_text("\n".join(edit(path.read_text().split("\n")[: -1 or None])))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        MorphableModel.from_3ddfa_landmarks(tmp_path)


# -- grid


@pytest.fixture(scope="module")
def grid(shared):
    return MorphableModel.from_3ddfa_grid(shared / "3ddfa/bfm_grid64_basis.npz", shared / "3ddfa/landmark_basis")


def test_grid_holds_the_landmarks_first(shared, grid):
    landmarks = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")
    stored = np.load(shared / "3ddfa/bfm_grid64_basis.npz")
    assert grid.num_vertices == 68 + 64 * 64
    assert (grid.mean[:204] == landmarks.mean).all()
    assert (grid.basis[:204] == landmarks.basis).all()
    np.testing.assert_array_equal(grid.mean[204:], stored["mean"][:, 0])
    np.testing.assert_array_equal(grid.basis_shape[204:], stored["basis_shape"])
    assert grid.landmarks.tolist() == list(range(68))
    assert grid.whitening == "3ddfa-v2"
    again = grid.landmark_model()
    assert (again.mean == landmarks.mean).all()


def test_grid_triangles_face_the_viewer(grid):
    triangles = grid.triangles.numpy()
    assert triangles.shape == (2 * 63 * 63, 3)
    assert triangles.min() == 68
    assert len(np.unique(triangles)) == 64 * 64
    assert len(np.unique(np.sort(triangles, 1), axis=0)) == len(triangles)
    normal = normals(grid)
    # All that is not towards the viewer is at the ears, which fold back.
    assert (normal[:, 2] > 0).mean() > 0.95
    centre = np.abs(grid.mean.numpy().reshape(-1, 3)[triangles, 0]).max(1) < 50_000
    assert (normal[centre, 2] > 0).mean() > 0.995
    outward = (grid.mean.double().numpy().reshape(-1, 3)[triangles].mean(1) * normal).sum(1)
    assert (outward > 0).mean() > 0.95  # the origin of the model lies inside the head
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)  # consistent: every edge runs once in each direction


def test_grid_file_repeats_its_shape_basis(shared):
    # The published file has no expression of its own. If this ever fails, the file was repaired.
    npz, landmarks = shared / "3ddfa/bfm_grid64_basis.npz", shared / "3ddfa/landmark_basis"
    stored = np.load(npz)
    assert np.array_equal(stored["basis_expression"], stored["basis_shape"][:, :10])
    as_is = MorphableModel.from_3ddfa_grid(npz, landmarks)
    np.testing.assert_array_equal(as_is.basis_expression[204:], stored["basis_expression"])
    with pytest.raises(ValueError, match="landmarks"):
        MorphableModel.from_3ddfa_grid(npz, landmarks, expression="other")


def test_interpolated_expression_follows_the_fitted_mesh(shared, fitted_face):
    # Parameters from the 68 keypoints of a real fitted mesh, then the grid against that mesh. Points of the
    # grid have no vertex of their own in the mesh; the mean's nearest one stands for them.
    from scipy.spatial import cKDTree

    grid = MorphableModel.from_3ddfa_grid(
        shared / "3ddfa/bfm_grid64_basis.npz", shared / "3ddfa/landmark_basis", expression="landmarks"
    )
    assert "interpolated" in grid.name
    fitted, _, params = fitted_face
    folder = shared / "3ddfa/train.configs"
    mean = (np.load(folder / "u_shp.npy") + np.load(folder / "u_exp.npy")).reshape(-1, 3)
    distance, nearest = cKDTree(mean).query(grid.mean.numpy().reshape(-1, 3)[68:])
    near = distance < 1500  # micrometres; 94 % of the grid
    assert near.mean() > 0.9
    shift = (fitted[nearest] - mean[nearest] @ params[:12].reshape(3, 4)[:, :3].T)[near]
    own_mean = grid.mean.double().numpy().reshape(-1, 3)[68:] @ params[:12].reshape(3, 4)[:, :3].T

    def error(p) -> float:
        moved = (vertices(grid, p)[68:] - own_mean)[near]
        return float(np.linalg.norm(moved - shift, axis=1).mean())

    still = params.copy()
    still[52:] = 0
    assert error(params) < 0.3  # crop pixels
    assert error(params) < 0.3 * error(still)


@pytest.mark.parametrize("name", ["mean", "basis_shape", "basis_expression"])
def test_a_grid_that_does_not_fit(shared, tmp_path, name):
    stored = dict(np.load(shared / "3ddfa/bfm_grid64_basis.npz"))
    path = tmp_path / "grid.npz"
    np.savez(path, **stored | {name: stored[name][:-3]})
    with pytest.raises(ValueError, match=rf"grid\.npz: {name} must be \[12288, .*got \[12285"):
        MorphableModel.from_3ddfa_grid(path, shared / "3ddfa/landmark_basis")
    np.savez(path, **{k: v for k, v in stored.items() if k != name})
    with pytest.raises(ValueError, match=rf"grid\.npz: .*missing {name}"):
        MorphableModel.from_3ddfa_grid(path, shared / "3ddfa/landmark_basis")
    path.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"grid\.npz"):
        MorphableModel.from_3ddfa_grid(path, shared / "3ddfa/landmark_basis")


# -- train.configs of v1


def write_v1(folder, rng, *, count=6, shape=40, expression=10):
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "u_shp": rng.normal(size=(3 * count, 1)).astype(np.float32),
        "u_exp": rng.normal(size=(3 * count, 1)).astype(np.float32),
        "w_shp_sim": rng.normal(size=(3 * count, shape)).astype(np.float32),
        "w_exp_sim": rng.normal(size=(3 * count, expression)).astype(np.float32),
        "keypoints_sim": (3 * np.array([4, 0])[:, None] + np.arange(3)).reshape(-1),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    whitening = {"param_mean": np.zeros(62, np.float32), "param_std": np.ones(62, np.float32)}
    (folder / "param_whitening.pkl").write_bytes(pickle.dumps(whitening, 2))
    return arrays


def test_v1_folder(tmp_path, rng):
    folder = tmp_path / "train.configs"
    arrays = write_v1(folder, rng)
    model = MorphableModel.from_3ddfa(folder)
    np.testing.assert_array_equal(model.mean, (arrays["u_shp"] + arrays["u_exp"])[:, 0])
    np.testing.assert_array_equal(model.basis_shape, arrays["w_shp_sim"])
    np.testing.assert_array_equal(model.basis_expression, arrays["w_exp_sim"])
    assert model.landmarks.tolist() == [4, 0]
    assert model.triangles is None
    assert (model.param_std == 1).all()


def test_v1_triangles_count_from_one(tmp_path, rng):
    folder = tmp_path / "train.configs"
    write_v1(folder, rng)
    (tmp_path / "visualize").mkdir()
    columns = np.array([[1, 2], [2, 6], [3, 4]], np.uint32)  # [3, T], as published
    scipy.io.savemat(tmp_path / "visualize/tri.mat", {"tri": columns})
    model = MorphableModel.from_3ddfa(folder)
    rows = columns.T.astype(int) - 1
    assert model.triangles.tolist() in (rows.tolist(), rows[:, ::-1].tolist())
    assert normals(model)[:, 2].sum() > 0
    given = MorphableModel.from_3ddfa(folder, triangles=[[0, 1, 2]])
    assert given.triangles.tolist() == [[0, 1, 2]]
    scipy.io.savemat(folder / "tri.mat", {"tri": columns - 1})
    with pytest.raises(ValueError, match=r"tri\.mat: .*count from 1, got 0"):
        MorphableModel.from_3ddfa(folder)
    scipy.io.savemat(folder / "tri.mat", {"tri": columns + 1})
    with pytest.raises(ValueError, match=r"triangles \(from .*tri\.mat\): .*0 to 5, got 1 to 6"):
        MorphableModel.from_3ddfa(folder)
    scipy.io.savemat(folder / "tri.mat", {"other": columns})
    with pytest.raises(ValueError, match=r"tri\.mat: expected a variable tri"):
        MorphableModel.from_3ddfa(folder)


def test_v1_folder_with_the_published_parts(shared, tmp_path):
    # All real files that are at hand; the two basis files (zeros here) are the user's to bring.
    folder = tmp_path / "train.configs"
    shutil.copytree(shared / "3ddfa/train.configs", folder)
    with pytest.raises(FileNotFoundError, match=r"w_shp_sim\.npy, .*w_exp_sim\.npy .*train\.configs"):
        MorphableModel.from_3ddfa(folder)
    np.save(folder / "w_shp_sim.npy", np.zeros((159645, 40), np.float32))
    np.save(folder / "w_exp_sim.npy", np.zeros((159645, 10), np.float32))
    model = MorphableModel.from_3ddfa(folder)
    assert model.num_vertices == 53215
    assert model.whitening == "3ddfa-v1"
    landmarks = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")
    np.testing.assert_allclose(model.landmark_model().mean, landmarks.mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "w_shp_sim",
            np.zeros((15, 40), np.float32),
            r"basis_shape \(from .*w_shp_sim\.npy\): expected \[18",
        ),
        ("w_exp_sim", np.zeros((18, 9), np.float32), r"param_mean \(from .*pkl\): expected \[61\]"),
        ("u_exp", np.zeros((15, 1), np.float32), r"u_exp\.npy: expected \[18, 1\].*got \[15, 1\]"),
        (
            "keypoints_sim",
            np.array([18, 19, 20]),
            r"landmarks \(from .*keypoints_sim\.npy\): .*0 to 5, got 6",
        ),
        ("u_shp", np.full((18, 1), np.nan, np.float32), r"mean \(from .*u_shp\.npy.*finite"),
    ],
)
def test_a_damaged_v1_folder(tmp_path, rng, name, array, message):
    write_v1(tmp_path, rng)
    np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(ValueError, match=message):
        MorphableModel.from_3ddfa(tmp_path)


def test_v1_refuses_pickled_arrays(tmp_path, rng):
    write_v1(tmp_path, rng)
    np.save(tmp_path / "u_shp.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"u_shp\.npy"):
        MorphableModel.from_3ddfa(tmp_path)


# -- bfm_noneck_v3.pkl of V2


def write_v2(path, rng, *, count=6, **changes):
    stored = {
        "u": rng.normal(size=(3 * count, 1)).astype(np.float32),
        "w_shp": rng.normal(size=(3 * count, 50)).astype(np.float32),
        "w_exp": rng.normal(size=(3 * count, 12)).astype(np.float32),
        "tri": np.array([[0, 1], [1, 5], [2, 3]], np.int32),
        "keypoints": (3 * np.array([4, 0])[:, None] + np.arange(3)).reshape(-1),
    } | changes
    path.write_bytes(pickle.dumps({k: v for k, v in stored.items() if v is not None}, 4))
    return stored


def test_v2_pickle(tmp_path, rng):
    path = tmp_path / "bfm_noneck_v3.pkl"
    stored = write_v2(path, rng)
    model = MorphableModel.from_3ddfa_v2(path)
    np.testing.assert_array_equal(model.mean, stored["u"][:, 0])
    np.testing.assert_array_equal(model.basis_shape, stored["w_shp"][:, :40])
    np.testing.assert_array_equal(model.basis_expression, stored["w_exp"][:, :10])
    assert model.landmarks.tolist() == [4, 0]
    assert np.sort(model.triangles, 1).tolist() == [[0, 1, 2], [1, 3, 5]]
    assert normals(model)[:, 2].sum() > 0
    assert model.whitening is None
    wide = MorphableModel.from_3ddfa_v2(path, num_shape=50, num_expression=12)
    assert wide.num_params == 12 + 50 + 12
    bare = tmp_path / "bare.pkl"
    write_v2(bare, rng, tri=None, keypoints=None)
    assert MorphableModel.from_3ddfa_v2(bare).landmarks is None


def test_v2_with_the_published_parts(shared, tmp_path, rng):
    path = tmp_path / "bfm_noneck_v3.pkl"
    write_v2(path, rng, count=38365, keypoints=None, tri=None)
    shutil.copyfile(shared / "3ddfa/tri.pkl", tmp_path / "tri.pkl")
    shutil.copyfile(
        shared / "3ddfa/weights/param_mean_std_62d_120x120.pkl", tmp_path / "param_mean_std_62d_120x120.pkl"
    )
    model = MorphableModel.from_3ddfa_v2(path)  # both lie beside it
    assert model.whitening == "3ddfa-v2"
    assert tuple(model.triangles.shape) == (76073, 3)
    assert model.triangles.max() == 38364
    given = MorphableModel.from_3ddfa_v2(
        path,
        whitening=shared / "3ddfa/weights/param_mean_std_62d_120x120.pkl",
        triangles=shared / "3ddfa/tri.pkl",
    )
    assert (given.triangles == model.triangles).all()
    assert MorphableModel.from_3ddfa_v2(path, num_shape=20).whitening is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w_shp": np.zeros((15, 40))}, r"basis_shape \(from .*v3\.pkl\): expected \[18"),
        ({"w_shp": np.zeros((18, 39))}, r"v3\.pkl: w_shp: expected at least 40 components, got 39"),
        ({"u": None}, r"v3\.pkl: expected a dictionary with u, w_shp"),
        ({"tri": np.array([[0], [1], [6]])}, r"triangles \(from .*v3\.pkl\): .*0 to 5, got 0 to 6"),
        ({"tri": np.zeros((4, 2), int)}, r"v3\.pkl: tri: expected triangles \[3, T\]"),
        ({"keypoints": np.array([18, 19, 20])}, r"landmarks \(from .*v3\.pkl\)"),
    ],
)
def test_a_damaged_v2_pickle(tmp_path, rng, changes, message):
    path = tmp_path / "bfm_noneck_v3.pkl"
    write_v2(path, rng, **changes)
    with pytest.raises(ValueError, match=message):
        MorphableModel.from_3ddfa_v2(path)
