"""Checkpoints: what loads, what is refused and in which words, and that nothing in a file is run."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from frnet.models import Checkpoint, CheckpointError, convert, create_model, load_checkpoint, save_checkpoint
from frnet.morphable import MorphableModel, Whitening, load_whitening
from frnet.weights import choose_whitening, find_whitening


@pytest.fixture(scope="module")
def published(shared):
    return shared / "3ddfa/weights/mb05_120x120.pth"


@pytest.fixture(scope="module")
def v1_whitening(shared):
    return shared / "3ddfa/train.configs/param_whitening.pkl"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return create_model("mobilenet_v1", width=0.125).eval()


def write_3ddfa(path, network, version: int = 1, **changes):
    """A file as 3DDFA (1) or 3DDFA_V2 (2) writes it; a change to None leaves the tensor out."""
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    if version == 2:
        state = {name.replace(".fc.", ".fc_param."): value for name, value in state.items()}
        state["module.fc_lm.weight"], state["module.fc_lm.bias"] = torch.zeros(136, 128), torch.zeros(136)
    for name, value in changes.items():
        state["module." + name.replace("__", ".")] = value
    torch.save({"epoch": 1, "state_dict": {k: v for k, v in state.items() if v is not None}}, path)
    return path


def same_weights(a, b) -> bool:
    return all(torch.equal(a.state_dict()[name], value) for name, value in b.state_dict().items())


def test_published_checkpoint_loads(published):
    checkpoint = load_checkpoint(published)
    assert checkpoint.source_format == "3ddfa_v2"
    assert checkpoint.architecture == "mobilenet_v1"
    assert checkpoint.model.config.width == 0.5
    assert (checkpoint.num_params, checkpoint.input_size) == (62, 120)
    assert not checkpoint.model.training
    assert find_whitening(checkpoint) == published.resolve().with_name("param_mean_std_62d_120x120.pkl")


@pytest.mark.parametrize(("version", "source_format"), [(1, "3ddfa"), (2, "3ddfa_v2")])
def test_both_formats_of_3ddfa_load(tmp_path, network, version, source_format):
    checkpoint = load_checkpoint(write_3ddfa(tmp_path / "a.pth.tar", network, version))
    assert checkpoint.source_format == source_format
    assert same_weights(checkpoint.model, network)


def test_batch_counters_may_be_absent_and_half_becomes_float(tmp_path, network):
    state = {k: v.half() for k, v in network.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "a.pth")  # and a plain state dict will do
    assert load_checkpoint(tmp_path / "a.pth").model.fc.weight.dtype == torch.float32


def test_safetensors_keep_everything(tmp_path, network, rng):
    whitening = Whitening(rng.normal(size=62), rng.uniform(0.5, 2, 62))
    written = Checkpoint(network, whitening, "3ddfa_v2", licence="CC0-1.0")
    save_checkpoint(tmp_path / "a.safetensors", written)
    read = load_checkpoint(tmp_path / "a.safetensors")
    assert same_weights(read.model, network)
    np.testing.assert_array_equal(read.whitening.mean, whitening.mean)
    np.testing.assert_array_equal(read.whitening.std, whitening.std)
    assert (read.source_format, read.licence, read.normalisation) == (
        "3ddfa_v2",
        "CC0-1.0",
        written.normalisation,
    )
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["config"])["width"] == 0.125
    assert json.loads(metadata["normalisation"]) == {"mean": 127.5, "scale": 128.0, "channel_order": "BGR"}
    assert metadata["input_size"] == "120"
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_same_checkpoint_is_the_same_bytes(tmp_path, network, grid):
    """Also in another process, whose hash tables have another order."""
    files = [tmp_path / f"{index}.safetensors" for index in range(6)]
    for path in files[:5]:
        save_checkpoint(path, Checkpoint(network), morphable=grid)
    code = f"from frnet.models import *; save_checkpoint({str(files[5])!r}, load_checkpoint({str(files[0])!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert len({path.read_bytes() for path in files}) == 1
    models = [tmp_path / f"model{index}.safetensors" for index in range(5)]
    for path in models:
        grid.save(path)
    assert len({path.read_bytes() for path in models}) == 1


def _nothing(graph, inputs):
    return graph


def _averaged(network):
    average = torch.optim.swa_utils.AveragedModel(network)
    average.update_parameters(network)
    return average


def _inner_compiled(network):
    network.dw2_1 = torch.compile(network.dw2_1, backend=_nothing)
    return network


WRAPPERS = {
    "compiled": lambda network: torch.compile(network, backend=_nothing),
    "parallel": nn.DataParallel,
    "parallel compiled": lambda network: nn.DataParallel(torch.compile(network, backend=_nothing)),
    "compiled parallel": lambda network: torch.compile(nn.DataParallel(network), backend=_nothing),
    "average": _averaged,
    "average of parallel": lambda network: _averaged(nn.DataParallel(network)),
    "a part compiled": _inner_compiled,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrapped_networks_are_the_networks(tmp_path, network, wrap):
    """Saved by torch or by us, with the names that torch.compile and data parallelism give to what they wrap."""
    plain = copy.deepcopy(network)
    wrapped = wrap(network)
    torch.save(wrapped.state_dict(), tmp_path / "a.pth")
    torch.save({"state_dict": wrapped.state_dict()}, tmp_path / "b.pth")
    checkpoint = Checkpoint(wrapped)
    assert (checkpoint.architecture, checkpoint.num_params, checkpoint.input_size) == ("mobilenet_v1", 62, 120)
    save_checkpoint(tmp_path / "c.safetensors", checkpoint)
    save_checkpoint(tmp_path / "plain.safetensors", Checkpoint(plain))
    for name in ("a.pth", "b.pth", "c.safetensors"):
        assert same_weights(load_checkpoint(tmp_path / name).model, plain)
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()
    # Files that were written before names were made plain.
    state = {f"model.{name}": value for name, value in wrapped.state_dict().items()}
    with safetensors.safe_open(tmp_path / "plain.safetensors", "pt") as file:
        safetensors.torch.save_file(state, tmp_path / "d.safetensors", file.metadata())
    assert same_weights(load_checkpoint(tmp_path / "d.safetensors").model, plain)


def test_one_tensor_under_two_names(tmp_path, network):
    state = network.state_dict()
    torch.save(state | {"module.fc.bias": state["fc.bias"]}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: it holds fc\.bias twice"):
        load_checkpoint(tmp_path / "a.pth")


def test_a_failed_write_leaves_the_old_file(tmp_path, network, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, Checkpoint(network))
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, Checkpoint(network, licence="other"))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_convert_takes_the_whitening_beside_the_file(tmp_path, published):
    convert(published, tmp_path / "mb05.safetensors", licence="MIT")
    converted = load_checkpoint(tmp_path / "mb05.safetensors")
    expected = load_whitening(published.with_name("param_mean_std_62d_120x120.pkl"))
    np.testing.assert_allclose(converted.whitening.mean, expected.mean)
    assert converted.source_format == "3ddfa_v2"
    assert converted.licence == "MIT"
    assert same_weights(converted.model, load_checkpoint(published).model)


def test_convert_without_any_whitening_says_none(tmp_path, network):
    source = write_3ddfa(tmp_path / "a.pth", network)
    assert convert(source, tmp_path / "a.safetensors").whitening is None


@pytest.mark.parametrize(
    "layout", ["x.pkl", "configs/x.pkl", "train.configs/x.pkl", "../configs/x.pkl", "../train.configs/x.pkl"]
)
def test_whitening_is_found_where_it_is_published(tmp_path, network, v1_whitening, layout):
    (tmp_path / "weights").mkdir()
    source = write_3ddfa(tmp_path / "weights/a.pth", network)
    assert find_whitening(load_checkpoint(source)) is None
    place = (source.parent / layout).resolve().with_name("param_whitening.pkl")
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(v1_whitening.read_bytes())
    assert find_whitening(load_checkpoint(source)) == place


def test_a_checkpoint_belongs_to_one_whitening(tmp_path, network, published, v1_whitening):
    with pytest.raises(CheckpointError, match=r"mb05.*3ddfa_v2 checkpoint.*whitening 3ddfa-v2.*is 3ddfa-v1"):
        convert(published, tmp_path / "x.safetensors", whitening=v1_whitening)
    v2_whitening = published.with_name("param_mean_std_62d_120x120.pkl")
    v1 = write_3ddfa(tmp_path / "v1.pth", network)
    with pytest.raises(CheckpointError, match=r"3ddfa checkpoint.*whitening 3ddfa-v1.*is 3ddfa-v2"):
        convert(v1, tmp_path / "x.safetensors", whitening=v2_whitening)
    with pytest.raises(CheckpointError, match=r"gives 62 parameters, the whitening .* has 70"):
        convert(v1, tmp_path / "x.safetensors", whitening=(np.zeros(70), np.ones(70)))
    assert not (tmp_path / "x.safetensors").exists()


def test_one_rule_for_a_whitening(tmp_path, published, shared, v1_whitening):
    """What is given, what the file holds, what lies near it, the morphable model's own; by whomever it is asked for."""
    from frnet.align import FaceAligner
    from frnet.export.onnx import _belonging

    model = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis", "v2")
    shifted = model.param_mean.numpy() + 0.5, model.param_std.numpy()
    other = model.with_whitening(*shifted)
    alone = tmp_path / "alone.pth"
    alone.write_bytes(published.read_bytes())
    convert(alone, tmp_path / "held.safetensors", whitening=shifted)
    for file, given, morphable, source in (
        (alone, shifted, model, "argument: a pair (mean, std)"),
        (tmp_path / "held.safetensors", None, model, f"checkpoint: {tmp_path / 'held.safetensors'}"),
        (published, None, other, f"file: {published.resolve().with_name('param_mean_std_62d_120x120.pkl')}"),
        (alone, None, other, "morphable model"),
    ):
        checkpoint = load_checkpoint(file)
        chosen = choose_whitening(checkpoint, given, morphable)
        assert chosen.source == source
        wanted = model.param_mean.numpy() + (0 if source.startswith("file") else 0.5)
        np.testing.assert_allclose(chosen.whitening.mean, wanted, rtol=1e-6)
        aligner = FaceAligner(checkpoint, morphable, given)
        assert aligner.whitening_source == source
        np.testing.assert_allclose(aligner.morphable.param_mean, wanted, rtol=1e-6)
        if given is None:
            np.testing.assert_allclose(_belonging(morphable, checkpoint).param_mean, wanted, rtol=1e-6)
    assert choose_whitening(load_checkpoint(alone), None, model.with_whitening(None, None)) is None
    assert choose_whitening(load_checkpoint(alone)) is None
    v1 = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis", v1_whitening)
    with pytest.raises(CheckpointError, match=r"whitening 3ddfa-v2; the one given \(morphable model\) is 3ddfa-v1"):
        choose_whitening(load_checkpoint(alone), None, v1)


