"""MorphableModel: what it holds, the models made from it, its whitening and its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frnet.morphable import MorphableModel

N, S, E = 7, 4, 3


@pytest.fixture
def arrays(rng):
    return {
        "mean": rng.normal(size=(3 * N, 1)).astype(np.float32),
        "basis_shape": rng.normal(size=(3 * N, S)).astype(np.float32),
        "basis_expression": rng.normal(size=(3 * N, E)).astype(np.float32),
        "param_mean": rng.normal(size=12 + S + E).astype(np.float32),
        "param_std": rng.uniform(0.5, 2, size=12 + S + E).astype(np.float32),
        "landmarks": np.array([5, 1, 3]),
        "triangles": np.array([[0, 1, 2], [1, 2, 3], [4, 5, 6]], np.uint16),
    }


@pytest.fixture
def model(arrays):
    return MorphableModel(**arrays, name="tiny", shape_names=list("abcd"), expression_names=list("xyz"))


def same(a: MorphableModel, b: MorphableModel) -> bool:
    names = ("mean", "basis", "param_mean", "param_std", "landmarks", "triangles")
    pairs = [(getattr(a, n), getattr(b, n)) for n in names]
    equal = all((x is None and y is None) or torch.equal(x, y) for x, y in pairs)
    meta = ("name", "layout", "shape_names", "expression_names")
    return equal and all(getattr(a, n) == getattr(b, n) for n in meta)


def test_what_it_holds(model, arrays):
    assert model.mean.shape == (3 * N,)
    assert model.basis.shape == (3 * N, S + E)
    assert model.basis.is_contiguous()
    assert (model.num_vertices, model.num_params) == (N, 12 + S + E)
    for name in ("basis_shape", "basis_expression"):
        view = getattr(model, name)
        np.testing.assert_array_equal(view, arrays[name])
        assert view.untyped_storage().data_ptr() == model.basis.untyped_storage().data_ptr()
    assert model.landmarks.dtype == model.triangles.dtype == torch.int64
    assert model.dtype == torch.float32
    assert model.whitening == "custom"
    assert repr(model) == (
        "MorphableModel('tiny', vertices=7, shape=4, expression=3, landmarks=3, triangles=3, whitening='custom')"
    )


@pytest.mark.parametrize("convert", [torch.from_numpy, np.asfortranarray, lambda a: a.astype(a.dtype.newbyteorder())])
def test_tensors_and_any_memory_layout_are_accepted(model, arrays, convert):
    again = MorphableModel(
        **{k: convert(v) if v.dtype != np.uint16 else v for k, v in arrays.items()},
        name="tiny", shape_names=list("abcd"), expression_names=list("xyz"),
    )  # fmt: skip
    assert same(again, model)


def test_dtype_follows_the_mean_or_the_argument(arrays):
    double = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in arrays.items()}
    assert MorphableModel(**double).basis.dtype == torch.float64
    assert MorphableModel(**double, dtype=torch.float32).param_std.dtype == torch.float32
    assert MorphableModel([0, 1, 2], np.zeros((3, 0)), np.zeros((3, 1))).dtype == torch.float32


def test_to(model):
    assert model.to() is model
    assert model.to("cpu", torch.float32) is model
    double = model.to(torch.float64)
    assert double.mean.dtype == double.basis.dtype == double.param_mean.dtype == torch.float64
    assert double.landmarks.dtype == torch.int64
    assert model.dtype == torch.float32
    meta = model.to("meta")
    assert meta.basis.device.type == meta.triangles.device.type == meta.param_std.device.type == "meta"
    with pytest.raises(ValueError, match="floating"):
        model.to(dtype=torch.int32)


@pytest.mark.parametrize(
    "vertices",
    [
        [1, 2, 3, 5],
        np.array([1, 2, 3, 5]),
        torch.tensor([1, 2, 3, -2]),
        (np.arange(N) % 5 != 4) & (np.arange(N) > 0),
    ],
    ids=["list", "array", "negative", "mask"],
)
def test_subset(model, vertices):
    part = model.subset(vertices)
    kept = np.arange(N)[np.asarray(vertices)] if np.asarray(vertices).dtype == bool else np.array([1, 2, 3, 5])
    rows = (3 * kept[:, None] + np.arange(3)).reshape(-1)
    np.testing.assert_array_equal(part.mean, model.mean[rows])
    np.testing.assert_array_equal(part.basis, model.basis[rows])
    assert part.basis.is_contiguous()
    assert kept[part.landmarks].tolist() == [5, 1, 3]
    assert kept[part.triangles].tolist() == [[1, 2, 3]]
    assert torch.equal(part.param_mean, model.param_mean)


def test_subset_by_slice_order_and_repetition(model):
    part = model.subset(slice(None, None, -1))
    assert torch.equal(part.mean.reshape(-1, 3), model.mean.reshape(-1, 3).flip(0))
    assert part.triangles.tolist() == [[6, 5, 4], [5, 4, 3], [2, 1, 0]]
    twice = model.subset([3, 1, 1, 5])
    assert twice.landmarks.tolist() == [3, 1, 0]  # the first copy of vertex 1
    assert twice.triangles.shape == (0, 3)
    assert model.subset([0, 1]).landmarks is None  # not all landmarks are kept


@pytest.mark.parametrize(
    ("vertices", "message"),
    [
        ([0, 7], "0 to 6, got 0 to 7"),
        ([-8], "got -8"),
        ([], "at least one"),
        ([0.5], "whole numbers"),
        (np.ones(6, bool), r"mask must be \[7\], got \[6\]"),
        ([[0, 1]], r"\[1, 2\]"),
    ],
)
def test_subset_errors(model, vertices, message):
    with pytest.raises(ValueError, match=message):
        model.subset(vertices)


def test_landmark_model(model, arrays):
    part = model.landmark_model()
    assert torch.equal(part.mean.reshape(-1, 3), model.mean.reshape(-1, 3)[model.landmarks])
    assert part.landmarks.tolist() == [0, 1, 2]
    assert part.triangles is None
    repeated = MorphableModel(**arrays | {"landmarks": [2, 2, 0]}).landmark_model()
    assert repeated.num_vertices == 3
    assert repeated.landmarks.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no landmarks"):
        MorphableModel(**arrays | {"landmarks": None}).landmark_model()


def test_truncate(model, arrays):
    part = model.truncate(2, 1)
    np.testing.assert_array_equal(part.basis_shape, arrays["basis_shape"][:, :2])
    np.testing.assert_array_equal(part.basis_expression, arrays["basis_expression"][:, :1])
    assert part.basis.is_contiguous()
    kept = [*range(14), 12 + S]
    np.testing.assert_array_equal(part.param_mean, arrays["param_mean"][kept])
    np.testing.assert_array_equal(part.param_std, arrays["param_std"][kept])
    assert (part.shape_names, part.expression_names) == (("a", "b"), ("x",))
    assert part.num_params == 15
    with pytest.raises(ValueError, match="4 shape and 3 expression components, got 5 and 1"):
        model.truncate(5, 1)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_whitening_round_trip(model, arrays, rng, kind):
    params = rng.normal(size=(2, 5, model.num_params)).astype(kind)
    z = model.whiten(params)
    assert z.dtype == kind
    np.testing.assert_allclose(z, (params - arrays["param_mean"]) / arrays["param_std"], rtol=1e-6)
    np.testing.assert_allclose(model.dewhiten(z), params, rtol=0, atol=1e-6)
    tensor = model.whiten(torch.from_numpy(params))
    np.testing.assert_allclose(tensor, z, rtol=1e-6)
    np.testing.assert_allclose(model.dewhiten(tensor), params, rtol=0, atol=1e-6)


def test_whitening_errors(model):
    bare = model.with_whitening(None, None)
    assert bare.whitening is None
    assert model.whitening == "custom"
    with pytest.raises(ValueError, match="no whitening; see with_whitening"):
        bare.dewhiten(np.zeros(19))
    with pytest.raises(ValueError, match=r"\[\.\.\., 19\], got \[2, 62\]"):
        model.whiten(np.zeros((2, 62)))
    with pytest.raises(ValueError, match=r"param_std: expected \[19\] .*got \[18\]"):
        model.with_whitening(np.zeros(19), np.ones(18))
    with pytest.raises(ValueError, match="param_std: expected positive"):
        model.with_whitening(np.zeros(19), np.zeros(19))
    with pytest.raises(ValueError, match="both or neither"):
        model.with_whitening(np.zeros(19), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": np.zeros(20)}, r"mean: expected \[3N\] or \[3N, 1\].*got \[20\]"),
        ({"mean": np.zeros((7, 3))}, r"mean: .*got \[7, 3\]"),
        ({"mean": np.zeros(0)}, "at least one vertex"),
        ({"mean": np.full(21, np.nan)}, "mean: expected finite numbers, got 21"),
        ({"mean": ["a"] * 21}, "mean: expected an array of numbers"),
        (
            {"basis_shape": np.zeros((20, S))},
            r"basis_shape: expected \[21, components\].*7 vertices, got \[20, 4\]",
        ),
        ({"basis_expression": np.zeros(21)}, r"basis_expression: .*got \[21\]"),
        ({"basis_expression": np.full((21, E), np.inf)}, "basis_expression: expected finite numbers, got 63"),
        (
            {"param_mean": np.zeros(62)},
            r"param_mean: expected \[19\] \(12 \+ 4 shape \+ 3 expression\), got \[62\]",
        ),
        ({"param_std": None}, "both or neither"),
        ({"landmarks": [0, 7]}, "landmarks: expected vertex indices from 0 to 6, got 0 to 7"),
        ({"landmarks": [-1]}, "landmarks: .*got -1"),
        ({"landmarks": [[0, 1]]}, r"landmarks: expected \[L\], got \[1, 2\]"),
        ({"landmarks": [0.5]}, "landmarks: expected vertex indices"),
        ({"triangles": [[0, 1, 7]]}, "triangles: .*got 0 to 7"),
        ({"triangles": [[0, 1]]}, r"triangles: expected \[T, 3\], got \[1, 2\]"),
        ({"shape_names": ["a"]}, "shape_names: expected 4 names, one per component, got 1"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else None,
)
def test_what_does_not_fit_is_named(arrays, change, message):
    with pytest.raises(ValueError, match=message):
        MorphableModel(**arrays | change)
    named = dict.fromkeys(change, "/models/some.mat")
    if next(iter(change)) != "shape_names" and change.get("param_std", 0) is not None:
        with pytest.raises(ValueError, match=r"\(from /models/some\.mat\)"):
            MorphableModel(**arrays | change, sources=named)


def test_save_and_load(model, arrays, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert same(MorphableModel.load(path), model)
    assert MorphableModel.load(path, dtype=torch.float64).dtype == torch.float64
    bare = MorphableModel(arrays["mean"], arrays["basis_shape"], np.zeros((3 * N, 0)))
    bare.save(path)  # replaces
    assert same(MorphableModel.load(path), bare)
    model.to(torch.float64).subset([6, 2, 4]).save(path)
    assert same(MorphableModel.load(path), model.to(torch.float64).subset([6, 2, 4]))


def test_a_failed_save_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    model.save(path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        model.truncate(1, 1).save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert same(MorphableModel.load(path), model)


def test_load_errors_name_the_file(model, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="model"):
        MorphableModel.load(path)
    model.save(path)
    whole = path.read_bytes()
    for content in (b"", b"garbage", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            MorphableModel.load(path)
    save_file({"mean": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"model\.safetensors: expected a morphable model"):
        MorphableModel.load(path)
    tensors = {"mean": model.mean, "basis": model.basis, "landmarks": torch.tensor([99])}
    save_file(tensors, path, metadata={"format": "frnet.morphable/1", "num_shape": "4"})
    with pytest.raises(ValueError, match=r"landmarks \(from .*model\.safetensors\): .*got 99"):
        MorphableModel.load(path)
    save_file(tensors, path, metadata={"format": "frnet.morphable/1", "num_shape": "40"})
    with pytest.raises(ValueError, match="cannot hold 40"):
        MorphableModel.load(path)
