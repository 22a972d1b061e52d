"""Names of a package that are loaded where they are first used, since their modules need torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["late_names"]


def late_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: its ``__name__``.
        modules: the names, and the module that holds each. No name may be that of a module of the package, which the
            import system would put in its place.

    Example:
        >>> find, _ = late_names("frnet", {"Session": "frnet.runtime"})
        >>> find("Session").__name__
        'Session'
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return find, listed
