"""Shapes of depthwise convolutions: those of the networks, and those that find mistakes."""

from __future__ import annotations

from support.op_tests import Sample, draw

ACTIVATIONS = ["none", "relu", "relu6", "hardswish", "silu"]

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


def draw_image(batch, channels, height, width, layout="nchw"):
    if layout == "channels_last":
        return draw(batch, height, width, channels).permute(0, 3, 1, 2).clone()
    if layout == "sliced":  # every second column of a wider image: dense in no layout
        return draw(batch, channels, height, 2 * width)[..., ::2]
    if layout == "transposed":
        return draw(batch, channels, width, height).mT
    return draw(batch, channels, height, width)


def make(batch, channels, size, kernel, stride=1, padding=0, dilation=1, bias=True, layout="nchw") -> Sample:
    height, width = size if isinstance(size, tuple) else (size, size)
    kernel_h, kernel_w = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    return Sample(
        {
            "x": draw_image(batch, channels, height, width, layout),
            "weight": draw(channels, 1, kernel_h, kernel_w, seed=2),
            "bias": draw(channels, seed=3) if bias else None,
        },
        {"stride": stride, "padding": padding, "dilation": dilation},
        differentiable=("x", "weight", "bias"),
    )


def with_epilogue(sample: Sample, activation="none", scale=True, shift=True) -> Sample:
    channels = sample.tensors["x"].shape[1]
    shapes = {"scale": (channels,) if scale else None, "shift": (channels,) if shift else None}
    return sample.adding(shapes, activation=activation)


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


def varied() -> dict[str, Sample]:
    """A few convolutions that differ in all that an op with more behind them may depend on."""
    return {
        "nchw-3x3": make(2, 24, (15, 13), 3, 1, 1),
        "nchw-3x3-s2": make(3, 16, 41, 3, 2, 1, bias=False),
        "nchw-5x5-7": make(2, 40, 7, 5, 1, 2),
        "nchw-wide": make(1, 8, (5, 301), 3, 1, 1),
        "nchw-dilated": make(2, 8, (19, 23), 3, 1, 2, 2),
        "channels_last-3x3": make(2, 24, (15, 13), 3, 1, 1, layout="channels_last"),
        "channels_last-3x3-s2": make(3, 48, 8, 3, 2, 1, bias=False, layout="channels_last"),
        "channels_last-5x5-s2": make(2, 8, (31, 29), 5, 2, 2, layout="channels_last"),
        "channels_last-4": make(1, 96, 4, 3, 1, 1, layout="channels_last"),
        "channels_last-1x5": make(2, 8, (6, 23), (1, 5), 1, (0, 2), layout="channels_last"),
        "sliced": make(2, 8, (12, 21), 3, 1, 1, layout="sliced"),
        "transposed": make(2, 16, (9, 12), 3, 2, 1, layout="transposed"),
    }
