"""What people do with single members of a replaced chain: always what the model that was not replaced makes of it."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.fusion import fuse_conv_bn_eval

from frnet.nn import replace_depthwise
from frnet.nn.chain import ChainedDepthwiseConv2d

CHANNELS = 8


def stage(activation: nn.Module | None = None) -> nn.Sequential:
    conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
    return nn.Sequential(conv, nn.BatchNorm2d(CHANNELS), activation or nn.SiLU())


def image(seed: int = 2) -> torch.Tensor:
    return torch.randn(3, CHANNELS, 9, 11, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    """The members by name, and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.act = stage()

    def forward(self, x, *, scale=1.0):
        return scale * x + self.act(self.bn(self.conv(x)))


@pytest.fixture
def pair(with_statistics) -> tuple[nn.Sequential, nn.Sequential]:
    """A chain of ours and the modules it was made of."""
    torch.manual_seed(0)
    theirs = with_statistics(stage())
    ours = replace_depthwise(theirs)
    assert computes_as_one(ours)
    return ours, theirs


def computes_as_one(model: nn.Module) -> bool:
    """Whether one op of frnet, and none of torch's normalisations or activations, does it all."""
    training = model.training
    model.eval()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, torch.no_grad():
        model(image())
    model.train(training)
    names = {event.key for event in profile.key_averages()}
    return not any("batch_norm" in name or "silu" in name for name in names)


def assert_same(ours: nn.Module, theirs: nn.Module, trainings: tuple[bool, ...] = (True, False)) -> None:
    for training in trainings:
        results = [model.train(training)(image()) for model in (ours, theirs)]
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def pickled(module: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(module))


def saved(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("member", range(3))
@pytest.mark.parametrize("how", [copy.deepcopy, pickled, saved])
def test_a_copied_member_is_that_layer_alone(how, member, pair):
    copies = [how(model[member]) for model in pair]
    assert_same(*copies)
    for model, twin in zip(pair, copies, strict=True):  # and put back
        model[member] = twin
    assert_same(*pair)


@pytest.mark.parametrize("member", range(3))
def test_a_copied_member_brings_nobody(member, pair):
    twin = copy.deepcopy(pair[0][member])
    assert len(pickle.dumps(twin)) < len(pickle.dumps(pair[1][member])) + 1000
    with torch.no_grad():
        for value in twin.state_dict().values():
            value.add_(1)
    assert computes_as_one(pair[0])
    assert_same(*pair)


@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, pickled, saved])
def test_a_copied_model_computes_as_one(how, pair):
    twin = how(pair[0])
    assert computes_as_one(twin)
    assert_same(twin, pair[1])
    assert computes_as_one(how(nn.ModuleDict({"stage": pair[0]}))["stage"])


def fused(model: nn.Sequential) -> None:
    model.eval()
    model[0], model[1] = fuse_conv_bn_eval(model[0], model[1]), nn.Identity()


def fused_and_kept(model: nn.Sequential) -> None:
    """Nobody does that, but it means something."""
    model[0] = fuse_conv_bn_eval(model.eval()[0], model[1])


def exchange(member: int, make: Callable[[], nn.Module]) -> Callable[[nn.Sequential], None]:
    def change(model: nn.Sequential) -> None:
        model[member] = make()

    return change


def other_norm() -> nn.Module:
    norm = nn.BatchNorm2d(CHANNELS)
    nn.init.constant_(norm.running_var, 3.0)
    return norm


def deleted(model: nn.Sequential) -> None:
    del model[1]


def own_forward(member: int) -> Callable[[nn.Sequential], None]:
    def change(model: nn.Sequential) -> None:
        model[member].forward = torch.tanh

    return change


class Doubled(nn.Module):
    def forward(self, value):
        return 2 * value


