"""Processes, devices and precision of a run."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric

from frnet.env import describe

from .config import HardwareSection
from .config_files import ConfigError

__all__ = ["describe_environment", "deterministic_kernels", "open_fabric", "process_batch_size"]

_PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed", "float64": "64-true"}


@contextmanager
def open_fabric(section: HardwareSection) -> Iterator[Fabric]:
    """Start the processes that the configuration or ``torchrun`` asks for; each of them goes on inside.

    What was set up with it has to be gone by the end of the block, save in frames of an exception, which are cleared. A
    network in DistributedDataParallel that outlived the processes' group would destroy it with the interpreter's lock
    in its hand and wait for gloo's threads, one of which may be waiting for that lock.

    Raises:
        ConfigError: devices that this machine does not have, or a precision that they do not.
    """
    devices, nodes = section.devices, section.nodes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if section.precision == "float16" and (section.accelerator == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("hardware.precision: float16 needs CUDA; on the CPU take bfloat16")
    several = nodes > 1 or devices not in (1, "auto")
    try:
        fabric = Fabric(
            accelerator=section.accelerator,
            strategy="ddp" if several else "auto",
            devices=devices,
            num_nodes=nodes,
            precision=_PRECISIONS[section.precision],
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"hardware: {error}") from None
    begun = torch.distributed.is_available() and torch.distributed.is_initialized()
    fabric.launch()
    try:
        yield fabric
        fabric.barrier()  # what the first process writes is there for all of them
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        if fabric.world_size > 1 and not begun:  # gloo's threads must not outlive it
            gc.collect()
            torch.distributed.destroy_process_group()


def process_batch_size(batch_size: int, world: int) -> int:
    """Images of a step that each process takes.

    Raises:
        ConfigError: they cannot all take the same number.
    """
    if batch_size % world:
        raise ConfigError(f"batch_size: {batch_size} cannot be shared equally by {world} processes")
    return batch_size // world


def describe_environment(fabric: Fabric) -> dict[str, Any]:
    """What a run depends on beside its configuration: :func:`frnet.env.describe`, and what it runs on."""
    return {**describe(), "device": str(fabric.device), "processes": fabric.world_size}


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Whether torch's kernels give the same bits in every run, as frnet's always do."""
    fills, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    torch.backends.cudnn.benchmark = not wanted
    torch.utils.deterministic.fill_uninitialized_memory = False  # slow, and nothing reads such memory
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product on a device
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark = fills, benchmark
