"""Versions, build and devices: ``python -m frnet.env`` prints what a bug report needs."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

import frnet

__all__ = ["describe"]

_PACKAGES = [
    "numpy",
    "opencv-python",
    "scipy",
    "safetensors",
    "trimesh",
    "matplotlib",
    "lightning-fabric",
    "cupy-cuda13x",
]


def describe() -> dict[str, str]:
    """What this installation is and what it found here, in the order to print it."""
    import torch

    from frnet import _core

    build = _core.build_info()
    cuda_here = torch.cuda.is_available()
    facts = {
        "frnet": f"{frnet.__version__} ({frnet.__path__[0]})",
        "python": f"{platform.python_version()} on {platform.platform()}",
        "torch": f"{torch.__version__} (CUDA {torch.version.cuda})" if torch.version.cuda else torch.__version__,
        "built with": f"{build['compiler']}, headers of torch {build['torch_headers']}",
        "CUDA kernels": (
            f"nvcc {build['cuda']} for {build['cuda_architectures']}" if build["cuda"] else "none (built without CUDA)"
        ),
        "CPU instruction sets built": build["cpu_instruction_sets_built"],
        "CPU instruction sets here": " ".join(build["cpu_instruction_sets_here"]),
        "CPU instruction set used": build["cpu_instruction_set_used"],
        "threads": str(torch.get_num_threads()),
        "CUDA devices": (
            ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) if cuda_here else "none"
        ),
    }
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def main() -> None:
    facts = describe()
    width = max(map(len, facts))
    for name, value in facts.items():
        sys.stdout.write(f"{name:{width}}  {value}\n")


if __name__ == "__main__":
    main()
