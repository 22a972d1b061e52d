"""The section of a configuration that says what is minimised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .config_values import NotNegative, Positive, Section

__all__ = [
    "FRNetLossSection",
    "Loss",
    "PDCLossSection",
    "PointsLossSection",
    "VDCLossSection",
    "WPDCLossSection",
    "WingLossSection",
]


class _VertexLossSection(Section):
    vertices: Literal["all", "landmarks"] = "all"
    target_tz: bool = True
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"


class FRNetLossSection(_VertexLossSection):
    """:class:`frnet.nn.FRNetLoss`: WPDC and Wing. Attributes are its arguments; ``vertices`` are Wing's."""

    kind: Literal["frnet"] = "frnet"
    lambda_wpdc: NotNegative = 0.5
    lambda_wing: NotNegative = 1.0
    balance: Literal["gradient", "none"] | Positive = "gradient"
    normalization: Literal["max", "sum"] = "max"
    shape: Literal["target", "pred"] = "target"
    resample: Annotated[int, Field(ge=0)] | None = None
    width: Positive = 10.0
    curvature: Positive = 2.0


class WPDCLossSection(Section):
    """:class:`frnet.nn.WPDCLoss`. Attributes are its arguments."""

    kind: Literal["wpdc"]
    normalization: Literal["max", "sum"] = "max"
    shape: Literal["target", "pred"] = "target"
    resample: Annotated[int, Field(ge=0)] | None = None


class WingLossSection(_VertexLossSection):
    """:class:`frnet.nn.WingLoss`. Attributes are its arguments."""

    kind: Literal["wing"]
    width: Positive = 10.0
    curvature: Positive = 2.0


class VDCLossSection(_VertexLossSection):
    """:class:`frnet.nn.VDCLoss`. Attributes are its arguments."""

    kind: Literal["vdc"]


class PDCLossSection(Section):
    """Parameter distance cost, the mean squared difference of whitened parameters (Zhu et al., CVPR 2016, eq. 5)."""

    kind: Literal["pdc"]


class PointsLossSection(Section):
    """:class:`frnet.nn.PointsLoss`, for data that hold where vertices lie. Attributes are its arguments."""

    kind: Literal["points"]
    width: Positive = 10.0
    curvature: Positive = 2.0
    depth: NotNegative = 0.4
    coefficients: NotNegative = 0.02


Loss = Annotated[
    FRNetLossSection | WPDCLossSection | WingLossSection | VDCLossSection | PDCLossSection | PointsLossSection,
    Field(discriminator="kind"),
]
