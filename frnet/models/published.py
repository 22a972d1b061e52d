"""What the published comparison says of its networks (Mobile-FRNet, ICPR 2020; Jiang et al., ICCVW 2019)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "PublishedResult"]


@dataclass(frozen=True)
class PublishedResult:
    """A row of the table.

    Attributes:
        params: in millions.
        macs: multiply-adds in thousand millions, at 120x120.
        aflw: mean NME in percent over the bins of AFLW, 21 points.
        aflw2000: mean NME in percent over the bins of AFLW2000-3D, 68 points.
    """

    params: float
    macs: float
    aflw: float
    aflw2000: float


PUBLISHED = {
    "resnext50_32x4d": PublishedResult(23.11, 1.319, 5.471, 4.179),
    "mobilenet_v2": PublishedResult(2.38, 0.109, 5.540, 4.165),
    "densenet121": PublishedResult(7.02, 0.800, 5.286, 4.087),
    "damdnet": PublishedResult(2.76, 0.125, 5.199, 3.897),
    "mobile_frnet_noattention": PublishedResult(2.40, 0.110, 5.201, 3.936),
    "mobile_frnet": PublishedResult(2.60, 0.120, 4.910, 3.832),
}
