"""Versions, build and devices: ``python -m frnet.env`` prints what a bug report needs."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

import frnet

__all__ = ["describe", "not_built"]

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
    """What this installation is and what it found here, in the order to print it.

    Raises:
        ImportError: frnet was not built; see :func:`not_built`.
    """
    package = Path(frnet.__path__[0])
    if not (package / "_ops.so").is_file():
        raise ImportError(not_built(package))

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


def not_built(package: Path) -> str:
    """What to do where Python found a frnet whose compiled parts are missing.

    Args:
        package: the folder ``frnet`` it found.
    """
    root = package.parent
    if not (root / "pyproject.toml").is_file():
        return f"frnet: {package} lacks its compiled parts, so the installation is damaged: install frnet again"
    build = f"build it: pip install -e {root}"
    elsewhere = next(_built(apart_from=package), None)
    if elsewhere is None:
        return f"frnet: the source tree {root} was not built: its compiled parts are missing; {build}"
    return (
        f"frnet: Python imports the source tree {package}, which was not built, instead of the frnet in {elsewhere}, "
        f"because it looks in {root} first: start Python in another folder, take {root} off PYTHONPATH, or {build}"
    )


def _built(apart_from: Path) -> Iterator[Path]:
    """Folders of other frnet packages that Python could import: on its path, or installed in place from a checkout."""
    folders = [Path(entry or ".").resolve() / "frnet" for entry in sys.path]
    for installed in metadata.distributions(name="frnet"):
        origin = urlparse(json.loads(installed.read_text("direct_url.json") or "{}").get("url", ""))
        if origin.scheme == "file":
            folders.append(Path(unquote(origin.path)) / "frnet")
    return (folder for folder in folders if folder != apart_from and (folder / "_ops.so").is_file())


def main() -> None:
    try:
        facts = describe()
    except ImportError as error:
        sys.exit(str(error))
    width = max(map(len, facts))
    for name, value in facts.items():
        sys.stdout.write(f"{name:{width}}  {value}\n")


if __name__ == "__main__":
    main()
