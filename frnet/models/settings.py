"""What the networks' configs are checked for, so that what makes no network is named at construction."""

from __future__ import annotations

from numbers import Real

__all__ = ["check_counts", "check_flags", "check_width"]


def check_counts(architecture: str, **values: object) -> None:
    """Raises where a setting is no whole number of at least 1."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{architecture}: {name} must be an int >= 1, got {value!r}")


def check_flags(architecture: str, **values: object) -> None:
    """Raises where a setting is not True or False: "no" would count as true."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{architecture}: {name} must be True or False, got {value!r}")


def check_width(architecture: str, width: object, least: float, most: float) -> None:
    """Raises where a width multiplier is no number from ``least`` to ``most``; a least of 0 is not allowed itself."""
    if not isinstance(width, Real) or isinstance(width, bool) or not least <= width <= most or width == 0:
        low = f"[{least:g}" if least else "(0"
        raise ValueError(f"{architecture}: width must be in {low}, {most:g}], got {width!r}")
