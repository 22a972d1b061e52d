"""Two processes with synchronised normalisations do what one does with their batches one behind the other."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from support import processes
from support.op_tests import CallsOfOps
from support.processes import CASES
from support.tolerances import assert_close
from torch import Tensor, nn

from frnet.models import create_model
from frnet.nn import (
    Conv2dNormAct,
    DepthwiseConv2dNormAct,
    HierarchicalDepthwiseConv2d,
    SyncBatchNorm2d,
    replace_depthwise,
    synchronise_batch_norm,
)

ACTIVATIONS = {
    "none": nn.Identity(),
    "relu6": nn.ReLU6(),
    "hardswish": nn.Hardswish(),
    "silu": nn.SiLU(),
}
NETWORKS = ["damdnet", "mobile_frnet", "mobile_frnet_noattention", "mobilenet_v1", "mobilenet_v2"]
STAGES = ["conv", "depthwise", "depthwise_se", "depthwise_sge", "hierarchical", "hierarchical_stride"]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[dict]:
    """What each of the two processes has found, by case."""
    return processes.run_processes(tmp_path_factory.mktemp("processes"))


def in_plain_torch(module: nn.Module, x: Tensor) -> Tensor:
    """A stage by torch's convolution, ``nn.BatchNorm2d`` and activation."""
    if isinstance(module, HierarchicalDepthwiseConv2d):
        y = module.out_norm(split_by_split(module, x))
    elif isinstance(module, (Conv2dNormAct, DepthwiseConv2dNormAct)):
        conv = module.conv
        groups = len(conv.weight) if isinstance(module, DepthwiseConv2dNormAct) else 1
        v = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, groups=groups)
        y = ACTIVATIONS[module.activation](module.norm(v))
    else:
        return module(x)
    gate = getattr(module, "gate", None)
    return y if gate is None else gate(y)


def split_by_split(module: HierarchicalDepthwiseConv2d, x: Tensor) -> Tensor:
    conv, norm, splits = module.conv, module.norm, module.splits
    norm.num_batches_tracked += 1
    statistics = [value.chunk(splits) for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)]
    results = []
    for i, (part, weight) in enumerate(zip(x.chunk(splits, 1), conv.weight.chunk(splits), strict=True)):
        if results and conv.stride == (1, 1):
            part = part + results[-1]
        v = F.conv2d(part, weight, None, conv.stride, conv.padding, groups=len(weight))
        v = F.batch_norm(v, *(value[i] for value in statistics), True, norm.momentum, norm.eps)
        results.append(ACTIVATIONS[module.activation](v))
    return torch.cat(results, 1)


def in_one_process(name: str, images: slice = slice(None)) -> dict:
    """What plain torch finds for the whole batch of a case; a network, of stages that are compared by themselves."""
    case = CASES[name]
    module = case.module()
    sizes = processes.result_sizes(case)
    return processes.step(case, module, lambda x: in_plain_torch(module, x), images, sizes)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_do_what_one_does(name, both):
    shares = [process[name] for process in both]
    whole = in_one_process(name)
    deep = name in NETWORKS  # fifty normalisations, each of which makes up for the spread of the one before

    def close(actual, expected, kind):
        if deep:
            scale = max(1e-3, float(expected.abs().max()))
            torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * scale)
        else:
            assert_close(actual, expected, kind)

    close(torch.cat([share["y"] for share in shares]), whole["y"], "forward")
    close(torch.cat([share["x.grad"] for share in shares]), whole["x.grad"], "gradient")
    for parameter, expected in whole["gradients"].items():
        close(sum(share["gradients"][parameter] for share in shares), expected, "gradient")
    for share in shares:
        assert share["buffers"].keys() == whole["buffers"].keys()
        for buffer, expected in whole["buffers"].items():
            if expected.is_floating_point():
                close(share["buffers"][buffer], expected, "forward")
            else:
                assert torch.equal(share["buffers"][buffer], expected)


def test_the_layout_stays_as_it_is(both):
    for name, case in CASES.items():
        if case.layout is torch.channels_last:
            assert all(process[name]["channels_last"] for process in both), name


def test_the_batches_of_the_cases_differ():
    """Else statistics of each process alone would pass too."""
    for name in ("norm", "conv", "depthwise_sge", "hierarchical"):
        alone = in_one_process(name, slice(0, 3))
        together = in_one_process(name)
        difference = (alone["y"] - together["y"][:3]).abs().max()
        assert difference > 0.1, name


