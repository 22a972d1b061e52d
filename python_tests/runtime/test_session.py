"""The torch-free runtime: what torch gives, the same bits however it is asked, and named errors."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from frnet import _core
from frnet.models import complexity, create_model
from frnet.nn import SpatialGroupEnhance
from frnet.runtime import Session, SessionError
from frnet.weights import Checkpoint, builtin_weights, load_checkpoint, save_checkpoint

ISAS = _core.build_info()["cpu_instruction_sets_here"]
NETWORKS = [
    ("mobile_frnet", {}),
    ("mobile_frnet", {"width": 0.5, "input_size": 64}),
    ("mobile_frnet", {"attention": False, "num_params": 40}),
    ("mobile_frnet", {"se_position": "output", "splits": 2, "sge_groups": 16, "input_size": 97}),
    ("mobile_frnet", {"splits": 1, "width": 0.25, "se_reduction": 4}),
    ("mobile_frnet", {"splits": 8, "width": 0.75, "input_size": 33}),
    ("mobilenet_v1", {"width": 0.5}),
    ("mobilenet_v1", {"width": 0.3, "input_size": 51}),
    ("mobilenet_v2", {"width": 0.5, "input_size": 16}),
    ("damdnet", {"width": 0.5}),
]


def network(name: str = "mobile_frnet", **settings) -> nn.Module:
    """With normalisations and gates that do something."""
    torch.manual_seed(7)
    model = create_model(name, **settings).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                value.uniform_(low, high)
        if isinstance(module, SpatialGroupEnhance):
            module.weight.data.normal_()
            module.bias.data.normal_()
    return model


def crops(batch: int, size: int = 120, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, 3, size, size)).astype(np.float32)


def expected(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(x)).numpy()


def assert_near(value: np.ndarray, wanted: np.ndarray) -> None:
    assert value.shape == wanted.shape
    assert value.dtype == np.float32
    assert np.abs(value - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.fixture(scope="module")
def small():
    return builtin_weights()["small"]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_it_gives_what_torch_gives(name, settings, isa):
    model = network(name, **settings)
    x = crops(3, model.config.input_size)
    wanted = expected(model, x)
    assert_near(model.to_session(instruction_set=isa).run(x), wanted)
    assert_near(model.fuse().to_session(instruction_set=isa).run(x), wanted)


@pytest.mark.parametrize("isa", ISAS)
def test_a_thousand_inputs_through_the_weights_that_ship(small, isa):
    x = crops(1000, 64)
    wanted = expected(load_checkpoint(small).model.fuse(), x)
    assert_near(Session(small, instruction_set=isa).run(x), wanted)


@pytest.mark.parametrize("settings", [{}, {"splits": 1}, {"se_position": "output"}])
def test_the_same_bits_for_any_threads_and_any_batch(settings):
    model = network(**settings)
    x = crops(19)
    once = model.to_session(num_threads=1).run(x)
    for threads in (1, 2, 3, 5):
        session = model.to_session(num_threads=threads)
        for batch in (1, 2, 3, 8, 9, 19):
            for first in range(0, len(x), batch):
                part = slice(first, first + batch)
                np.testing.assert_array_equal(session.run(x[part]), once[part])


def test_threads_may_share_a_session(small):
    session = Session(small, num_threads=2)
    x = [crops(batch, 64, batch) for batch in (1, 2, 7)]
    wanted = [session.run(one) for one in x]
    with ThreadPoolExecutor(4) as pool:
        for number, result in enumerate(pool.map(session.run, x * 40)):
            np.testing.assert_array_equal(result, wanted[number % 3])


def _child(session: Session, x: np.ndarray, queue) -> None:
    queue.put(session.run(x))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_fork_may_go_on_with_it(small):
    session, x = Session(small, num_threads=2), crops(1, 64)
    wanted = session.run(x)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(session, x, queue))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), wanted)
    child.join()
    np.testing.assert_array_equal(session.run(x), wanted)


def test_one_image_that_is_not_finite_leaves_the_others_alone(small):
    session, x = Session(small), crops(4, 64)
    wanted = session.run(x)
    x[2, 1, 5, 5] = np.nan
    result = session.run(x)
    assert np.isnan(result[2]).all()
    np.testing.assert_array_equal(np.delete(result, 2, 0), np.delete(wanted, 2, 0))


def test_arrays_of_any_strides(small):
    session, x = Session(small), crops(2, 64)
    wanted = session.run(x)
    frozen = x.copy()
    frozen.setflags(write=False)
    turned = np.ascontiguousarray(x[:, :, ::-1, ::-1])[:, :, ::-1, ::-1]
    wide = np.zeros((2, 3, 64, 128), np.float32)
    wide[..., ::2] = x
    for same in (np.asfortranarray(x), frozen, turned, wide[..., ::2]):
        np.testing.assert_array_equal(session.run(same), wanted)
    assert session.run(x[:0]).shape == (0, 62)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.zeros((1, 3, 64, 64)), TypeError),
        (np.zeros((1, 3, 120, 120), np.float32), ValueError),
        (np.zeros((3, 64, 64), np.float32), ValueError),
        (np.zeros((1, 64, 64, 3), np.float32), ValueError),
        (7, (TypeError, ValueError)),
    ],
)
def test_arrays_that_are_none(small, bad, error):
    with pytest.raises(error, match="Session: crops must be"):
        Session(small).run(bad)


def test_files_that_are_none(tmp_path, small):
    whole = small.read_bytes()
    bad = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "cut in the header": whole[:500],
        "text": b"not a checkpoint at all" * 100,
        "a long header": (1 << 62).to_bytes(8, "little") + whole[8:],
        "another shape": whole.replace(b'"width": 0.5', b'"width": 1.0').replace(
            b'\\"width\\": 0.5', b'\\"width\\": 1.0'
        ),
    }
    for name, content in bad.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(SessionError, match=f"{name}.safetensors"):
            Session(path)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        Session(tmp_path / "none.safetensors")
    with pytest.raises(SessionError, match="runtime knows"):
        Session(whole.replace(b"mobile_frnet", b"mobile_other"))


def test_options_that_are_none(small):
    for options in (
        {"precision": "float8"},
        {"num_threads": 0},
        {"num_threads": 10_000},
        {"num_threads": 1 << 40},
        {"instruction_set": "mmx"},
    ):
        with pytest.raises(ValueError, match="Session"):
            Session(small, **options)


def test_a_closed_session(small):
    with Session(small) as session:
        assert "mobile_frnet" in repr(session)
    with pytest.raises(ValueError, match="closed"):
        session.run(crops(1, 64))
    session.close()


def test_what_a_checkpoint_says(tmp_path, small):
    session, checkpoint = Session(small), load_checkpoint(small)
    assert session.metadata["licence"] == checkpoint.licence
    for mine, theirs in zip(session.whitening, checkpoint.whitening, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    path = tmp_path / "plain.safetensors"
    save_checkpoint(path, Checkpoint(network(width=0.25)))
    assert Session(path).whitening is None


@pytest.mark.parametrize("batch", [1, 9])
def test_a_profile_holds_every_step(batch):
    model = network()
    steps = model.to_session().profile(batch, 1)
    assert all(step.seconds > 0 for step in steps)
    # (The published way of counting also counts normalisations, which are folded here.)
    share = sum(step.macs for step in steps) / batch / complexity(model).macs
    assert 0.85 < share < 1


def test_an_import_loads_no_torch(small):
    code = (
        f"import sys, frnet.runtime; frnet.runtime.Session({str(small)!r}); "
        "print(*sorted({'torch', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []
