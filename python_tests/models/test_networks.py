"""Every network of the registry: sizes, the published table, the interface they share, and the inference form."""

import copy
from pathlib import Path

import pytest
import torch
from plain_network import PlainMobileFRNet
from support.torchvision_models import import_torchvision

from frnet.models import (
    Checkpoint,
    CheckpointError,
    count_ops,
    create_model,
    list_models,
    load_checkpoint,
    save_checkpoint,
)
from frnet.models import complexity as count
from frnet.models.damdnet import DenseMobileBlock
from frnet.models.mobilenet_v1 import SeparableConv2d
from frnet.models.published import PUBLISHED
from frnet.nn import MobileBlock

NAMES = [
    "damdnet",
    "densenet121",
    "mobile_frnet",
    "mobile_frnet_noattention",
    "mobilenet_v1",
    "mobilenet_v1_050",
    "mobilenet_v2",
    "resnext50_32x4d",
]
OWN = [name for name in NAMES if name not in ("densenet121", "resnext50_32x4d")]


def make(name: str, **config) -> torch.nn.Module:
    if name not in OWN:
        import_torchvision()
    torch.manual_seed(0)
    return create_model(name, **config)


def settled(name: str, **config) -> torch.nn.Module:
    """In evaluation, with running statistics and affine parameters of no special kind."""
    model = make(name, **config)
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.7, 1.3),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return model.eval()


def crops(batch: int, size: int = 120) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(2))


def test_the_registry_has_them_all():
    assert list_models() == sorted(NAMES)


# FACTS of the comparison: parameters in millions, multiply-adds in thousand millions, and how far those may be off.
@pytest.mark.parametrize(
    ("name", "params", "macs", "share"),
    [
        ("mobile_frnet", 2.60, 0.120, 0.07),
        ("mobile_frnet_noattention", 2.40, 0.110, 0.03),
        ("mobilenet_v2", 2.38, 0.109, 0.03),
        ("resnext50_32x4d", 23.11, 1.319, 0.03),
        ("densenet121", 7.02, 0.800, 0.03),
        ("damdnet", 2.755, 0.125, 0.03),
        ("mobilenet_v1", 3.271, 0.1834, 0.001),  # as thop counts it
        ("mobilenet_v1_050", 0.850, 0.0495, 0.001),
    ],
)
def test_the_published_counts(name, params, macs, share):
    model = make(name)
    cost = count(model)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.params / 1e6 == pytest.approx(params, abs=0.005)
    assert cost.macs / 1e9 == pytest.approx(macs, rel=share)


@pytest.mark.parametrize("name", NAMES)
def test_fuse_leaves_fewer_ops(name):
    model = make(name).eval()
    assert count_ops(model.fuse()) < count_ops(model)


def test_ops_of_the_fused_mobile_frnet():
    """By hand: of 17 blocks expansion, ReLU6, the multi-scale stage with its gate, projection and sum; 7 shortcuts that
    change the shape, 4 of them behind a copy of every other pixel; 7 channel gates; convolution and ReLU6 of stem and
    head; mean; linear layer."""
    assert count_ops(make("mobile_frnet").eval().fuse()) <= 17 * 5 + 7 + 4 + 7 + 2 * 2 + 2


def test_ops_of_known_layers():
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(inplace=True)]
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5))  # flattening is a view
    model[1].eval()
    assert count_ops(model, input_size=6) == 4
    assert [module.training for module in (model, *model)] == [True, True, False, True, True, True]
    norm = model[1]
    assert torch.equal(norm.running_mean, torch.zeros(8))
    assert norm.num_batches_tracked == 0


def test_multiply_adds_of_known_layers():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)
    )
    cost = count(model, input_size=6)
    assert [layer.macs for layer in cost.layers] == [8 * 27 * 36, 4 * 8 * 36, 8 * 36 * 5]
    assert [layer.params for layer in cost.layers] == [8 * 27 + 8, 16, 8 * 36 * 5 + 5]
    assert cost.layers[0].output == (8, 6, 6)
    assert model.training


@pytest.mark.parametrize("name", NAMES)
def test_one_interface(name):
    model = make(name, num_params=10).eval()
    with torch.inference_mode():
        assert model(crops(2)).shape == (2, 10)
        assert model(crops(1)[:0]).shape == (0, 10)
    with pytest.raises(
        ValueError, match=rf"{model.architecture}: x must be \[batch, 3, 120, 120\], got \[2, 3, 64, 64\]"
    ):
        model(crops(2, 64))
    with pytest.raises(TypeError, match=r"x must be normalised crops in torch\.float32, got torch\.uint8"):
        model(torch.zeros(2, 3, 120, 120, dtype=torch.uint8))
    with pytest.raises(TypeError, match=rf"{model.architecture}: x is torch\.float64, the weights are torch\.float32"):
        model(crops(1).double())
    with pytest.raises(TypeError, match=r"x must be a torch\.Tensor, got ndarray"):
        model(crops(1).numpy())


