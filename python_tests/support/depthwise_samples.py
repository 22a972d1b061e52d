"""Shapes of depthwise convolutions: those of the networks, and those that find mistakes."""

from __future__ import annotations

import torch

from support.op_tests import Sample

# channels, height and width, stride of every depthwise 3x3 convolution of MobileNetV2 at 120x120 (its expanded
# channels; Mobile-FRNet's splits are quarters of these).
NETWORK_SHAPES = [
    (32, 60, 1),
    (96, 60, 2),
    (144, 30, 1),
    (144, 30, 2),
    (192, 15, 1),
    (192, 15, 2),
    (384, 8, 1),
    (576, 8, 1),
    (576, 8, 2),
    (960, 4, 1),
]


def make(batch, channels, size, kernel, stride=1, padding=0, dilation=1, bias=True, layout="nchw") -> Sample:
    height, width = size if isinstance(size, tuple) else (size, size)
    kernel_h, kernel_w = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x = draw(batch, channels, height, width)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "sliced":  # every second column of a wider image: dense in no layout
        x = draw(batch, channels, height, 2 * width)[..., ::2]
    elif layout == "transposed":
        x = draw(batch, channels, width, height).mT
    weight = draw(channels, 1, kernel_h, kernel_w)
    return Sample(
        (x, weight, draw(channels) if bias else None),
        {"stride": stride, "padding": padding, "dilation": dilation},
        differentiable=(0, 1, 2),
    )


def samples() -> dict[str, Sample]:
    cases = {}
    for layout in ("nchw", "channels_last"):
        for kernel in (3, 5):
            for stride in (1, 2):
                for size in (4, 7, 8, 15, 41):
                    name = f"{layout}-{kernel}x{kernel}-s{stride}-{size}"
                    cases[name] = make(2, 19, size, kernel, stride, kernel // 2, layout=layout)
        cases |= {
            f"{layout}-one-pixel": make(3, 5, 1, 1, layout=layout),
            f"{layout}-single-channel": make(2, 1, (13, 9), 3, 1, 1, layout=layout),
            f"{layout}-no-bias": make(2, 33, 16, 3, 1, 1, bias=False, layout=layout),
            f"{layout}-7x7": make(2, 24, 17, 7, 2, 3, layout=layout),
            f"{layout}-1x5": make(2, 24, (6, 23), (1, 5), 1, (0, 2), layout=layout),
            f"{layout}-3x2-s3": make(2, 17, (31, 29), (3, 2), (3, 2), (1, 0), layout=layout),
            f"{layout}-dilated": make(2, 18, (23, 37), 3, 1, 2, 2, layout=layout),
            f"{layout}-dilated-s2": make(2, 18, (23, 37), 3, 2, (3, 1), (3, 2), layout=layout),
            f"{layout}-too-much-padding": make(1, 16, 5, 3, 1, 4, layout=layout),
            f"{layout}-kernel-larger-than-image": make(2, 16, 3, 7, 1, 3, layout=layout),
            f"{layout}-wide": make(1, 3, (5, 301), 3, 1, 1, layout=layout),
            f"{layout}-tall-tiles": make(1, 2, (157, 131), 5, 1, 2, layout=layout),
            f"{layout}-31x31": make(1, 3, 40, 31, 1, 15, layout=layout),
            f"{layout}-far-dilation": make(1, 2, (90, 90), 3, 1, 80, 80, layout=layout),
            f"{layout}-40x40": make(1, 2, 44, 40, 2, 20, layout=layout),
            f"{layout}-batch-20": make(20, 9, 6, 3, 2, 1, layout=layout),
            f"{layout}-empty": make(0, 4, 8, 3, 1, 1, layout=layout),
        }
    cases["sliced"] = make(2, 8, (12, 21), 3, 1, 1, layout="sliced")
    cases["transposed"] = make(2, 8, (12, 21), 3, 2, 1, layout="transposed")
    return cases
