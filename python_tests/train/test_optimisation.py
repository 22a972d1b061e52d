"""Learning rates, parameter groups and the average of weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from frnet.train.config import SGD, AdamW, Cosine, Milestones
from frnet.train.optimisation import averaged, build_optimizer, learning_rate


def test_milestones_are_3ddfas_rule():
    """FACTS: lr = base 0.2^n; n is 1 up to the warm-up, 0 until the first milestone, and one more behind each."""
    rule = Milestones(kind="milestones", milestones=[30, 40], factor=0.2, warmup_epochs=5)
    exponents = {**dict.fromkeys(range(1, 6), 1), **dict.fromkeys(range(6, 31), 0)}
    exponents |= {**dict.fromkeys(range(31, 41), 1), **dict.fromkeys(range(41, 51), 2)}
    for epoch, n in exponents.items():
        for step in ((epoch - 1) * 7, epoch * 7 - 1):  # the first and the last one of seven
            assert learning_rate(rule, 0.02, step, 7, 50) == pytest.approx(0.02 * 0.2**n)


def test_cosine_rises_in_a_line_and_ends_at_its_factor():
    rule = Cosine(kind="cosine", warmup_epochs=2, final_factor=0.1)
    rates = np.array([learning_rate(rule, 3.0, step, 10, 12) for step in range(120)])
    np.testing.assert_allclose(np.diff(rates[:20], 2), 0, atol=1e-12)
    assert rates[0] == pytest.approx(3 / 21)
    assert rates.argmax() == 20
    assert rates[20] == pytest.approx(3.0)
    assert rates[-1] == pytest.approx(0.3)
    # torch's own, from the top to the end
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 3.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 99, 0.3)
    for rate in rates[20:]:
        assert rate == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_vectors_decay_only_if_they_are_to():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    assert [group["weight_decay"] for group in build_optimizer(SGD(kind="sgd"), network).param_groups] == [5e-4, 5e-4]
    groups = build_optimizer(AdamW(kind="adamw"), network).param_groups
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert [[p.ndim for p in group["params"]] for group in groups] == [[4, 2], [1, 1, 1, 1]]


def test_the_average_is_the_recursion_of_its_definition():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    average, expected = averaged(network, decay=0.6), None
    for n in range(12):
        network(torch.randn(5, 3, dtype=torch.float64))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update_parameters(network)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        decay = min(0.6, (1 + n) / (10 + n))
        if expected is None:
            expected = copy.deepcopy(state)
        for name in expected:
            if state[name].is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * state[name]
            else:
                expected[name] = state[name]
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