def test_training_takes_the_steps_of_one_process(both):
    network, criterion = processes.network_and_loss()
    start = copy.deepcopy(network.state_dict())
    factors = processes.train(network, criterion, slice(None))
    for process in both:
        found = process["training"]
        torch.testing.assert_close(found["factors"], factors, rtol=1e-9, atol=0)
        assert found["state"].keys() == network.state_dict().keys()
        for name, expected in network.state_dict().items():
            torch.testing.assert_close(found["state"][name], expected, rtol=1e-9, atol=1e-10)
    for name, value in network.state_dict().items():
        if name.endswith("conv.weight"):
            assert float((value - start[name]).abs().max()) > 1e-5, name


def test_the_balance_of_the_loss_is_that_of_all_samples(both):
    together = processes.balance(slice(None))
    alone = processes.balance(processes.UNEQUAL[0])
    for process in both:
        torch.testing.assert_close(process["balance"]["together"], together, rtol=1e-12, atol=0)
    assert float((together / alone - 1).abs()) > 1e-3
    torch.testing.assert_close(both[0]["balance"]["alone"], alone, rtol=0, atol=0)


def test_a_group_of_one_process_is_left_to_itself(both):
    """Bit for bit, also in a copy of the module, which belongs to the same group."""
    case = CASES["hierarchical"]
    sizes = processes.result_sizes(case)
    for process, images in zip(both, (slice(0, case.batches[0]), slice(case.batches[0], None)), strict=True):
        module = case.module()
        expected = processes.step(case, module, module, images, sizes)
        found = process["groups_of_one"]
        assert found.pop("same_group")
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["norm", *STAGES, "conv_1x1"])
def test_one_process_gives_the_same_bits(name):
    case = CASES[name]
    sizes = processes.result_sizes(case)
    module, converted = case.module(), synchronise_batch_norm(case.module())
    expected = processes.step(case, module, module, slice(None), sizes)
    found = processes.step(case, converted, converted, slice(None), sizes)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    x, _ = case.tensors()
    assert torch.equal(converted.eval()(x), module.eval()(x))


@pytest.mark.parametrize("name", ["mobile_frnet", "mobilenet_v1"])
def test_evaluation_and_fusing_after_conversion(name, with_statistics):
    network = with_statistics(create_model(name, 16, width=0.25, input_size=40)).eval()
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    expected, fused = network(x), network.fuse()(x)
    synchronise_batch_norm(network)
    assert torch.equal(network(x), expected)
    assert torch.equal(network.fuse()(x), fused)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_conversion_keeps_everything(kind):
    norm = kind(4, eps=0.1, momentum=None, affine=False, track_running_stats=True).eval()
    shared = kind(4)
    calls = []
    shared.register_forward_hook(lambda *_: calls.append(1))
    model = nn.ModuleDict({"a": norm, "b": nn.Sequential(shared, nn.ReLU()), "c": shared})
    parameters, buffers = list(model.parameters()), list(model.buffers())
    keys = list(model.state_dict())
    converted = synchronise_batch_norm(model)
    assert converted is model
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(a is b for a, b in zip(model.buffers(), buffers, strict=True))
    assert [type(model[name]) for name in "ac"] == [SyncBatchNorm2d] * 2
    assert model["b"][0] is model["c"]
    one = model["a"]
    assert (one.eps, one.momentum, one.affine, one.track_running_stats, one.training) == (0.1, None, False, True, False)
    assert model["c"].training
    model["c"](torch.ones(2, 4, 1, 1))
    assert calls == [1]


def test_conversion_of_a_norm_itself():
    norm = nn.BatchNorm2d(4)
    assert type(synchronise_batch_norm(norm)) is SyncBatchNorm2d
    assert synchronise_batch_norm(norm).process_group is None


def test_what_is_derived_is_left_alone():
    class Frozen(nn.BatchNorm2d):
        pass

    model = synchronise_batch_norm(nn.Sequential(Frozen(4), nn.BatchNorm1d(4)))
    assert [type(part) for part in model] == [Frozen, nn.BatchNorm1d]


def test_a_chain_stays_one(with_statistics):
    """Whichever comes first, the convolution goes on computing what stands behind it."""
    first = with_statistics(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), nn.ReLU6()))
    second = copy.deepcopy(first)
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = copy.deepcopy(first)(x)
    for model in (synchronise_batch_norm(replace_depthwise(first)), replace_depthwise(synchronise_batch_norm(second))):
        with CallsOfOps() as calls:
            torch.testing.assert_close(model(x), expected)
        assert list(calls.arguments) == [torch.ops.frnet.depthwise_conv2d_bn_act.default]


def test_the_state_dict_is_that_of_torch():
    ours, theirs = SyncBatchNorm2d(4, 1e-3, 0.2), nn.BatchNorm2d(4, 1e-3, 0.2)
    theirs(torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
