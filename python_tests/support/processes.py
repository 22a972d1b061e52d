"""Two processes of data-parallel training on the CPU, and what each of them computes for the tests."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from frnet.models import create_model
from frnet.morphable import MorphableModel
from frnet.nn import (
    Conv2dNormAct,
    DepthwiseConv2dNormAct,
    FRNetLoss,
    HierarchicalDepthwiseConv2d,
    SpatialGroupEnhance,
    SqueezeExcite,
    replace_depthwise,
    synchronise_batch_norm,
)
from support.faces import faces
from support.op_tests import draw

PROCESSES = 2
TIMEOUT_S = 150

CONVERSIONS = {"ours": synchronise_batch_norm, "torch": nn.SyncBatchNorm.convert_sync_batchnorm}


class Case(NamedTuple):
    """A module before its conversion, what it is given, and how many images of that each process takes."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (8, 9, 7)
    batches: tuple[int, int] = (3, 2)
    dtype: torch.dtype = torch.float64
    conversion: str = "ours"
    offset: float = 3  # of the channels' means, in standard deviations
    layout: torch.memory_format = torch.contiguous_format

    def module(self) -> nn.Module:
        """In training and with parameters of its own, the same in every process."""
        torch.manual_seed(5)
        module = self.build().to(self.dtype).train()
        with torch.no_grad():
            for index, parameter in enumerate(module.parameters()):
                parameter.add_(draw(*parameter.shape, seed=100 + index).to(self.dtype), alpha=0.1)
        return module

    def tensors(self, result: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """The input of all processes, whose channels have means of their own, and a gradient of the result."""
        x = draw(sum(self.batches), *self.shape, seed=1) + self.offset * draw(self.shape[0], 1, 1, seed=2)
        x = x.to(self.dtype).contiguous(memory_format=self.layout)
        return x, draw(sum(self.batches), *result, seed=3).to(self.dtype)


def _network(name: str) -> Case:
    return Case(lambda: create_model(name, 16, width=0.25, input_size=40), (3, 40, 40))


def _chain() -> nn.Module:
    conv = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    return replace_depthwise(nn.Sequential(conv, nn.BatchNorm2d(8, momentum=None), nn.Hardswish()))


def _hierarchical(stride: int) -> nn.Module:
    return HierarchicalDepthwiseConv2d(8, 3, stride, splits=4, gate=SpatialGroupEnhance(2))


def _depthwise(gate: nn.Module | None = None, **settings) -> nn.Module:
    return DepthwiseConv2dNormAct(8, 3, stride=2, padding=1, activation="hardswish", gate=gate, **settings)


_STAGES = {
    "conv": lambda: Conv2dNormAct(8, 12, 3, stride=2, activation="silu"),
    "depthwise": lambda: _depthwise(bias=True),
    "depthwise_se": lambda: _depthwise(SqueezeExcite(8, rd_channels=4)),
    "depthwise_sge": lambda: _depthwise(SpatialGroupEnhance(2)),
    "hierarchical": lambda: _hierarchical(1),
    "hierarchical_stride": lambda: _hierarchical(2),
}

CASES: dict[str, Case] = {
    "norm": Case(lambda: nn.BatchNorm2d(8)),
    "norm_far_from_zero": Case(lambda: nn.BatchNorm2d(8), dtype=torch.float32, offset=100),
    "norm_cumulative": Case(lambda: nn.BatchNorm2d(8, momentum=None)),
    "norm_bare": Case(lambda: nn.BatchNorm2d(8, affine=False, track_running_stats=False)),
    "norm_one_empty": Case(lambda: nn.BatchNorm2d(8), batches=(0, 3)),
    "norm_one_value_each": Case(lambda: nn.BatchNorm2d(8), (8, 1, 1), (1, 1)),
    **{name: Case(build) for name, build in _STAGES.items()},
    "conv_1x1": Case(lambda: Conv2dNormAct(8, 12, activation="relu6"), (8, 8, 8)),
    "depthwise_cumulative": Case(lambda: _depthwise(momentum=None, affine=False)),
    "hierarchical_unchained": Case(lambda: HierarchicalDepthwiseConv2d(8, 5, (1, 2), splits=2)),
    "hierarchical_one_empty": Case(lambda: _hierarchical(1), batches=(3, 0)),
    "chain": Case(_chain),
    **{f"{name}_float32": Case(build, dtype=torch.float32) for name, build in _STAGES.items()},
    **{f"{name}_channels_last": Case(build, layout=torch.channels_last) for name, build in _STAGES.items()},
    "norm_channels_last": Case(lambda: nn.BatchNorm2d(8), layout=torch.channels_last),
    "norm_float32": Case(lambda: nn.BatchNorm2d(8), dtype=torch.float32),
    **{f"{name}_torch": Case(build, conversion="torch") for name, build in _STAGES.items()},
    **{
        name: _network(name)
        for name in ("damdnet", "mobile_frnet", "mobile_frnet_noattention", "mobilenet_v1", "mobilenet_v2")
    },
}


def step(case: Case, module: nn.Module, forward: Callable, images: slice, sizes: tuple[int, ...]) -> dict:
    """Results and gradients of one pass over some of a case's images; sizes: of one image's result."""
    x, upstream = (value[images] for value in case.tensors(sizes))
    x.requires_grad_()
    y = forward(x)
    y.backward(upstream)
    return {
        "channels_last": y.is_contiguous(memory_format=torch.channels_last),
        "y": y.detach(),
        "x.grad": x.grad,
        "gradients": {name: parameter.grad for name, parameter in module.named_parameters()},
        "buffers": {name: buffer.clone() for name, buffer in module.named_buffers()},
    }


def result_sizes(case: Case) -> tuple[int, ...]:
    """Of one image, found without touching the case's module."""
    with torch.no_grad():
        return tuple(case.module().eval()(case.tensors()[0]).shape[1:])


# Training: a network and the joint loss, whose balance is over all processes as well.
BATCH, STEPS = 4, 3


def network_and_loss() -> tuple[nn.Module, FRNetLoss]:
    torch.manual_seed(7)
    network = create_model("mobile_frnet", 16, width=0.25, input_size=40, dtype=torch.float64)
    return network, FRNetLoss(_morphable())


def _morphable() -> MorphableModel:
    _, _, mean, basis, param_mean, param_std = faces(1, 30, 4).on("cpu", torch.float64)
    return MorphableModel(mean, basis[:, :3], basis[:, 3:], param_mean=param_mean, param_std=param_std)


def train(network: nn.Module, criterion: FRNetLoss, images: slice) -> list[Tensor]:
    """Some steps on some of ``BATCH`` images; the factors of the balance."""
    optimiser = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)
    factors = []
    for number in range(STEPS):
        x, target = draw(BATCH, 3, 40, 40, seed=20 + number)[images], draw(BATCH, 16, seed=30 + number)[images]
        optimiser.zero_grad()
        parts = criterion(network(x), target)
        parts.loss.backward()
        optimiser.step()
        factors.append(parts.wpdc_factor)
    return factors


