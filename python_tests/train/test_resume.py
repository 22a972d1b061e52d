"""Runs that are killed, stopped and shared by processes: the same parameters come out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support.training import environment, finished_run, run, small_command, stored_tensors

# Long enough to be killed in the middle of an epoch; with all that has a state.
LONG = (
    "data={count: 480, validation_count: 12}",  # thirty steps an epoch
    "optimizer={kind: adamw, lr: 1e-3}",
    "loss={kind: frnet, balance: gradient, resample: 10}",
    "ema={decay: 0.9}",
    "epochs=2",
    "checkpoint.every_steps=4",
    "hardware.workers=1",
)


STEPS = 60


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    """The drawn faces of all runs here."""
    return f"data.cache={tmp_path_factory.mktemp('faces')}"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    finished_run(out, *LONG, cache)
    return stored_tensors(out)


def start_and_wait_for_state(
    out: Path, cache: str, states: int = 1, options: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """A run that has written so many states."""
    before = {state_file(out)}
    process = subprocess.Popen(
        small_command(out, *LONG, cache, options=options),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline, seen = time.monotonic() + 600, set(before)
    while len(seen) < len(before) + states:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "no state was written"
        seen.add(state_file(out))
        time.sleep(0.002)
    return process


def state_file(out: Path) -> tuple[int, int] | None:
    """Which file the state is in; every one that is written is another."""
    try:
        status = (out / "state.ckpt").stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_killed_stopped_and_resumed_it_gives_the_same_bits(tmp_path, cache, undisturbed):
    """SIGKILL right behind the second state, in the middle of the first epoch; then asked to stop, as a terminal asks:
    all its processes at once, those that read data too. (Both signals that ask are in test_stop.py.)
    """
    out = tmp_path / "run"
    start_and_wait_for_state(out, cache, states=2).kill()
    time.sleep(0.5)
    killed = torch.load(out / "state.ckpt", weights_only=True)["step"]
    assert 0 < killed < STEPS

    process = start_and_wait_for_state(out, cache, options=["--resume"])
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert f"going on after step {killed} of {STEPS}" in said
    assert "--resume goes on from there" in said
    stopped = torch.load(out / "state.ckpt", weights_only=True)["step"]
    assert killed < stopped < STEPS

    assert f"going on after step {stopped} of {STEPS}" in finished_run(out, *LONG, cache, options=["--resume"])
    assert_same(stored_tensors(out), undisturbed)


# In float64, and two epochs: every step of a network with batch normalisation multiplies what is rounded by about ten,
# in one process as in two.
SHARED = (
    "epochs=2",
    "hardware={precision: float64, accelerator: cpu}",
    "optimizer={kind: adamw, lr: 1e-3}",
    "loss={kind: frnet, balance: gradient, resample: 10}",
    "gradient_clip=1",
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cache) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("runs") / "alone"
    finished_run(out, *SHARED, cache)
    return stored_tensors(out)


@pytest.fixture(scope="module")
def shared_by_two(tmp_path_factory, cache) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("runs") / "shared_by_two"
    assert "2 processes" in finished_run(out, *SHARED, cache, "hardware.devices=2")
    return stored_tensors(out)


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for part in (".network.", ".average.", ".optimizer."):
        names = [name for name in first if name.startswith(part)]
        mine, theirs = (torch.cat([state[name].double().flatten() for name in names]) for state in (first, second))
        assert (mine - theirs).norm() < 1e-8 * theirs.norm(), part


def test_two_processes_are_one_with_twice_the_batch(alone, shared_by_two):
    """gloo; each takes 8 of the 16 images of a step."""
    assert_close(shared_by_two, alone)


# Destroys the group as torch does, once no network that is spread over processes holds it any more.
CHECKED = """
import gc, torch.distributed
from torch.nn.parallel import DistributedDataParallel
from frnet import cli

destroy = torch.distributed.destroy_process_group

def checked(group=None):
    if group is None:  # that of all processes
        held = [each for each in gc.get_objects() if isinstance(each, DistributedDataParallel)]
        assert not held, "a network outlives the group of its processes"
        print("the group is destroyed", flush=True)
    destroy(group)

torch.distributed.destroy_process_group = checked
cli.main()
"""


def under_torchrun(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    assert command[:3] == [sys.executable, "-m", "frnet"]
    script = folder / "checked.py"
    script.write_text(CHECKED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    return run([*launcher, *command[3:]])


def test_torchrun_starts_them_as_well_and_the_bits_are_the_same(tmp_path, cache, shared_by_two):
    """And no network destroys the group: that waited for gloo's threads with the lock they need in its hand, now and
    then, for ever."""
    out = tmp_path / "run"
    result = under_torchrun(tmp_path, small_command(out, *SHARED, cache))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("the group is destroyed") == 2
    assert_same(stored_tensors(out), shared_by_two)


def test_a_run_that_fails_destroys_the_group_as_well(tmp_path, cache):
    diverging = ["optimizer={kind: sgd, lr: 1e30}", "schedule.warmup_epochs=0"]
    result = under_torchrun(tmp_path, small_command(tmp_path / "run", *SHARED, cache, *diverging))
    assert result.returncode != 0
    assert "learning rate (1e+30) is too high" in result.stderr
    assert result.stdout.count("the group is destroyed") == 2, result.stderr
