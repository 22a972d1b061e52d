"""The rules of the house: layers, no circles, no file too long to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.import_graph import against_the_layers, circles, imports

import frnet

PACKAGE = Path(frnet.__file__).parent


def test_imports_go_down():
    wrong = against_the_layers(imports(PACKAGE))
    assert not wrong, "\n".join(f"{each.importer} imports {each.imported}" for each in wrong)


def test_no_circles():
    assert not circles(imports(PACKAGE))


def test_no_file_over_400_lines():
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert not long


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("frnet.io.images", {"torch", "scipy"}),
        ("frnet.geometry", {"torch", "scipy"}),
        ("frnet.render", {"torch", "cv2", "scipy"}),
        ("frnet.runtime", {"torch", "cv2", "scipy"}),
        ("frnet.weights", {"torch", "scipy"}),
        ("frnet.morphable", {"torch", "scipy"}),
        ("frnet.align", {"torch", "trimesh", "scipy", "matplotlib"}),
        ("frnet.cli.align", {"torch", "cv2", "scipy"}),
    ],
)
def test_what_an_import_loads(module, unwanted):
    code = f"import sys, {module}; print(*sorted({unwanted!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert loaded.stdout.split() == []