CHANGES = {
    "fused": fused,
    "fused and kept": fused_and_kept,
    "other convolution": exchange(0, nn.Identity),
    "other normalisation": exchange(1, other_norm),
    "other kind of normalisation": exchange(1, lambda: nn.GroupNorm(2, CHANNELS)),
    "no normalisation": exchange(1, nn.Identity),
    "other activation": exchange(2, nn.Tanh),
    "inserted": lambda model: model.insert(1, nn.Tanh()),
    "inserted behind": lambda model: model.insert(2, nn.Tanh()),
    "in front": lambda model: model.insert(0, nn.Tanh()),
    "appended": lambda model: model.append(nn.Tanh()),
    "deleted": deleted,
    "turned round": lambda model: model.insert(0, model.pop(2)),
    "convolution's forward": own_forward(0),
    "normalisation's forward": own_forward(1),
    "activation's forward": own_forward(2),
    "other class": lambda model: setattr(model[2], "__class__", nn.Tanh),
    "pruned convolution": lambda model: prune.l1_unstructured(model[0], "weight", 0.5),
    "pruned normalisation": lambda model: prune.l1_unstructured(model[1], "weight", 0.5),
    "parametrised convolution": lambda model: parametrize.register_parametrization(model[0], "weight", Doubled()),
    "parametrised normalisation": lambda model: parametrize.register_parametrization(model[1], "bias", Doubled()),
    "hook on the convolution": lambda model: model[0].register_forward_hook(lambda m, x, y: y + 1),
    "hook on the normalisation": lambda model: model[1].register_forward_pre_hook(lambda m, x: (x[0] * 2,)),
    "hook on the activation": lambda model: model[2].register_forward_hook(lambda m, x, y: -y),
    "hook on the model": lambda model: model.register_forward_hook(lambda m, x, y: -y),
    "other stride": lambda model: setattr(model[0], "stride", (2, 2)),
    "frozen": lambda model: model[1].requires_grad_(False),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_member(change, pair):
    for model in pair:
        change(model)
    trainings = (False,) if change in (fused, fused_and_kept) else (True, False)
    assert_same(*pair, trainings)
    with torch.no_grad():  # and the model as it is then
        if not prune.is_pruned(pair[1]):  # which torch cannot copy
            assert_same(*map(copy.deepcopy, pair), trainings)


TAKEN = {
    "convolution": lambda model: model[0],
    "normalisation": lambda model: model[1],
    "activation": lambda model: model[2],
    "front": lambda model: model[:2],
    "children": lambda model: nn.Sequential(*list(model.children())[:-1]),
    "end": lambda model: model[1:],
    "all": lambda model: nn.Sequential(*model),
    "something between": lambda model: nn.Sequential(model[0], nn.Tanh(), model[1], model[2]),
    "twice": lambda model: nn.Sequential(model, *model),
}


@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN)
def test_a_taken_member(take, pair):
    """Used elsewhere, also while the model stays what it is."""
    assert_same(*map(take, pair))
    assert_same(*pair)
    assert computes_as_one(pair[0])


def test_intermediate_results(pair):
    """A hook set later sees what it would have seen."""
    seen = [[], []]
    for model, results in zip(pair, seen, strict=True):
        for module in model:
            module.register_forward_hook(lambda m, x, y, results=results: results.append(y.clone()))
    assert_same(*pair)
    assert len(seen[0]) == 6
    torch.testing.assert_close(*seen, rtol=1e-5, atol=1e-5)


def test_a_class_of_its_own(with_statistics):
    torch.manual_seed(0)
    theirs = with_statistics(Block())
    ours = replace_depthwise(theirs)
    assert computes_as_one(ours)
    for model in (ours, theirs):
        model.bn = copy.deepcopy(model.bn)
    assert_same(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(ours(image(), scale=2.0), theirs(image(), scale=2.0), rtol=1e-5, atol=1e-5)


def test_a_forward_that_calls_them_otherwise(with_statistics):
    theirs = with_statistics(Block())
    ours = replace_depthwise(theirs)
    for model in (ours, theirs):
        model.forward = lambda x, model=model: model.bn(torch.tanh(model.conv(x)))
    assert_same(ours, theirs)
    theirs = with_statistics(Block())
    ours = replace_depthwise(theirs)
    for model in (ours, theirs):
        model.__class__ = Turned
    assert_same(ours, theirs)


def test_a_forward_that_leaves_one_out(with_statistics):
    """What nobody asked for then is an error."""
    model = replace_depthwise(with_statistics(Optional()))
    model(image())
    model.activates = False
    with pytest.raises(RuntimeError, match="forward of Optional no longer calls what followed conv when"):
        model(image())
    model.activates = True
    model(image())


class Optional(Block):
    activates = True

    def forward(self, x):
        y = self.bn(self.conv(x))
        return self.act(y) if self.activates else y


class Turned(Block):
    def forward(self, x):
        return self.bn(self.act(self.conv(x)))


def test_an_error_on_the_way_leaves_nothing_behind(pair):
    for model in pair:
        handle = model[2].register_forward_pre_hook(lambda module, x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(image())
        handle.remove()
    assert_same(*(model[0] for model in pair))
    assert_same(*pair)


def test_torch_fx(pair):
    """A traced model is another one, whose leaves are called one by one."""
    traced = torch.fx.symbolic_trace(pair[0])
    assert_same(traced, torch.fx.symbolic_trace(pair[1]))
    graph_module = replace_depthwise(torch.fx.symbolic_trace(copy.deepcopy(pair[1])))
    assert computes_as_one(graph_module)
    twin = copy.deepcopy(graph_module)
    assert_same(twin, pair[1])


def test_compiled_and_exported_it_is_one_op(pair):
    ours = pair[0].eval()
    torch.compiler.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(image()), ours(image()))
    program = torch.export.export(nn.Sequential(ours), (image(),))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("frnet" in name for name in called) == 1
    assert not any("silu" in name or "batch_norm" in name for name in called)
    torch.testing.assert_close(program.module()(image()), ours(image()))


def test_several_threads(pair):
    """At once, in evaluation: nobody's forward ends another's chain halfway."""
    ours, theirs = (nn.Sequential(*[model] * 3).eval() for model in pair)
    expected = [theirs(image(seed)).detach() for seed in range(4)]
    worst = []

    def work(seed: int) -> None:
        with torch.no_grad():
            distances = [float((ours(image(seed)) - expected[seed]).abs().max()) for _ in range(50)]
        worst.append(max(distances))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 4
    assert max(worst) < 1e-4


def test_the_text_names_what_is_behind(pair):
    assert isinstance(pair[0][0], ChainedDepthwiseConv2d)
    assert "batch_norm and activation=silu behind it" in repr(pair[0])
