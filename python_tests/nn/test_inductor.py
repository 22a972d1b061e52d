"""torch.compile with its default backend, which writes code around the ops; elsewhere the tests trace alone."""

from __future__ import annotations

import copy

import torch
from support.faces import Arrays, faces

from frnet import ops
from frnet.models import create_model
from frnet.nn import DepthwiseConv2dNormAct

CHANNELS = 8


def image(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_a_stage_in_training_and_in_evaluation():
    """Results, gradients, and what becomes of the running statistics."""
    torch.manual_seed(0)
    module = DepthwiseConv2dNormAct(CHANNELS, 3, padding=1, activation="silu")
    compiled_module = copy.deepcopy(module)
    torch.compiler.reset()
    compiled = torch.compile(compiled_module, fullgraph=True)
    for training in (True, False):
        results = []
        for part, call in ((module.train(training), module), (compiled_module.train(training), compiled)):
            x = image(2, CHANNELS, 9, 11).requires_grad_(training)
            with torch.set_grad_enabled(training):
                y = 3 * call(2 * x)  # something to write code for, in front and behind
            results.append([y, *part.buffers()])
            if training:
                results[-1] += torch.autograd.grad(y.square().mean(), [x, *part.parameters()])
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


def test_a_loss():
    pred, target, *arrays = faces(5, 41, 10).on("cpu", torch.float32)

    def loss(pred, target):
        wpdc, wing = ops.wpdc_wing(2 * pred, target, Arrays(*arrays))
        return (wpdc + 3 * wing).mean()

    torch.compiler.reset()
    results = []
    for function in (loss, torch.compile(loss, fullgraph=True)):
        value = function(pred, target)
        results.append((value, *torch.autograd.grad(value, [pred])))
    torch.testing.assert_close(*results)


def test_a_convolution_and_gates_between_torchs_ops():
    """A graph of several ops, whose memory formats the code around them chooses."""
    x = image(2, CHANNELS, 9, 11).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight, squeeze = image(CHANNELS, 1, 3, 3).requires_grad_(), image(4, CHANNELS).requires_grad_()

    def function(x, weight, squeeze):
        y = ops.depthwise_conv2d(torch.tanh(x), weight, padding=1, activation="relu6")
        y = ops.se_gate(y + x, squeeze, None, squeeze.T.contiguous(), None)
        return ops.sge_gate(y.exp(), torch.ones(2), torch.zeros(2), 2) * x

    torch.compiler.reset()
    results = []
    for call in (function, torch.compile(function, fullgraph=True)):
        y = call(x, weight, squeeze)
        results.append((y, *torch.autograd.grad(y.square().mean(), [x, weight, squeeze])))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_mobile_frnet():
    """As it runs in alignment. (The code of a whole training step takes a compiler minutes.)"""
    torch.manual_seed(0)
    model = create_model("mobile_frnet", 16, width=0.25, input_size=40).eval().fuse()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True)
    with torch.inference_mode():
        x = image(2, 3, 40, 40)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