UNEQUAL = (slice(0, 5), slice(5, 8))


def balance(images: slice) -> Tensor:
    """The factor of FRNetLoss for some of eight predictions."""
    pred, target = draw(8, 16, seed=2)[images].requires_grad_(), draw(8, 16, seed=3)[images]
    return FRNetLoss(_morphable())(pred, target).wpdc_factor


def _trained(rank: int) -> dict:
    network, criterion = network_and_loss()
    model = DistributedDataParallel(synchronise_batch_norm(network))
    half = BATCH // PROCESSES
    factors = train(model, criterion, slice(rank * half, (rank + 1) * half))
    return {"factors": factors, "state": network.state_dict()}


def _balanced(rank: int) -> dict:
    factors = {"together": balance(UNEQUAL[rank])}
    if rank == 0:  # nobody answers
        with torch.no_grad():
            factors["alone"] = balance(UNEQUAL[0])
    return factors


def _in_groups_of_one(rank: int) -> dict:
    """A group of its own for each process, and a copy, which stays in it."""
    groups = [dist.new_group([other]) for other in range(PROCESSES)]
    case = CASES["hierarchical"]
    stage = nn.Sequential(synchronise_batch_norm(case.module(), groups[rank]))
    copied = torch.optim.swa_utils.AveragedModel(stage).module[0]
    same = copied.norm.process_group is copied.out_norm.process_group is groups[rank]
    return {"same_group": same, **step(case, copied, copied, _share(case, rank), result_sizes(case))}


def _share(case: Case, rank: int) -> slice:
    first = case.batches[0]
    return slice(0, first) if rank == 0 else slice(first, None)


def _synchronised(case: Case, rank: int) -> dict:
    sizes = result_sizes(case)
    module = CONVERSIONS[case.conversion](case.module())
    return step(case, module, module, _share(case, rank), sizes)


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=PROCESSES,
        timeout=datetime.timedelta(seconds=TIMEOUT_S // 2),
    )
    results = {name: _synchronised(case, rank) for name, case in CASES.items()}
    results["training"] = _trained(rank)
    results["balance"] = _balanced(rank)
    results["groups_of_one"] = _in_groups_of_one(rank)
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def run_processes(folder: Path) -> list[dict]:
    """What each process has found."""
    context = torch.multiprocessing.spawn(_work, (str(folder),), PROCESSES, join=False)
    end = time.monotonic() + TIMEOUT_S
    try:
        while not context.join(timeout=1):
            if time.monotonic() > end:
                raise TimeoutError(f"the processes have not finished in {TIMEOUT_S} s")
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
