"""The parameter vector's layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frnet.morphable import ParamLayout


@pytest.mark.parametrize("sizes", [(40, 10), (40, 20), (100, 29), (3, 0), (0, 0)])
@pytest.mark.parametrize("lead", [(), (5,), (0,), (2, 3)])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_split_and_join_are_inverse(rng, sizes, lead, library):
    layout = ParamLayout(*sizes)
    params = rng.normal(size=(*lead, layout.num_params))
    params = torch.from_numpy(params) if library == "torch" else params
    parts = layout.split(params)
    assert tuple(parts.matrix.shape) == (*lead, 3, 3)
    assert tuple(parts.translation.shape) == (*lead, 3)
    assert tuple(parts.alpha_shape.shape) == (*lead, sizes[0])
    assert tuple(parts.alpha_expression.shape) == (*lead, sizes[1])
    joined = layout.join(*parts)
    assert type(joined) is type(params)
    assert (joined == params).all()


def test_where_each_number_goes():
    # 0,1,2 | 4,5,6 | 8,9,10 are the rows of f R and 3, 7, 11 the translation (3DDFA utils/ddfa.py).
    layout = ParamLayout()
    parts = layout.split(np.arange(62))
    assert parts.matrix.tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10]]
    assert parts.translation.tolist() == [3, 7, 11]
    assert (parts.alpha_shape[0], parts.alpha_shape[-1]) == (12, 51)
    assert (parts.alpha_expression[0], parts.alpha_expression[-1]) == (52, 61)
    assert layout.matrix_indices == tuple(parts.matrix.reshape(-1))
    assert layout.translation_indices == tuple(parts.translation)


def test_split_keeps_the_graph_and_shares_memory():
    params = torch.zeros(4, 62, requires_grad=True)
    ParamLayout().split(params).matrix.sum().backward()
    assert params.grad.sum() == 4 * 9
    array = np.zeros(62)
    ParamLayout().split(array).matrix[0, 0] = 5
    assert array[0] == 5


def test_errors_say_what_was_wanted():
    layout = ParamLayout(40, 10)
    with pytest.raises(ValueError, match=r"\[\.\.\., 62\] \(12 \+ 40 shape \+ 10 expression\), got \[3, 61\]"):
        layout.split(np.zeros((3, 61)))
    with pytest.raises(ValueError, match=r"alpha_shape must be \[2, 40\], got \[2, 41\]"):
        layout.join(np.zeros((2, 3, 3)), np.zeros((2, 3)), np.zeros((2, 41)), np.zeros((2, 10)))
    with pytest.raises(ValueError, match="negative"):
        ParamLayout(-1, 3)
    with pytest.raises(ValueError, match="102"):
        ParamLayout.from_num_params(102)
    assert ParamLayout.from_num_params(72) == ParamLayout(40, 20)
