"""Which morphable model a checkpoint belongs to: the same basis in all its forms, other ones, and files without any."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from frnet.models import (
    BasisIdentity,
    Checkpoint,
    CheckpointError,
    convert,
    create_model,
    load_checkpoint,
    save_checkpoint,
)
from frnet.morphable import MorphableModel


@pytest.fixture(scope="module")
def bfm(shared) -> MorphableModel:
    return MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis")


@pytest.fixture(scope="module")
def ict(shared) -> MorphableModel:
    return MorphableModel.from_ict_facekit(shared / "ict-facekit/ict_face_model_light.npz")


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(create_model("mobilenet_v1", width=0.125).eval())


def edited(model: MorphableModel, change) -> MorphableModel:
    """The model with what change(mean, shape, expression) makes of its arrays in place."""
    parts = [part.clone() for part in (model.mean, model.basis_shape, model.basis_expression)]
    change(*parts)
    return MorphableModel(*parts, landmarks=model.landmarks, name=model.name)


def difference(a: MorphableModel, b: MorphableModel) -> str | None:
    one, other = BasisIdentity.of(a), BasisIdentity.of(b)
    there, back = one.difference(other), other.difference(one)
    assert (there is None) == (back is None)
    return there


def test_forms_of_one_basis_are_the_same(shared, bfm, tmp_path):
    grids = [
        MorphableModel.from_3ddfa_grid(
            shared / "3ddfa/bfm_grid64_basis.npz", landmarks=shared / "3ddfa/landmark_basis", expression=expression
        )
        for expression in ("file", "landmarks")
    ]
    turned = grids[0].subset(torch.arange(grids[0].num_vertices).flip(0))  # the landmarks elsewhere, in their order
    bfm.save(tmp_path / "bfm.safetensors")
    loaded = MorphableModel.load(tmp_path / "bfm.safetensors", dtype=torch.float64)
    for form in (*grids, turned, grids[0].landmark_model(), loaded):
        assert difference(bfm, form) is None


def test_text_and_short_floats_are_the_same(shared, bfm, ict, rng):
    # The text has six decimals; what was rounded lies within half of the last one.
    def unrounded(mean, shape, expression):
        for part in (mean, shape, expression):
            part += torch.from_numpy(rng.uniform(-5e-7, 5e-7, part.shape)).float()

    assert difference(bfm, edited(bfm, unrounded)) is None
    # The OBJ files have text in centimetres, the .npz offsets in float16.
    folder = MorphableModel.from_ict_facekit(shared / "ict-facekit/FaceXModel")
    columns = [ict.expression_names.index(name) for name in folder.expression_names]
    same = MorphableModel(
        ict.mean, ict.basis_shape[:, :2], ict.basis_expression[:, columns], landmarks=ict.landmarks, name="ict"
    )
    assert difference(folder, same) is None


def swap(basis: torch.Tensor, a: int, b: int) -> None:
    basis[:, [a, b]] = basis[:, [b, a]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, s, e: m.mul_(1.05), "a landmark of the mean face lies"),
        (lambda m, s, e: m.view(-1, 3)[:, 2].add_(3000), "a landmark of the mean face lies 3% of the face's size"),
        (lambda m, s, e: s[:, 3].neg_(), "1 of 40 shape and 0 of 10 expression components move"),
        (lambda m, s, e: swap(e, 0, 1), "0 of 40 shape and 2 of 10 expression components move"),
        (lambda m, s, e: e.copy_(s[:, :10]), "0 of 40 shape and 10 of 10 expression components move"),
        (lambda m, s, e: s.mul_(1.05), "40 of 40 shape and 0 of 10"),
    ],
)
def test_another_basis_is_told_apart(bfm, change, message):
    assert difference(bfm, edited(bfm, change)).startswith(message)


def test_left_and_right_are_told_apart(ict):
    # Displacements for the left and for the right are equally long.
    left, right = (ict.expression_names.index(f"mouthSmile_{side}") for side in "LR")
    turned = edited(ict, lambda m, s, e: swap(e, left, right))
    assert difference(ict, turned) == "0 of 100 shape and 2 of 57 expression components move the landmarks otherwise"


def test_other_models_are_told_apart(bfm, ict):
    assert difference(bfm, ict) == "the numbers of coefficients differ"
    assert "of the face's size elsewhere" in difference(bfm, ict.truncate(40, 10))
    # What cannot be compared is not held against a model.
    assert difference(bfm, bfm.subset(range(10))) is None
    assert difference(bfm.subset(range(10)), ict.truncate(40, 10).subset(range(10))) is None


def test_it_travels_in_files(tmp_path, checkpoint, bfm):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, checkpoint, morphable=bfm)
    assert checkpoint.basis is None  # what was written is another object
    read = load_checkpoint(path)
    assert str(read.basis) == "'3ddfa-landmarks' (40 + 10 coefficients)"
    assert read.basis.difference(BasisIdentity.of(bfm)) is None
    np.testing.assert_array_equal(read.basis.landmarks, bfm.mean.double().reshape(-1, 3))
    save_checkpoint(tmp_path / "b.safetensors", read)
    assert load_checkpoint(tmp_path / "b.safetensors").basis.difference(read.basis) is None


def test_files_without_it_load_and_take_any_model(tmp_path, checkpoint, bfm, ict):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, checkpoint)
    with safetensors.safe_open(path, "pt") as file:
        assert not [name for name in (*file.metadata(), *file.keys()) if name.startswith("basis")]
    assert load_checkpoint(path).basis is None
    for morphable in (bfm, ict.truncate(40, 10)):
        assert create_model("mobilenet_v1", width=0.125, pretrained=path, morphable=morphable).training


def test_a_network_is_refused_another_basis(tmp_path, checkpoint, bfm, ict):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, checkpoint, morphable=bfm)
    trained = r"checkpoint .*a\.safetensors was trained with the basis '3ddfa-landmarks' \(40 \+ 10 coefficients\)"
    given = r", the one given is 'ict-face-model-light' \(40 \+ 10 coefficients\): a landmark of the mean face"
    other = ict.truncate(40, 10)
    with pytest.raises(CheckpointError, match=trained + given):
        create_model("mobilenet_v1", width=0.125, pretrained=path, morphable=other)
    with pytest.raises(CheckpointError, match=trained + r".*\(100 \+ 57 coefficients\): the numbers of coefficients"):
        create_model("mobilenet_v1", width=0.125, pretrained=path, morphable=ict)
    with pytest.raises(CheckpointError, match=trained + given):
        save_checkpoint(tmp_path / "b.safetensors", load_checkpoint(path), morphable=other)
    with pytest.raises(CheckpointError, match=trained + given):
        convert(path, tmp_path / "b.safetensors", morphable=other)
    assert not (tmp_path / "b.safetensors").exists()
    create_model("mobilenet_v1", width=0.125, pretrained=path, morphable=bfm)


def test_another_number_of_parameters(tmp_path, checkpoint, ict):
    with pytest.raises(CheckpointError, match=r"the mobilenet_v1 gives 62 parameters, the morphable .* takes 169"):
        save_checkpoint(tmp_path / "a.safetensors", checkpoint, morphable=ict)
    with pytest.raises(ValueError, match="create_model: damdnet is to give 62 parameters, the morphable model 'ict"):
        create_model("damdnet", morphable=ict)
    assert create_model("mobilenet_v1", 169, width=0.125, morphable=ict).fc.out_features == 169


def test_convert_remembers_it(tmp_path, shared, bfm):
    source = shared / "3ddfa/weights/mb05_120x120.pth"
    assert convert(source, tmp_path / "a.safetensors").basis is None
    assert convert(source, tmp_path / "a.safetensors", morphable=bfm).basis.name == "3ddfa-landmarks"
    assert load_checkpoint(tmp_path / "a.safetensors").basis.num_shape == 40


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ({"basis": "{"}, {}, "unusable metadata"),
        ({"basis": "[]"}, {}, "unusable metadata"),
        ({"basis": '{"name": "x", "num_shape": 41, "num_expression": 10}'}, {}, r"must be \[L, 3\] and \[51, 4\]"),
        ({}, {"basis.landmarks": torch.zeros(68)}, r"must be \[L, 3\] and \[50, 4\], got \[68\] and \[50, 4\]"),
        ({}, {"basis.landmarks": None}, "unusable metadata: 'basis.landmarks'"),
        (
            {"basis": '{"name": "x", "num_shape": 3, "num_expression": 1}'},
            {"basis.components": torch.zeros(4, 4)},
            r"the basis is 'x' \(3 \+ 1 coefficients\), the network gives 62 parameters",
        ),
    ],
)
def test_a_damaged_identity_is_named(tmp_path, checkpoint, bfm, metadata, tensors, message):
    save_checkpoint(tmp_path / "a.safetensors", checkpoint, morphable=bfm)
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata() | metadata
        tensors = {name: file.get_tensor(name) for name in file.keys()} | tensors  # noqa: SIM118
    tensors = {name: value for name, value in tensors.items() if value is not None}
    safetensors.torch.save_file(tensors, tmp_path / "b.safetensors", metadata)
    with pytest.raises(CheckpointError, match=rf"b\.safetensors.*{message}"):
        load_checkpoint(tmp_path / "b.safetensors")


def test_values_that_are_no_numbers_match_nothing(bfm):
    identity = BasisIdentity.of(bfm)
    for name in ("landmarks", "components"):
        parts = {"landmarks": identity.landmarks, "components": identity.components}
        parts[name] = np.full_like(parts[name], np.nan)
        assert BasisIdentity("x", 40, 10, **parts).difference(identity) is not None
        assert identity.difference(BasisIdentity("x", 40, 10, **parts)) is not None
