"""Published errors, to stand beside: AFLW (21 points) and AFLW2000-3D (68 points).

Source: Mobile-FRNet's slides, ICPR 2020; for 3DDFA and 3DDFA+SDM they quote Zhu et al., CVPR 2016; for 3DSTN,
DeFA and Nonlinear 3DMM the papers of Bhagavatula et al., ICCV 2017, Liu et al., ICCVW 2017, and Tran and Liu, CVPR
2018; for DAMDNet Jiang et al., ICCVW 2019. NME in percent. What the networks cost is in
:mod:`frnet.models.published`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROTOCOL", "PUBLISHED_NME", "PublishedMethod", "PublishedNME"]

PROTOCOL = (
    "published figures, from the slides of Mobile-FRNet (ICPR 2020); mean and std are those of the three bin means; "
    "annotation, split, roi and first pixel are not stated there, and 3DDFA's evaluator, which this line of work uses, "
    "has: original, AFLW2000-3D.pose.npy (1312/383/305), 3ddfa-compat; std is that of a population, but in the rows "
    "3DDFA and 3DDFA+SDM that of a sample (divided by 2 instead of 3)"
)


@dataclass(frozen=True)
class PublishedNME:
    """A row's figures on one data set, percent: three bins, their mean, the std of the three; None: not given."""

    bins: tuple[float, float, float] | None
    mean: float
    std: float | None


@dataclass(frozen=True)
class PublishedMethod:
    """A row of the table.

    Attributes:
        name: as printed.
        network: its name in :func:`frnet.models.list_models`, if it is there.
        aflw: on AFLW, 21 points.
        aflw2000: on AFLW2000-3D, 68 points.
    """

    name: str
    network: str | None
    aflw: PublishedNME | None
    aflw2000: PublishedNME | None

    def on(self, data: str) -> PublishedNME | None:
        """The figures on ``"AFLW"`` or ``"AFLW2000-3D"``."""
        return {"AFLW": self.aflw, "AFLW2000-3D": self.aflw2000}[data]


PUBLISHED_NME = (
    PublishedMethod(
        "ResNeXt50",
        "resnext50_32x4d",
        PublishedNME((4.599, 5.516, 6.297), 5.471, 0.694),
        PublishedNME((3.122, 4.065, 5.351), 4.179, 0.913),
    ),
    PublishedMethod(
        "MobileNetV2",
        "mobilenet_v2",
        PublishedNME((4.643, 5.581, 6.397), 5.540, 0.716),
        PublishedNME((3.236, 4.080, 5.181), 4.165, 0.796),
    ),
    PublishedMethod(
        "DenseNet121",
        "densenet121",
        PublishedNME((4.442, 5.249, 6.168), 5.286, 0.705),
        PublishedNME((3.051, 3.912, 5.297), 4.087, 0.925),
    ),
    PublishedMethod(
        "3DDFA",
        None,
        PublishedNME((5.000, 5.060, 6.740), 5.600, 0.990),
        PublishedNME((3.780, 4.540, 7.930), 5.420, 2.210),
    ),
    PublishedMethod(
        "3DDFA+SDM",
        None,
        PublishedNME((4.750, 4.830, 6.380), 5.320, 0.920),
        PublishedNME((3.430, 4.240, 7.170), 4.940, 1.970),
    ),
    PublishedMethod("3DSTN", None, None, PublishedNME((3.150, 4.330, 5.980), 4.490, None)),
    PublishedMethod("DeFA", None, None, PublishedNME(None, 4.500, None)),
    PublishedMethod("Nonlinear 3DMM", None, None, PublishedNME(None, 4.700, None)),
    PublishedMethod(
        "DAMDNet",
        "damdnet",
        PublishedNME((4.359, 5.209, 6.028), 5.199, 0.682),
        PublishedNME((2.907, 3.830, 4.953), 3.897, 0.837),
    ),
    PublishedMethod(
        "Mobile-FRNet, no attention",
        "mobile_frnet_noattention",
        PublishedNME((4.371, 5.199, 6.031), 5.201, 0.678),
        PublishedNME((2.962, 3.856, 4.991), 3.936, 0.830),
    ),
    PublishedMethod(
        "Mobile-FRNet",
        "mobile_frnet",
        PublishedNME((4.199, 4.862, 5.668), 4.910, 0.601),
        PublishedNME((2.930, 3.799, 4.768), 3.832, 0.751),
    ),
)
