"""Builds frnet/_ops and frnet/_core with CMake and ninja.

Environment: FRNET_CUDA=auto|0|1, FRNET_CUDA_ARCHS=auto|release|list, FRNET_LINE_INFO=0|1, TORCH_CUDA_ARCH_LIST,
CUDA_HOME, MAX_JOBS.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT / "cmake"))
from build_backend import MINIMUM_TORCH, find_torch  # noqa: E402

# Of torch, the stable ABI alone: nothing else is even visible to the compiler.
TORCH_HEADERS = ["torch/csrc/stable", "torch/csrc/inductor/aoti_torch", "torch/headeronly"]


def mirror_headers(source: Path, target: Path) -> None:
    """Copies headers that changed, so that a build in a fresh isolated environment finds nothing new."""
    for path in source.rglob("*.h"):
        copy = target / path.relative_to(source)
        if not (copy.is_file() and filecmp.cmp(path, copy, shallow=False)):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def program(name: str) -> str:
    """A build tool: the one this Python's packages brought, else the one on the PATH."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise SystemExit(f"frnet: building needs {name}: pip install {name}")
    return found


class CMakeBuild(build_ext):
    def get_ext_filename(self, fullname: str) -> str:
        # torch.ops.load_library takes any file; one name serves every Python.
        filename = super().get_ext_filename(fullname)
        if fullname.rpartition(".")[2] == "_ops":
            filename = filename.removesuffix(sysconfig.get_config_var("EXT_SUFFIX")) + ".so"
        return filename

    def run(self) -> None:
        import pybind11

        torch = find_torch()
        if torch is None:
            raise SystemExit(
                f"frnet: building needs torch {MINIMUM_TORCH} or newer in this environment: pip install torch, "
                "or build without --no-build-isolation"
            )
        torch_folder, torch_version = torch
        build = ROOT / "build" / f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
        for headers in TORCH_HEADERS:
            mirror_headers(torch_folder / "include" / headers, build / "include" / headers)
        mirror_headers(Path(pybind11.get_include()) / "pybind11", build / "include" / "pybind11")

        cmake, ninja = program("cmake"), program("ninja")
        options = {
            "CMAKE_MAKE_PROGRAM": ninja,
            "CMAKE_BUILD_TYPE": "Release",
            "FRNET_CUDA": os.environ.get("FRNET_CUDA", "auto"),
            "FRNET_CUDA_ARCHS": os.environ.get("FRNET_CUDA_ARCHS", "auto"),
            "FRNET_LINE_INFO": os.environ.get("FRNET_LINE_INFO", "0"),
            "FRNET_BUILD_PYTHON": "ON",
            "FRNET_OUTPUT": build / "lib",
            "FRNET_TORCH_INCLUDE": build / "include",
            "FRNET_TORCH_LIB": torch_folder / "lib",
            "FRNET_TORCH_VERSION": torch_version,
            "FRNET_PYBIND11_INCLUDE": build / "include",
            "FRNET_PYTHON_INCLUDE": sysconfig.get_path("include"),
            "FRNET_PYTHON_SUFFIX": sysconfig.get_config_var("EXT_SUFFIX"),
        }
        defines = [f"-D{name}={value}" for name, value in options.items()]
        self._call([cmake, "-G", "Ninja", "-S", str(ROOT), "-B", str(build), *defines])
        jobs = ["-j", os.environ["MAX_JOBS"]] if "MAX_JOBS" in os.environ else []
        self._call([ninja, "-C", str(build), *jobs, "_ops", "_core"])
        for extension in self.extensions:
            target = Path(self.get_ext_fullpath(extension.name)).resolve()
            # Into the source tree as well: Python started there imports frnet from there.
            for copy in {target, ROOT / "frnet" / target.name}:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(build / "lib" / target.name, copy)

    @staticmethod
    def _call(command: list[str]) -> None:
        if subprocess.run(command).returncode != 0:
            raise SystemExit(f"frnet: the build failed: {' '.join(command[:1])} said why above")


setup(
    ext_modules=[Extension("frnet._core", sources=[]), Extension("frnet._ops", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