class Payload:
    """Unpickled carelessly, this would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("dump", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))])
def test_nothing_in_a_file_is_run(tmp_path, dump):
    dump({"state_dict": Payload(tmp_path / "written")}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil.pth cannot be read safely"):
        load_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dw5_6__bn_dw__weight": None}, "it lacks dw5_6.bn_dw.weight"),
        ({"foo": torch.zeros(3)}, "it also holds foo"),
        (
            {"dw6__conv_dw__weight": torch.zeros(128, 1, 5, 5)},
            r"dw6.conv_dw.weight is \[128, 1, 5, 5\], wanted \[128, 1, 3, 3\]",
        ),
        (
            {"dw6__conv_dw__weight": torch.full((128, 1, 3, 3), torch.nan)},
            "dw6.conv_dw.weight holds values that are not finite",
        ),
        (
            {"fc__weight": None, "fc__bias": None},
            "looks like a mobilenet_v1, but has no fc.weight or fc_param.weight",
        ),
        ({"conv1__weight": torch.zeros(4)}, r"conv1.weight is \[4\]"),
    ],
)
def test_wrong_weights_are_named(tmp_path, network, changes, message):
    path = write_3ddfa(tmp_path / "wrong.pth", network, **changes)
    with pytest.raises(CheckpointError, match=r"wrong\.pth.*" + message):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({"conv1.weight": torch.zeros(64, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(1)}, "a ResNet"),
        ({"features.0.0.weight": torch.zeros(1)}, "torchvision's MobileNetV2"),
        ({"whatever": torch.zeros(1)}, "its first tensor is whatever"),
    ],
)
def test_another_architecture_is_named(tmp_path, state, kind):
    torch.save({"state_dict": state}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=f"other.pth is not a mobilenet_v1.*{kind}"):
        load_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 but no archive"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_named(tmp_path, content, suffix):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\."):
        load_checkpoint(path)


def test_truncated_and_foreign_files(tmp_path, network, published):
    cut = tmp_path / "cut.pth"
    cut.write_bytes(published.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"cut.pth cannot be read safely"):
        load_checkpoint(cut)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"list.pth holds no state dict"):
        load_checkpoint(tmp_path / "list.pth")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match=r"plain.safetensors is safetensors, but not an frnet checkpoint"):
        load_checkpoint(tmp_path / "plain.safetensors")
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*nowhere.pth: no such file"):
        load_checkpoint(tmp_path / "nowhere.pth")


def test_unusable_metadata(tmp_path, network):
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint(network))
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for key, value in [("architecture", "mobilenet_v9"), ("config", "{"), ("config", '{"depth": 3}')]:
        safetensors.torch.save_file(tensors, tmp_path / "b.safetensors", metadata | {key: value})
        with pytest.raises(CheckpointError, match=r"b.safetensors has unusable metadata"):
            load_checkpoint(tmp_path / "b.safetensors")


def test_where_a_checkpoint_may_be_written(tmp_path, network):
    with pytest.raises(ValueError, match=r"must end in .safetensors"):
        save_checkpoint(tmp_path / "a.pth", Checkpoint(network))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_checkpoint(tmp_path / "none/a.safetensors", Checkpoint(network))