@pytest.mark.parametrize("name", NAMES)
def test_fuse_gives_the_same_numbers(name):
    model = settled(name)
    fused = model.fuse()
    with torch.inference_mode():
        expected = model(crops(3))
        torch.testing.assert_close(fused(crops(3)), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        assert torch.equal(model(crops(3)), expected)  # the network itself is as it was
    if name in OWN:
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    with pytest.raises(RuntimeError, match=r"fuse\(\) folds the running statistics"):
        model.train().fuse()


# What networks are made of; compiling whole ones takes minutes, and finds nothing that these do not.
BLOCKS = {
    "plain": lambda: MobileBlock(16, 16, 1, splits=1),
    "in splits": lambda: MobileBlock(16, 16, 1, sge_groups=8),
    "in splits, with gates": lambda: MobileBlock(16, 24, stride=2, sge_groups=8, se_reduction=16),
    "dense": lambda: DenseMobileBlock(16, 24, 2, 6, first=True),
    "separable": lambda: SeparableConv2d(16, 24, 2),
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_blocks_compiled_without_a_graph_break(block, training):
    """The same result, gradients and running statistics as without."""
    torch.manual_seed(0)
    block = block().train(training)
    other = copy.deepcopy(block)
    x = torch.randn(3, 16, 15, 15)
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    results = [module(x) for module in (compiled, other)]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    for result in results:
        result.square().sum().backward()
    for mine, theirs in zip(block.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(block.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["damdnet", "mobile_frnet", "mobilenet_v1"])  # one for each kind of block
@torch.no_grad()
def test_exported_with_a_dynamic_batch(name):
    model = settled(name)
    program = torch.export.export(model, (crops(3),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    exported = program.module()
    for batch in (1, 3, 17):
        torch.testing.assert_close(exported(crops(batch)), model(crops(batch)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_mobile_frnet_is_the_network_in_plain_layers(training):
    model = settled("mobile_frnet").double()
    plain = PlainMobileFRNet().double().load_from(model)
    model.train(training), plain.train(training)
    x = crops(2).double()
    got, expected = model(x), plain(x)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn(2, 62, generator=torch.Generator().manual_seed(3)).double()
    got.backward(upstream)
    expected.backward(upstream)
    # Of a split, the share of the channels that is its own.
    for ours, theirs, share in (
        (model.stem.conv.weight, plain.stem[0].weight, slice(None)),
        (model.layers[3][1].project.conv.weight, plain.layers[3][1].project[0].weight, slice(None)),
        (model.layers[3][0].se.conv_reduce.weight, plain.layers[3][0].se.conv_reduce.weight, slice(None)),
        (model.layers[2][1].depthwise.gate.weight, plain.layers[2][1].depthwise.gate.weight, slice(None)),
        (model.layers[6][0].depthwise.conv.weight, plain.layers[6][0].depthwise.convs[1].weight, slice(240, 480)),
    ):
        torch.testing.assert_close(ours.grad[share], theirs.grad, rtol=1e-7, atol=1e-9)
    if training:
        mine = model.layers[4][1].depthwise.norm.running_var[:144]
        torch.testing.assert_close(mine, plain.layers[4][1].depthwise.norms[0].running_var, rtol=1e-9, atol=0)


def test_zero_init_makes_blocks_their_shortcuts():
    model = make("mobile_frnet", width=0.25, zero_init_residual=True)
    block = model.layers[2][1]
    x = torch.randn(2, block.expand.conv.in_channels, 15, 15)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", ["mobile_frnet", "mobilenet_v2", "damdnet"])
def test_width_and_input_size(name):
    model = make(name, width=0.5, input_size=64, num_params=12).eval()
    assert model(crops(2, 64)).shape == (2, 12)
    assert count(model).params < count(make(name)).params / 2


@pytest.mark.parametrize(
    ("name", "config", "error", "message"),
    [
        ("mobile_frnet", {"splits": 5}, ValueError, "mobile_frnet: splits must divide the expanded channels"),
        ("mobile_frnet", {"sge_groups": 7}, ValueError, "mobile_frnet: sge_groups must divide the expanded channels"),
        ("mobile_frnet", {"se_position": "input"}, ValueError, "se_position must be 'expanded' or 'output'"),
        ("mobile_frnet", {"se_reduction": 0}, ValueError, "se_reduction must be an int >= 1, got 0"),
        ("mobile_frnet", {"width": 0}, ValueError, r"mobile_frnet: width must be in \(0, 8\], got 0"),
        ("mobile_frnet", {"input_size": -1}, ValueError, "mobile_frnet: input_size must be an int >= 1"),
        ("mobile_frnet", {"num_params": 0}, ValueError, "mobile_frnet: num_params must be an int >= 1, got 0"),
        ("mobile_frnet_noattention", {"attention": True}, TypeError, "means attention=False, got attention=True"),
        ("mobile_frnet", {"depth": 3}, TypeError, "mobile_frnet has no setting 'depth'; it has attention"),
        ("mobile_frnett", {}, ValueError, "there is no model 'mobile_frnett'; did you mean 'mobile_frnet'"),
        ("damdnet", {"se_reduction": -1}, ValueError, "damdnet: se_reduction must be an int >= 1, got -1"),
        ("mobile_frnet", {"attention": "no"}, ValueError, "mobile_frnet: attention must be True or False, got 'no'"),
        ("mobile_frnet", {"zero_init_residual": 1}, ValueError, "zero_init_residual must be True or False, got 1"),
        ("mobilenet_v2", {"zero_init_residual": "yes"}, ValueError, "mobilenet_v2: zero_init_residual must be True"),
        ("mobile_frnet", {"splits": 4.0}, ValueError, r"mobile_frnet: splits must be an int >= 1, got 4\.0"),
        ("mobilenet_v2", {"width": "1"}, ValueError, r"mobilenet_v2: width must be in \(0, 8\], got '1'"),
        ("mobilenet_v1", {"width": float("nan")}, ValueError, r"mobilenet_v1: width must be in \[0.*, 4\], got nan"),
        ("mobilenet_v1_050", {"input_size": 60.5}, ValueError, r"input_size must be an int >= 1, got 60\.5"),
        ("damdnet", {"num_params": True}, ValueError, "damdnet: num_params must be an int >= 1, got True"),
        ("damdnet", {"num_params": "62"}, ValueError, "damdnet: num_params must be an int >= 1, got '62'"),
        ("mobile_frnet", {"dtype": torch.int32}, TypeError, "dtype must be a floating type of torch, got torch.int32"),
        ("mobile_frnet", {"dtype": "float32"}, TypeError, "dtype must be a floating type of torch, got 'float32'"),
        ("MobileNet_V1", {}, ValueError, "there is no model 'MobileNet_V1'; did you mean 'mobilenet_v1'"),
        ("resnext50_32x4d", {"num_params": 0}, ValueError, "num_params must be an int >= 1, got 0"),
        ("mobile_frnet", {"input_size": 32}, ValueError, "input_size must be at least 33 with spatial gates"),
        ("damdnet", {"input_size": 32}, ValueError, "damdnet: input_size must be at least 33 with spatial gates"),
        ("densenet121", {"input_size": 28}, ValueError, "densenet121: input_size must be at least 29, got 28"),
    ],
)
def test_bad_configs_are_named_at_construction(name, config, error, message):
    if name in NAMES and name not in OWN:
        import_torchvision()
    with pytest.raises(error, match=message):
        create_model(name, **config)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("damdnet", 33),
        ("densenet121", 29),
        ("mobile_frnet", 33),
        ("mobile_frnet_noattention", 1),
        ("mobilenet_v1", 1),
        ("mobilenet_v2", 1),
        ("resnext50_32x4d", 1),
    ],
)
def test_the_smallest_input(name, size):
    model = make(name, input_size=size).eval()
    assert torch.isfinite(model(crops(2, size))).all()


def test_copies_are_networks_of_their_own():
    model = settled("mobile_frnet", width=0.25)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.fc.bias += 1
    torch.testing.assert_close(other(crops(1)), model(crops(1)) + 1)


@pytest.mark.parametrize("name", ["mobile_frnet_noattention", "mobilenet_v2", "damdnet"])
def test_weights_travel_in_files(name, tmp_path):
    model = settled(name, width=0.25)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(model))
    loaded = create_model(name, width=0.25, pretrained=path)
    assert loaded.training
    assert torch.equal(loaded.eval()(crops(2)), model(crops(2)))
    assert torch.equal(load_checkpoint(path).model(crops(2)), model(crops(2)))


def test_files_of_other_networks_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(make("mobile_frnet", width=0.25)))
    with pytest.raises(CheckpointError, match="holds a mobile_frnet, wanted damdnet"):
        create_model("damdnet", width=0.25, pretrained=path)
    with pytest.raises(CheckpointError, match=r"a mobile_frnet with width=0\.25, wanted width=1\.0"):
        create_model("mobile_frnet", pretrained=path)
    with pytest.raises(CheckpointError, match="with attention=True, wanted attention=False"):
        create_model("mobile_frnet_noattention", width=0.25, pretrained=path)
    with pytest.raises(CheckpointError, match="with num_params=62, wanted num_params=70"):
        create_model("mobile_frnet", 70, width=0.25, pretrained=path)


def test_the_documented_table_is_what_is_counted():
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
    table = next(part for part in page.split("\n\n") if part.startswith("| name | parameters, M |"))
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == list_models()
    for name, params, published_params, macs, published_macs, ops, fused_ops in rows:
        model, known = make(name).eval(), PUBLISHED.get(name)
        cost = count(model)
        assert (params, macs) == (f"{cost.params / 1e6:.3f}", f"{cost.macs / 1e9:.4f}")
        assert (ops, fused_ops) == (str(count_ops(model)), str(count_ops(model.fuse())))
        wanted = ("", "") if known is None else (f"{known.params:.2f}", f"{known.macs:.3f}")
        assert (published_params, published_macs) == wanted
