"""A training run small enough for a test: a narrow MobileNetV1 on 64 drawn faces of 32 x 32 pixels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from frnet.train import TrainConfig, load_config

ROOT = Path(__file__).parents[2]
SMALL = (
    "model={name: mobilenet_v1, settings: {width: 0.25, input_size: 32}}",
    "data={count: 64, validation_count: 12}",
    "optimizer={kind: sgd, lr: 1e-3}",
    "schedule={kind: milestones, milestones: [2], warmup_epochs: 1}",
    "epochs=3",
    "batch_size=16",
    "hardware.workers=0",
    "logging={every_steps: 2, pictures: 3}",
)


def small_config(*overrides: str) -> TrainConfig:
    """What ``frnet train tiny`` would do, in a few seconds."""
    return load_config("tiny", [*SMALL, *overrides])


def small_command(out: Path, *overrides: str, options: Sequence[str] = ()) -> list[str]:
    """The same as a command of its own process."""
    settings = [part for override in (*SMALL, *overrides) for part in ("--set", override)]
    return [sys.executable, "-m", "frnet", "train", "tiny", "--out", str(out), *settings, *options]


def environment() -> dict[str, str]:
    """For such processes: this checkout, and one thread each, so that they do not wait for one another."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def run(command: list[str], timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, and gives what it printed; after the timeout it and its own processes are killed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), cwd=ROOT, start_new_session=True, **pipes) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def finished_run(out: Path, *overrides: str, options: Sequence[str] = ()) -> str:
    """A run in a process of its own, to its end; what it said."""
    result = run(small_command(out, *overrides, options=options))
    assert result.returncode == 0, result.stderr
    return result.stderr


def stored_tensors(out: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a run's state, by a name of its own."""
    found: dict[str, torch.Tensor] = {}

    def collect(value: object, name: str) -> None:
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, part in value.items():
                collect(part, f"{name}.{key}")

    collect(torch.load(out / "state.ckpt", weights_only=True)["tensors"], "")
    assert len(found) > 100
    return found
