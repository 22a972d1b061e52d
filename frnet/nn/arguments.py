"""Errors for constructor arguments that do not fit, named after the module and the argument."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["check_channels", "check_divides", "check_name", "check_pair"]


def check_channels(module: str, channels: object) -> int:
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"{module}: channels must be an int >= 1, got {channels!r}")
    return channels


def check_pair(module: str, name: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    """An int or a pair of ints, as (vertical, horizontal)."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(isinstance(number, int) and number >= least for number in pair):
        raise ValueError(f"{module}: {name} must be an int >= {least} or a pair of them, got {value!r}")
    return pair


def check_divides(module: str, name: str, value: object, channels: int) -> int:
    if not isinstance(value, int) or value < 1 or channels % value:
        raise ValueError(f"{module}: {name} must be an int >= 1 that divides the {channels} channels, got {value!r}")
    return value


def check_name(module: str, argument: str, names: Collection[str], value: object) -> str:
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{module}: {argument} must be one of {', '.join(names)}, got {value!r}")
    return value
