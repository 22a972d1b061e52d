"""setuptools' build backend, with one addition: it asks for torch only where there is none to build against.

frnet needs torch's stable headers and libtorch_cpu to build, and any torch from 2.10 on will do, since the result
loads with every other. A plain entry in build-system.requires would download a second torch, several
gigabytes, into the isolated build environment beside the one that is already installed.
"""

from __future__ import annotations

import importlib.util
import re
import sysconfig
from pathlib import Path

from packaging.version import Version
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that need no change)

MINIMUM_TORCH = "2.10"


def find_torch() -> tuple[Path, str] | None:
    """Folder and version of a torch that is new enough, or None. Nothing of torch is run."""
    folders = []
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.submodule_search_locations:
        folders += [Path(folder) for folder in spec.submodule_search_locations]
    # Build isolation hides the environment's packages from the import system, not from the file system.
    folders += [Path(sysconfig.get_path(kind)) / "torch" for kind in ("purelib", "platlib")]
    for folder in folders:
        version_file = folder / "version.py"
        if not (version_file.is_file() and (folder / "lib" / "libtorch_cpu.so").is_file()):
            continue
        match = re.search(r"__version__ = '([^']+)'", version_file.read_text())
        if match and Version(match[1]) >= Version(MINIMUM_TORCH):
            return folder, match[1]
    return None


def _requirements() -> list[str]:
    return [] if find_torch() else [f"torch>={MINIMUM_TORCH}"]


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _requirements()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _requirements()
