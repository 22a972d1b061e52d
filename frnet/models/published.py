"""What the published comparison says of its networks' cost (Mobile-FRNet, ICPR 2020; Jiang et al., ICCVW 2019)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "PublishedCost"]


@dataclass(frozen=True)
class PublishedCost:
    """A row of the table.

    Attributes:
        params: in millions.
        macs: multiply-adds in thousand millions, at 120x120.
    """

    params: float
    macs: float


PUBLISHED = {
    "resnext50_32x4d": PublishedCost(23.11, 1.319),
    "mobilenet_v2": PublishedCost(2.38, 0.109),
    "densenet121": PublishedCost(7.02, 0.800),
    "damdnet": PublishedCost(2.76, 0.125),
    "mobile_frnet_noattention": PublishedCost(2.40, 0.110),
    "mobile_frnet": PublishedCost(2.60, 0.120),
}
