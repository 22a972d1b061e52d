"""Exported networks, run by ONNX Runtime, against torch."""

import shutil

import numpy as np
import pytest
import torch
from support.torchvision_models import import_torchvision

from frnet import geometry, ops
from frnet.export import to_onnx
from frnet.export.onnx import _belonging
from frnet.models import Checkpoint, CheckpointError, convert, create_model, load_checkpoint
from frnet.morphable import MorphableModel

onnx = pytest.importorskip("onnx", reason="pip install '.[test]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install '.[test]'")
pytest.importorskip("onnxscript", reason="pip install '.[test]'")


def real_crops(shared, batch: int) -> torch.Tensor:
    """Of the eight sample photographs, repeated; each batch begins with others."""
    import cv2

    folder = shared / "aflw2000-3d-sample"
    truth = np.load(folder / "ground_truth.npz")
    images = [cv2.imread(str(folder / name)) for name in truth["names"]]
    assert all(image is not None for image in images)
    crops = np.stack([geometry.crop(image, roi) for image, roi in zip(images, truth["roi"], strict=True)])
    return torch.from_numpy(geometry.normalize(crops))[torch.arange(batch) % len(crops)]


def run(path, crops: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"crops": crops.numpy()}), strict=True))


def settle(model: torch.nn.Module) -> torch.nn.Module:
    """Running statistics of a batch of noise, so that values keep their size on the way."""
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(8, 3, 120, 120, generator=torch.Generator().manual_seed(4)))
    return model.eval()


@pytest.mark.parametrize("name", ["mobile_frnet", "damdnet", "mobilenet_v1_050", "mobilenet_v2", "resnext50_32x4d"])
def test_parameters_agree_on_photographs(name, shared, tmp_path):
    if name.startswith("resnext"):
        import_torchvision()
    torch.manual_seed(0)
    model = settle(create_model(name))
    path = tmp_path / "model.onnx"
    to_onnx(model, path)
    proto = onnx.load(path)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    assert not proto.functions
    for batch in (1, 17):
        crops = real_crops(shared, batch)
        with torch.inference_mode():
            expected = model(crops).numpy()
        (got,) = run(path, crops).values()
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_without_fusing_a_double_network_stays_as_it_is(tmp_path):
    torch.manual_seed(0)
    model = settle(create_model("mobilenet_v1", width=0.25)).double()
    to_onnx(model, tmp_path / "model.onnx", fuse=False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    crops = torch.randn(2, 3, 120, 120)
    (got,) = run(tmp_path / "model.onnx", crops).values()
    with torch.inference_mode():
        np.testing.assert_allclose(got, model(crops.double()).numpy(), rtol=1e-4, atol=1e-4)


def test_landmarks_and_vertices_of_a_trained_network(shared, tmp_path):
    checkpoint = load_checkpoint(shared / "3ddfa/weights/mb05_120x120.pth")
    assert isinstance(checkpoint, Checkpoint)
    model = MorphableModel.from_3ddfa_grid(
        shared / "3ddfa/bfm_grid64_basis.npz", landmarks=shared / "3ddfa/landmark_basis"
    )
    path = tmp_path / "model.onnx"
    to_onnx(checkpoint.model, path, model)
    for batch in (1, 17):
        crops = real_crops(shared, batch)
        with torch.inference_mode():
            whitened = checkpoint.model(crops)
        params = model.dewhiten(whitened)
        vertices = ops.reconstruct_vertices(params, model).numpy()
        vertices = geometry.crop_to_image(vertices, np.array([0, 0, 120, 120]))
        got = run(path, crops)
        assert list(got) == ["whitened_params", "params", "landmarks", "vertices"]
        np.testing.assert_allclose(got["whitened_params"], whitened, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got["params"] / model.param_std, params / model.param_std, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got["vertices"], vertices, rtol=0, atol=1e-2)
        np.testing.assert_allclose(got["landmarks"], vertices[:, model.landmarks], rtol=0, atol=1e-2)


def test_a_checkpoint_brings_its_whitening_and_its_basis(shared, tmp_path):
    weights, landmarks = shared / "3ddfa/weights/mb05_120x120.pth", shared / "3ddfa/landmark_basis"
    model = MorphableModel.from_3ddfa_landmarks(landmarks)
    v1 = MorphableModel.from_3ddfa_landmarks(landmarks, "v1")
    path = tmp_path / "model.onnx"
    alone = shutil.copy(weights, tmp_path)  # without the whitening that lies beside the published file
    with pytest.raises(CheckpointError, match=r"belongs to the whitening 3ddfa-v2; the one given \(morphable model\)"):
        to_onnx(load_checkpoint(alone), path, v1)
    convert(weights, tmp_path / "mb05.safetensors", morphable=model)
    checkpoint = load_checkpoint(tmp_path / "mb05.safetensors")
    ict = MorphableModel.from_ict_facekit(shared / "ict-facekit/ict_face_model_light.npz")
    with pytest.raises(CheckpointError, match=r"trained with the basis '3ddfa-landmarks' .*, the one given is 'ict"):
        to_onnx(checkpoint, path, ict)
    assert not path.exists()
    to_onnx(checkpoint, path, v1)
    crops = real_crops(shared, 2)
    got = run(path, crops)
    params = model.dewhiten(got["whitened_params"])
    np.testing.assert_allclose(got["params"] / model.param_std, params / model.param_std, rtol=1e-4, atol=1e-4)
    beside = _belonging(v1, load_checkpoint(weights))  # the one beside the weights, as in alignment
    np.testing.assert_array_equal(beside.param_mean, model.param_mean)


MODEL = MorphableModel(np.zeros(9), np.zeros((9, 3)), np.zeros((9, 2)))


def test_bad_arguments_are_named(tmp_path):
    model = create_model("mobilenet_v1", width=0.125)
    path = tmp_path / "model.onnx"
    with pytest.raises(RuntimeError, match=r"to_onnx: the network is in training: call eval\(\) first"):
        to_onnx(model, path)
    model.eval()
    with pytest.raises(ValueError, match=r"to_onnx: .*model\.pt must end in \.onnx"):
        to_onnx(model, tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match="to_onnx: there is no folder"):
        to_onnx(model, tmp_path / "nowhere" / "model.onnx")
    with pytest.raises(ValueError, match="to_onnx: morphable must have the whitening"):
        to_onnx(model, path, MODEL)
    whitened = MODEL.with_whitening(np.zeros(17), np.ones(17))
    with pytest.raises(ValueError, match="to_onnx: the network gives 62 parameters, morphable has 17"):
        to_onnx(model, path, whitened)
    assert not list(tmp_path.iterdir())
