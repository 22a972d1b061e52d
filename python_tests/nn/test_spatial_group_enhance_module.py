"""SpatialGroupEnhance gives what the authors' module gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tolerances import assert_close

from frnet.nn import SpatialGroupEnhance


@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_golden_file_of_the_authors_module(case, layout, shared):
    golden = np.load(shared / "golden" / "sge_reference.npz")

    def load(name: str) -> torch.Tensor:
        return torch.from_numpy(golden[f"{case}_{name}"])

    gate = SpatialGroupEnhance(int(golden[f"{case}_groups"]))
    gate.load_state_dict({"weight": load("weight"), "bias": load("bias")})
    x = load("x")
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    y = gate(x)
    assert_close(y, load("y"), "forward")
    assert y.is_contiguous(memory_format=torch.channels_last if layout == "channels_last" else torch.contiguous_format)
    y.backward(load("r"))
    assert_close(x.grad, load("gx"), "gradient")
    assert_close(gate.weight.grad, load("gw"), "gradient")
    assert_close(gate.bias.grad, load("gb"), "gradient")


def test_state_dict_and_start_are_the_authors():
    state = SpatialGroupEnhance(5).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "weight": (1, 5, 1, 1),
        "bias": (1, 5, 1, 1),
    }
    assert (state["weight"] == 0).all()
    assert (state["bias"] == 1).all()


def test_compile_and_export(assert_compiles_and_exports):
    gate = SpatialGroupEnhance(2)
    torch.nn.init.normal_(gate.weight)
    assert_compiles_and_exports(gate, torch.randn(2, 8, 7, 5))


def test_bfloat16():
    gate = SpatialGroupEnhance(2).bfloat16()
    x = torch.randn(2, 8, 7, 5).bfloat16()
    assert_close(gate(x), gate.float()(x.float()), "forward")


@pytest.mark.parametrize("groups", [0, -2, 1.5, None])
def test_constructor_errors(groups):
    with pytest.raises(ValueError, match="SpatialGroupEnhance: groups must be an int >= 1"):
        SpatialGroupEnhance(groups)


def test_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="sge_gate: groups"):
        SpatialGroupEnhance(3)(torch.zeros(1, 8, 4, 4))
