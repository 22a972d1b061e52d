"""Exported networks, run by ONNX Runtime, against torch."""

import copy
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from support.modules import with_statistics
from torch import nn

from frnet import geometry, ops
from frnet.export import decompositions, to_onnx
from frnet.export.onnx import _belonging
from frnet.models import Checkpoint, CheckpointError, convert, create_model, load_checkpoint
from frnet.models.damdnet import DenseMobileBlock
from frnet.models.mobilenet_v1 import SeparableConv2d
from frnet.morphable import MorphableModel
from frnet.nn import (
    Conv2dNormAct,
    DepthwiseConv2dNormAct,
    HierarchicalDepthwiseConv2d,
    MobileBlock,
    SpatialGroupEnhance,
    SqueezeExcite,
    find_depthwise,
    replace_depthwise,
)

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
    feed = {session.get_inputs()[0].name: crops.numpy()}
    return dict(zip(names, session.run(None, feed), strict=True))


def settle(model: torch.nn.Module) -> torch.nn.Module:
    """Running statistics of a batch of noise, so that values keep their size on the way."""
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(8, 3, 120, 120, generator=torch.Generator().manual_seed(4)))
    return model.eval()


def standard(path) -> None:
    """Raises for what another runtime may not know."""
    proto = onnx.load(path)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"}
    assert not proto.functions


def test_parameters_agree_on_photographs(shared, tmp_path):
    torch.manual_seed(0)
    model = settle(create_model("mobile_frnet"))
    path = tmp_path / "model.onnx"
    to_onnx(model, path)
    standard(path)
    for batch in (1, 17):
        crops = real_crops(shared, batch)
        with torch.inference_mode():
            expected = model(crops).numpy()
        (got,) = run(path, crops).values()
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


CHANNELS = 16
SE, SGE = SqueezeExcite(CHANNELS, activation="silu", gate="hardsigmoid"), SpatialGroupEnhance(4)
# What the networks are made of, each kind once as it is; stages fold their normalisations.
BLOCKS = {
    "separable": SeparableConv2d(CHANNELS, CHANNELS, 2),
    "mobile": MobileBlock(CHANNELS, CHANNELS, splits=1),
    "mobile with gates": MobileBlock(CHANNELS, CHANNELS, 2, 2, sge_groups=4, se_reduction=4),
    "dense mobile": DenseMobileBlock(CHANNELS, CHANNELS, 2, 2, first=True),
    "folded stages": nn.Sequential(
        Conv2dNormAct(CHANNELS, CHANNELS, 3, activation="hardswish").eval().fuse(),
        DepthwiseConv2dNormAct(CHANNELS, 5, 2, 2, gate=SE).eval().fuse(),
        DepthwiseConv2dNormAct(CHANNELS, 3, padding=2, dilation=2, bias=True, gate=SGE).eval().fuse(),
        HierarchicalDepthwiseConv2d(CHANNELS, gate=SGE).eval().fuse(),
        SqueezeExcite(CHANNELS, bias=False, names="senet"),
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name, tmp_path):
    """Another module than a network of the registry, by an example of its input."""
    torch.manual_seed(0)
    block = with_statistics(copy.deepcopy(BLOCKS[name])).eval()
    path = tmp_path / "block.onnx"
    to_onnx(block, path, example=torch.zeros(1, CHANNELS, 12, 12))
    standard(path)
    for batch in (1, 5):
        x = torch.randn(batch, CHANNELS, 12, 12)
        with torch.inference_mode():
            expected = block(x).numpy()
        (got,) = run(path, x).values()
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


class SEModule(nn.Module):
    """timm's, which is known by its name."""

    __module__ = "timm.layers.squeeze_excite"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.act = nn.Conv2d(channels, 4, 1), nn.ReLU()
        self.fc2, self.gate = nn.Conv2d(4, channels, 1), nn.Sigmoid()

    def forward(self, x):
        return x * self.gate(self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))))


class Foreign(nn.Module):
    """Somebody else's network: depthwise convolutions with and without company, and a gate."""

    def __init__(self) -> None:
        super().__init__()

        def depthwise(kernel_size, activation, **settings):
            conv = nn.Conv2d(8, 8, kernel_size, padding=kernel_size // 2, groups=8, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(8, **settings), activation)

        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.stages = nn.Sequential(
            depthwise(5, nn.SiLU()),
            SEModule(8),
            depthwise(3, nn.GELU()),
            nn.Conv2d(8, 8, 3, groups=8),
            depthwise(3, nn.ReLU6(), track_running_stats=False),
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, image, scale):
        return self.fc(self.stages(self.stem(image)).mean((2, 3))) * scale, image.mean()


@pytest.fixture
def foreign() -> tuple[nn.Module, nn.Module]:
    """One with frnet's ops and the one it was."""
    torch.manual_seed(0)
    theirs = with_statistics(Foreign()).eval()
    ours = replace_depthwise(theirs)
    parts = find_depthwise(theirs)
    assert all(part.replaced for part in parts)
    assert sorted(part.kind for part in parts) == 4 * ["depthwise_conv2d"] + ["squeeze_excite"]
    return ours, theirs


def test_a_replaced_model(foreign, tmp_path):
    ours, theirs = foreign
    path = tmp_path / "model.onnx"
    to_onnx(ours.double(), path, example=[torch.zeros(1, 3, 20, 16), torch.ones(1, 1)])
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float64}
    standard(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["image", "scale"]
    assert [value.name for value in session.get_outputs()] == ["output_0", "output_1"]
    for batch in (1, 6):
        image, scale = torch.randn(batch, 3, 20, 16), torch.rand(batch, 1)
        got = session.run(None, {"image": image.numpy(), "scale": scale.numpy()})
        for value, expected in zip(got, theirs(image, scale), strict=True):
            np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_decompositions_in_the_users_own_hands(foreign, tmp_path):
    """torch.export and torch.onnx.export, one after the other; and the program alone, without frnet's ops."""
    ours, theirs = foreign
    inputs = torch.randn(2, 3, 20, 16), torch.rand(2, 1)
    program = torch.export.export(ours, inputs).run_decompositions(decompositions())
    assert not any("frnet" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(*inputs), theirs(*inputs), rtol=1e-5, atol=1e-5)
    torch.onnx.export(program, dynamo=True, verbose=False).save(tmp_path / "model.onnx")
    standard(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    feed = {value.name: array.numpy() for value, array in zip(session.get_inputs(), inputs, strict=True)}
    np.testing.assert_allclose(session.run(None, feed)[0], theirs(*inputs)[0].detach().numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_is_printed(tmp_path):
    """No warning, log or note of torch or onnxscript, with all of Python's warnings on, and none after an error."""
    code = """
        import logging, sys, warnings
        import torch
        from frnet.export import to_onnx
        from frnet.nn import DepthwiseConv2d, HierarchicalDepthwiseConv2d
        model = torch.nn.Sequential(HierarchicalDepthwiseConv2d(8), DepthwiseConv2d(8, 3)).eval()
        to_onnx(model, sys.argv[1] + "/model.onnx", example=torch.zeros(1, 8, 9, 9))
        logging.getLogger("onnxscript").warning("heard again")
        warnings.warn("heard too")
    """
    run = subprocess.run(
        [sys.executable, "-W", "default", "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0
    assert run.stdout == ""
    heard = [line for line in run.stderr.splitlines() if line.strip()]
    assert [line.rpartition(" ")[2] for line in heard[:1]] == ["again"]
    assert heard[1].endswith("UserWarning: heard too")
    assert len(heard) <= 3  # the second, with its line of code


def test_without_fusing_a_double_module_stays_as_it_is(tmp_path):
    stage = DepthwiseConv2dNormAct(CHANNELS, 3, gate=SE).eval().double()
    to_onnx(stage, tmp_path / "model.onnx", fuse=False, example=torch.zeros(1, CHANNELS, 9, 9))
    assert {parameter.dtype for parameter in stage.parameters()} == {torch.float64}
    x = torch.randn(2, CHANNELS, 9, 9)
    (got,) = run(tmp_path / "model.onnx", x).values()
    with torch.inference_mode():
        np.testing.assert_allclose(got, stage(x.double()).numpy(), rtol=1e-4, atol=1e-5)


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
    other, example = nn.Identity().eval(), torch.zeros(1, 2)
    with pytest.raises(ValueError, match=r"to_onnx: Identity is no network of frnet.list_models\(\): give an example"):
        to_onnx(other, path)
    with pytest.raises(ValueError, match=r"to_onnx: Identity is no network .*: leave morphable out"):
        to_onnx(other, path, MODEL, example=example)
    assert not list(tmp_path.iterdir())
