"""replace_depthwise on small models: what it takes, what it leaves, and that the model stays the model."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from support.torchvision_models import import_timm, import_torchvision
from torch import nn

from frnet.nn import DepthwiseConv2d, SqueezeExcite, find_depthwise, replace_depthwise

CHANNELS = 8


def depthwise(kernel_size=3, **settings) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, kernel_size, groups=CHANNELS, **{"padding": 1, "bias": False} | settings)


def stage(activation: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(depthwise(), nn.BatchNorm2d(CHANNELS), activation or nn.ReLU6())


def image() -> torch.Tensor:
    return torch.randn(3, CHANNELS, 9, 11, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def assert_replaced(with_statistics, assert_same_steps):
    """Replaces, compares state dict and steps, and says for each convolution what is computed with it."""

    def check(model: nn.Module, x: torch.Tensor | None = None) -> list[str | None]:
        torch.manual_seed(0)
        with_statistics(model)
        ours = replace_depthwise(model)
        assert list(ours.state_dict()) == list(model.state_dict())
        assert [name for name, _ in ours.named_parameters()] == [name for name, _ in model.named_parameters()]
        assert_same_steps(ours, model, image() if x is None else x)
        return [part.function if part.norm else part.replaced and "alone" for part in find_depthwise(model)]

    return check


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (nn.ReLU, "relu"),
        (nn.ReLU6, "relu6"),
        (nn.Hardswish, "hardswish"),
        (nn.SiLU, "silu"),
        (nn.GELU, "none"),
        (nn.Identity, "none"),
    ],
)
def test_activations(activation, function, inplace, assert_replaced):
    takes = activation not in (nn.GELU, nn.Identity)
    assert assert_replaced(stage(activation(inplace=inplace) if takes else activation())) == [function]


@pytest.mark.parametrize(
    ("settings", "padding"),
    [
        ({"padding": 2}, (2, 2)),
        ({"kernel_size": (3, 5), "padding": (1, 2)}, (1, 2)),
        ({"kernel_size": (5, 3), "dilation": (1, 2), "padding": "same"}, (2, 2)),
        ({"padding": "valid"}, (0, 0)),
        ({"stride": (2, 1), "bias": True}, (1, 1)),
    ],
    ids=str,
)
def test_settings_of_the_convolution(settings, padding):
    model = nn.Sequential(depthwise(**settings), nn.BatchNorm2d(CHANNELS), nn.ReLU())
    ours = replace_depthwise(model)
    assert ours[0].padding == padding
    for training in (True, False):
        torch.testing.assert_close(ours.train(training)(image()), model.train(training)(image()), rtol=1e-5, atol=1e-5)


class Subclass(nn.Conv2d):
    pass


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, groups=CHANNELS), "16 output channels for 8 input channels"),
        (depthwise(padding_mode="reflect"), "padding_mode is reflect"),
        (depthwise(kernel_size=2, padding="same"), "'same' is not symmetric"),
        (Subclass(CHANNELS, CHANNELS, 3, groups=CHANNELS), "its class is Subclass"),
        (nn.utils.parametrizations.weight_norm(depthwise()), "its class is ParametrizedConv2d"),
        (depthwise(dtype=torch.complex64), "its dtype is torch.complex64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_left(conv, reason, caplog):
    model = nn.Sequential(nn.Identity(), conv)
    (part,) = find_depthwise(model)
    assert (part.name, part.replaced) == ("1", False)
    assert reason in part.reason
    with caplog.at_level("INFO", "frnet"):
        assert type(replace_depthwise(model)[1]) is type(conv)
    assert f"1 stays: {part.reason}" in caplog.text


def test_grouped_convolutions_are_none_of_ours():
    assert find_depthwise(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 8, 1))) == []


def test_modules_with_hooks_are_left_to_themselves(assert_replaced):
    calls = []

    def hook(module, inputs, output):
        calls.append(type(module).__name__)

    model = stage()
    model[0].register_forward_hook(hook)
    (part,) = find_depthwise(model)
    assert not part.replaced
    assert "hooks" in part.reason
    model = stage()
    model[1].register_forward_hook(hook)
    assert assert_replaced(model) == ["alone"]
    model = stage()
    model[2].register_forward_hook(hook)
    assert assert_replaced(model) == ["none"]
    assert {"BatchNorm2d", "ReLU6"} <= set(calls)


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, CHANNELS), nn.InstanceNorm2d(CHANNELS), nn.SyncBatchNorm(CHANNELS), nn.Identity()]
)
def test_other_normalisations_stay(norm, assert_replaced):
    assert assert_replaced(nn.Sequential(depthwise(), norm, nn.ReLU())) == ["alone"]


class Block(nn.Module):
    """Modules by name, and a forward."""

    def __init__(self, forward, **modules) -> None:
        super().__init__()
        self.flow = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.flow(self, x)


def block(forward, **modules) -> Block:
    modules = {"conv": depthwise(), "norm": nn.BatchNorm2d(CHANNELS), "act": nn.SiLU()} | modules
    return Block(forward, **modules)


def residual(self, x):
    return x + self.act(self.norm(self.conv(x)))


def functional(self, x):
    return torch.relu(self.norm(self.conv(x)))


def reads_the_convolution_twice(self, x):
    y = self.conv(x)
    return self.act(self.norm(y)) + y


def reads_the_normalisation_twice(self, x):
    y = self.norm(self.conv(x))
    return self.act(y) * y


def convolves_twice(self, x):
    return self.act(self.norm(self.conv(self.conv(x))))


def activates_twice(self, x):
    return self.act(self.norm(self.conv(self.act(x))))


def something_between(self, x):
    return self.act(self.norm(2 * self.conv(x)))


def depends_on_training(self, x):
    y = self.conv(x)
    return self.act(self.norm(y)) if self.training else self.act(y)


def depends_on_data(self, x):
    return self.act(self.norm(self.conv(x))) if x.abs().max() > 0 else x


def remembers(self, x):
    self.last = self.conv(x)
    return self.act(self.norm(self.last))


@pytest.mark.parametrize(
    ("forward", "function"),
    [
        (residual, "silu"),
        (functional, "none"),
        (reads_the_convolution_twice, "alone"),
        (reads_the_normalisation_twice, "none"),
        (convolves_twice, "alone"),
        (activates_twice, "none"),
        (something_between, "alone"),
        (depends_on_training, "alone"),
        (depends_on_data, "alone"),
    ],
)
def test_what_follows_is_read_from_the_forward(forward, function, assert_replaced):
    model = block(forward)
    if forward is functional:
        del model.act
    assert assert_replaced(model) == [function]


def test_following_a_forward_leaves_no_trace():
    model = block(remembers)
    replace_depthwise(model, inplace=True)
    assert not hasattr(model, "last")
    assert model.training


def test_a_convolution_that_its_owner_does_not_call():
    model = block(lambda self, x: nn.functional.conv2d(x, self.conv.weight, groups=CHANNELS))
    (part,) = find_depthwise(model)
    assert not part.replaced
    assert "does not call it" in part.reason


def test_lists_of_modules(assert_replaced):
    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.act(norm(conv(x)))
        return x

    lists = {
        "convs": nn.ModuleList([depthwise(), depthwise()]),
        "norms": nn.ModuleList([nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS)]),
    }
    assert assert_replaced(Block(forward, act=nn.ReLU(), **lists)) == ["none", "none"]  # act is called twice


def test_graph_modules(assert_replaced):
    assert assert_replaced(torch.fx.symbolic_trace(nn.Sequential(stage(), stage()))) == ["relu6", "relu6"]


def test_shared_modules(assert_replaced):
    act = nn.ReLU()
    assert assert_replaced(nn.Sequential(stage(act), stage(act))) == ["none", "none"]
    shared = stage()
    assert assert_replaced(nn.Sequential(shared, nn.ReLU(), shared)) == ["relu6"]
    conv = depthwise()
    model = nn.Sequential(nn.Sequential(conv, nn.BatchNorm2d(CHANNELS)), nn.Sequential(conv, nn.ReLU()))
    assert assert_replaced(model) == ["alone"]
    ours = replace_depthwise(model)
    assert ours[0][0] is ours[1][0]
    assert type(ours[0][0]) is DepthwiseConv2d


def test_the_model_itself():
    conv = depthwise()
    assert type(replace_depthwise(conv)) is DepthwiseConv2d
    assert type(conv) is nn.Conv2d
    gate = import_torchvision().ops.SqueezeExcitation(8, 4)
    assert type(replace_depthwise(gate)) is SqueezeExcite


def test_the_original_is_left_alone():
    model = stage()
    ours = replace_depthwise(model)
    assert [type(module) for module in model] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]
    assert not any("forward" in vars(module) for module in model)
    assert ours[0].weight is not model[0].weight
    find_depthwise(model)
    assert not any("forward" in vars(module) for module in model)


def test_inplace_shares_parameters_and_modules():
    model = stage()
    weight, norm = model[0].weight, model[1]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    assert replace_depthwise(model, inplace=True) is model
    assert model[0].weight is weight
    assert model[1] is norm
    before = weight.detach().clone()
    model(image()).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before)


def test_twice_is_once():
    model = replace_depthwise(stage())
    assert find_depthwise(model) == []
    conv = model[0]
    assert replace_depthwise(model, inplace=True)[0] is conv


def test_mode_and_frozen_parameters_are_kept():
    model = stage().eval()
    model[0].weight.requires_grad_(False)
    ours = replace_depthwise(model)
    assert not any(module.training for module in ours.modules())
    assert not ours[0].weight.requires_grad


def test_a_frozen_normalisation_stays_frozen(with_statistics):
    model = with_statistics(stage())
    ours = replace_depthwise(model)
    for m in (model, ours):
        m.train()
        for module in m.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    torch.testing.assert_close(ours(image()), model(image()), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours[1].running_mean, model[1].running_mean)


def test_statistics_can_be_taken_again(with_statistics):
    model = with_statistics(stage())
    ours = replace_depthwise(model)
    for m in (model, ours):
        torch.optim.swa_utils.update_bn([image(), 2 * image()], m)
    torch.testing.assert_close(ours.state_dict(), model.state_dict(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_stand_alone(how, with_statistics):
    ours = with_statistics(replace_depthwise(nn.Sequential(stage(), stage(nn.SiLU())))).eval()
    if how == "deepcopy":
        copied = copy.deepcopy(ours)
    elif how == "pickle":
        copied = pickle.loads(pickle.dumps(ours))
    else:
        file = io.BytesIO()
        torch.save(ours, file)
        file.seek(0)
        copied = torch.load(file, weights_only=False)
    expected = ours(image())
    assert torch.equal(copied(image()), expected)
    with torch.no_grad():
        copied[0][1].weight.mul_(2)
        copied[1][1].running_mean.add_(1)
    assert torch.equal(ours(image()), expected)
    assert not torch.equal(copied(image()), expected)


def test_functional_call(with_statistics):
    ours = with_statistics(replace_depthwise(stage())).eval()
    state = {name: value + 1 for name, value in ours.state_dict().items()}
    changed = copy.deepcopy(ours)
    changed.load_state_dict(state)
    assert torch.equal(torch.func.functional_call(ours, state, (image(),)), changed(image()))


def timm_gates():
    layers = import_timm().layers
    return [
        (layers.SqueezeExcite(CHANNELS), ""),
        (layers.SqueezeExcite(CHANNELS, bias=False, act_layer=nn.SiLU, gate_layer="hard_sigmoid"), ""),
        (layers.SqueezeExcite(CHANNELS, add_maxpool=True), "maximum"),
        (layers.SqueezeExcite(CHANNELS, norm_layer=nn.BatchNorm2d), "normalisation"),
        (layers.SqueezeExcite(CHANNELS, act_layer=nn.GELU), "GELU"),
    ]


@pytest.mark.parametrize("i", range(5))
def test_gates(i, assert_replaced):
    gate, reason = timm_gates()[i]
    model = nn.Sequential(stage(), gate)
    part = find_depthwise(model)[1]
    assert (part.kind, part.replaced, reason in part.reason) == ("squeeze_excite", not reason, True)
    if reason:
        assert type(replace_depthwise(model)[1]) is type(gate)
    else:
        assert_replaced(model)
        assert isinstance(replace_depthwise(model)[1], SqueezeExcite)


def test_gates_with_hooks_are_left():
    gate = import_torchvision().ops.SqueezeExcitation(8, 4)
    gate.fc1.register_forward_hook(lambda *_: None)
    (part,) = find_depthwise(nn.Sequential(gate))
    assert not part.replaced
    assert "hooks" in part.reason


def test_timms_normalisation_with_activation(assert_replaced):
    layers = import_timm().layers
    for settings, function in (
        ({"act_layer": nn.SiLU}, "silu"),
        ({"apply_act": False}, "none"),
        ({"act_layer": nn.GELU}, "alone"),
        ({"drop_layer": nn.Dropout}, "alone"),
    ):
        model = nn.Sequential(depthwise(), layers.BatchNormAct2d(CHANNELS, **settings))
        if "drop_layer" in settings:
            model[1].drop.p = 0.0
        assert assert_replaced(model) == [function]
    model = nn.Sequential(depthwise(), layers.BatchNormAct2d(CHANNELS, apply_act=False), nn.ReLU())
    assert assert_replaced(model) == ["relu"]
    ours = replace_depthwise(nn.Sequential(depthwise(), layers.BatchNormAct2d(CHANNELS))).eval()
    plain = nn.BatchNorm2d.forward(ours[1], DepthwiseConv2d.forward(ours[0], image()))
    ours[1].act = nn.Tanh()
    torch.testing.assert_close(ours(image()), torch.tanh(plain))
