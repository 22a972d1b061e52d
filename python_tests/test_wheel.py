"""What is in a wheel and in a source distribution: all that the defaults need, and not too much."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest

import frnet
from frnet import _core
from frnet.weights import builtin_weights

ROOT = Path(__file__).parents[1]
LARGEST = 20e6  # bytes of a wheel without device code

pytest.importorskip("setuptools", reason="pip install setuptools")

DATA = {
    "frnet/morphable/data/builtin_face.safetensors",
    "frnet/morphable/data/builtin_face.md",
    "frnet/morphable/data/LICENSE.ICT-FaceKit",
    *(f"frnet/weights/data/{path.with_suffix(suffix).name}"
      for path in builtin_weights().values() for suffix in (".safetensors", ".md")),
}  # fmt: skip


def run_setup(tmp_path: Path, *command: object) -> None:
    """A command of setup.py, with nothing left in the checkout."""
    words = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path, *command]
    done = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_wheel_holds_face_and_weights_with_their_cards(tmp_path):
    run_setup(tmp_path, "build_py", "--build-lib", tmp_path / "lib")
    files = {str(path.relative_to(tmp_path / "lib")): path for path in (tmp_path / "lib").rglob("*") if path.is_file()}
    assert files.keys() >= DATA
    assert "frnet/weights/builtin.py" in files
    size = sum(len(zlib.compress(path.read_bytes(), 6)) for path in files.values())
    if not _core.build_info()["cuda"]:
        size += sum(len(zlib.compress(path.read_bytes(), 6)) for path in Path(frnet.__file__).parent.glob("*.so"))
    assert size < LARGEST


def test_a_source_distribution_can_be_built(tmp_path):
    run_setup(tmp_path, "sdist", "--dist-dir", tmp_path)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= DATA
    assert names >= {"CMakeLists.txt", "setup.py", "pyproject.toml", "cmake/build_backend.py", "LICENSE", "NOTICE"}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob("*.cu")} <= names
